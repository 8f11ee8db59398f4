"""All providers answer 503 for a while, then recover: no retry storm meanwhile, and full service soon after.

It runs with the defaults, with breakers that half-open often, and with many models, each with breakers of its own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import anyio

from tests.load.client import Answer, at_rate
from tests.load.harness import Options, Upstreams, gateway, now, scenario, upstreams
from tests.load.report import Report, percent, percentile
from tests.load.scripted import Behaviour, Seen

NAMES = ("alpha", "beta", "gamma")
KEYS = {name: [f"{name}-key-1", f"{name}-key-2"] for name in NAMES}
RATE = 100.0
BEFORE = 3.0  # seconds of good service
AFTER = 10.0
MODELS = 40
PATIENCE = 5.0  # seconds that a client waits for an answer
SOON = 5.0  # seconds until service must be good again
WELL = Behaviour(before=0.02)
DOWN = Behaviour(before=0.02, status=503)


@dataclass
class Outage:
    """The begin and end of the outage."""

    began: float = 0.0
    ended: float = 0.0


async def check(report: Report, options: Options) -> None:
    """Make 100 calls a second before, during and after it, to three providers with two keys each."""
    seconds = options.seconds or 15.0
    await _run(report, "defaults", seconds, 1, {})
    await _run(report, "short", seconds, 1, {"breaker": {"open": "1s", "max_open": "4s"}})
    await _run(report, "models", seconds, MODELS, {})


async def _run(report: Report, title: str, seconds: float, models: int, resilience: dict[str, Any]) -> None:
    async with upstreams(*NAMES) as up, gateway(configuration(up, models, resilience)) as box:
        client, answers, outage = box.client(), dict[int, Answer](), Outage()
        await _all(up, WELL)

        async def call(number: int) -> None:
            route = f"scenario/route-{number % models}"
            answers[number] = await client.chat(route, f"call {number}", stream=number % 2 == 0)

        async with anyio.create_task_group() as group:
            group.start_soon(_happen, up, outage, seconds)
            await at_rate(RATE, BEFORE + seconds + AFTER, call)
        await box.settled(len(answers))
        log = await up.log()
        client.close()
        # with as many breakers the retry budget alone holds: 20 %, and 10 a second, both once more for its window
        most = 1.25 if models == 1 else 1 + (0.2 + 10 / RATE) * (seconds + 5) / seconds
        _judge(report, title, answers, log, outage, most)
        report.equal(f"{title}: attempts recorded", sum(box.attempts().values()), len(log))


def configuration(up: Upstreams, models: int, resilience: dict[str, Any]) -> dict[str, Any]:
    """Routes whose targets are a model of the route's own at each provider."""
    config = scenario(up, KEYS, resilience=resilience)
    routes = {f"route-{number}": [f"{name}/model-{number}" for name in NAMES] for number in range(models)}
    config["models"] = [{"id": model} for route in routes.values() for model in route]
    return {**config, "routing": {"scenarios": routes}}


async def _happen(up: Upstreams, outage: Outage, seconds: float) -> None:
    await asyncio.sleep(BEFORE)
    outage.began = now()
    await _all(up, DOWN)
    await asyncio.sleep(seconds)
    await _all(up, WELL)
    outage.ended = now()


async def _all(up: Upstreams, behaviour: Behaviour) -> None:
    for name in NAMES:
        await up.behave(name, behaviour)


def _judge(
    report: Report, title: str, answers: dict[int, Answer], log: list[Seen], outage: Outage, most: float
) -> None:
    during = {number: a for number, a in answers.items() if outage.began <= a.started < outage.ended}
    unanswered = Counter(f"{answer.status} {answer.code}" for answer in during.values() if not answer.ok)
    asked = Counter(seen.call for seen in log)
    after = [answer for answer in answers.values() if answer.started >= outage.ended]
    late = [answer for answer in after if answer.started >= outage.ended + SOON]
    seconds = Counter(int(seen.at - outage.began) for seen in log if seen.at >= outage.began)
    whole = [seconds[second] for second in range(max(seconds))]

    report.figure(f"{title}: calls, of them in the outage", f"{len(answers)}, {len(during)}")
    report.figure(f"{title}: answered in the outage", sum(answer.ok for answer in during.values()))
    for name, count in unanswered.most_common():
        report.figure(f"{title}:   of the others {name}", count)
    requests = sum(asked[f"call {number}"] for number in during)
    report.at_most(f"{title}: upstream requests for each call in the outage", requests / len(during), most)
    failures = (answer.ended - outage.ended for answer in after if not answer.ok)
    report.figure(f"{title}: last failure after its end", max(failures, default=0.0), "s")
    good = sum(answer.ok and answer.seconds <= PATIENCE for answer in late)
    name = f"{title}: from {SOON:.0f} s after it answered in {PATIENCE:.0f} s, %"
    report.at_least(name, percent(good, len(late)), 99.0)
    taken = sorted(answer.seconds * 1000 for answer in late)
    report.figure(f"{title}: time then, median", percentile(taken, 50), "ms")
    report.figure(f"{title}: upstream requests in a second, mean", sum(whole) / len(whole))
    report.at_most(f"{title}: fullest second, as a multiple of it", max(whole) * len(whole) / sum(whole), 2.0)
