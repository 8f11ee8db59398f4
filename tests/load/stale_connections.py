"""A provider closes idle connections just when they are used again: no client error, no duplicate request.

This concerns connections that have served before. A call on a new connection that is reset after the provider received
the request is not retried unless the retry policy allows it; nor is a call that timed out.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

from tests.load.client import Answer, in_parallel
from tests.load.harness import Gateway, Options, Upstreams, gateway, scenario, upstreams
from tests.load.report import Report
from tests.load.scripted import Behaviour, Seen

LANES = [f"lane-{number}" for number in range(12)]  # providers, so that each has a connection of its own
IDLE = 0.05  # seconds after which they close a connection
EARLY, LATE = 0.008, 0.002  # seconds around that at which the next call begins
LEAST = 10  # calls that must have met a closed connection for the check to mean something
SILENCE = 0.15  # seconds until a call without an answer times out
RESET, HANGS = Behaviour(end="rst"), Behaviour(end="stall")
NEVER = {"consecutive": 1_000_000, "window_failures": 1_000_000}  # breakers that do not open
SHORT_FORM = Options(calls=60)
ONCE: dict[str, Any] = {"breaker": NEVER, "retry": {"same_target": 0}}


async def check(report: Report, options: Options) -> None:
    """Make 1,500 calls at the worst moment; fewer without resending; then resets after the request was received."""
    calls = options.calls or 1500
    await _stale(report, "stale", calls, options.seed, stale_post=True)
    await _stale(report, "not sent again", calls // 3, options.seed, stale_post=False)
    if options.calls is None:
        await _in_hand(report, "once", 20, ONCE, fresh=1, served=2)
        await _in_hand(report, "policy", 20, {"breaker": NEVER, "retry": {"backoff": "10ms"}}, fresh=2, served=3)


async def _stale(report: Report, title: str, calls: int, seed: int, *, stale_post: bool) -> None:
    """Make one call after the other on each lane, each when the connection is about to be closed."""
    resilience = {**ONCE, "retry": {"same_target": 0, "stale_post": stale_post}, "probes": {"enabled": False}}
    async with upstreams(*LANES, "spare") as up, gateway(configuration(up, resilience)) as box:
        for lane in LANES:
            await up.close_idle(lane, IDLE)
        answers: list[Answer] = []

        async def run(lane: int) -> None:
            client, rng = box.client(), random.Random(f"{seed} {lane}")
            for number in range(lane, calls, len(LANES)):
                name = f"call {number}"
                answers.append(await client.chat(f"scenario/{LANES[lane]}", name, stream=rng.random() < 0.5))
                await asyncio.sleep(IDLE + rng.uniform(-EARLY, LATE))
            client.close()

        await in_parallel(len(LANES), len(LANES), run)
        await box.settled(calls)
        _judge(report, title, box, answers, await up.log(), stale_post=stale_post)


def configuration(up: Upstreams, resilience: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with a route for each lane, all with the same second target."""
    routes = {lane: [f"{lane}/model", "spare/model"] for lane in LANES}
    return scenario(up, routing={"scenarios": routes}, resilience=resilience)


def _judge(
    report: Report, title: str, box: Gateway, answers: list[Answer], log: list[Seen], *, stale_post: bool
) -> None:
    outcomes = Counter(attempt["outcome"] for call in box.calls for attempt in call["attempts"])
    processed = Counter(seen.call for seen in log)
    stale = outcomes["stale_connection"]
    report.figure(f"{title}: calls", len(answers))
    least = LEAST if stale_post else 1
    report.at_least(f"{title}: of them on a connection just closed", stale, least, full_only=True)
    report.equal(f"{title}: answered", sum(answer.ok for answer in answers), len(answers))
    report.equal(f"{title}: processed exactly once", sum(count == 1 for count in processed.values()), len(answers))
    report.equal(f"{title}: requests upstream", len(log), len(answers))
    report.equal(f"{title}: other failures recorded", sum(outcomes.values()) - outcomes["ok"] - stale, 0)
    elsewhere = sum(seen.provider == "spare" for seen in log)
    report.equal(f"{title}: answered by another target", elsewhere, 0 if stale_post else stale)


async def _in_hand(
    report: Report, title: str, calls: int, resilience: dict[str, Any], *, fresh: int, served: int
) -> None:
    """Report how often a request is sent that the provider receives and answers by a reset or not at all."""
    async with upstreams("fresh", "served") as up, gateway(in_hand(up, resilience)) as box:
        client, asked = box.client(), Counter[str]()
        for provider in up.names:
            await up.behave(provider, RESET, model="reset")
            await up.behave(provider, HANGS, model="hangs")
        for number in range(calls):
            for part in ("fresh/reset", "served/reset", "served/hangs"):
                if part.startswith("served"):
                    await client.chat("served/model", "warm")  # leaves a connection that has served
                name = f"{part} {number}"
                answer = await client.chat(part, name, stream=number % 2 == 0)
                asked[f"{part} {answer.status}"] += 1
        seen = Counter(f"{each.provider}/{each.model}" for each in await up.log() if each.call != "warm")
        client.close()
        for part, status, what, wanted in (
            ("fresh/reset", 502, "a reset on first use", fresh),
            ("served/reset", 502, "a reset later", served),
            ("served/hangs", 504, "a timeout", 1),
        ):
            report.equal(f"{title}: {status} after {what}", asked[f"{part} {status}"], calls)
            report.equal(f"{title}: requests for each with {what}", seen[part] / calls, float(wanted))


def in_hand(up: Upstreams, resilience: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in which only the models that hang have short timeouts."""
    timeouts = {"first_token": f"{SILENCE}s", "total": f"{SILENCE}s"}
    return {
        "providers": {name: {"base_url": up.url(name), "any_model": True} for name in up.names},
        "models": [{"id": f"{name}/hangs", "timeouts": timeouts} for name in up.names],
        "resilience": resilience,
    }
