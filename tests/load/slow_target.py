"""A target starts ten times later than before: its breaker opens; long answers do not count as failures.

Slow means slower than usual for the target, and slower than `slow_calls.at_least`. Streams are slow to send their head,
or their first content after it.
"""

from __future__ import annotations

from typing import Any

from tests.load.client import Answer, at_rate, in_parallel
from tests.load.harness import Gateway, Options, Upstreams, gateway, now, scenario, until, upstreams
from tests.load.report import Report, percentile
from tests.load.scripted import Behaviour

NORMAL = 0.03  # seconds to the first content
SLOW = 10 * NORMAL
AT_LEAST = 0.2
CONSECUTIVE = 3
OPEN = 1.0  # seconds
RATE = 50.0
KNOWN = 30  # calls by which the normal time is learned
UNDER_WAY = round(RATE * SLOW * 1.5)  # calls that are there before the first slow one is known to be
WELL = [Behaviour(before=NORMAL), Behaviour(first=NORMAL)]
LATE = [Behaviour(before=SLOW), Behaviour(first=SLOW)]
BLAMELESS = [  # concurrency, usual behaviour, and the new one: long answers, and delays below the limit
    ("long stream", 25, WELL, Behaviour(first=NORMAL, words=40, pace=NORMAL)),
    ("long plain", 25, WELL, Behaviour(before=40 * NORMAL)),
    ("small stream", 5, [Behaviour()], Behaviour(first=AT_LEAST / 3)),
]


async def check(report: Report, options: Options) -> None:
    """Make 50 calls a second to a target that becomes slow and recovers; then long answers and small delays."""
    async with upstreams("first", "second") as up, gateway(configuration(up)) as box:
        await up.seed(options.seed)
        await up.behave("second", *WELL)
        await _slow(report, up, box, options.seconds or 6.0)
        for title, width, normal, then in BLAMELESS:
            await up.behave("first", *normal, model=title.partition(" ")[0])
            await _blameless(report, up, box, title, then, options.calls or 100, width)


def configuration(up: Upstreams) -> dict[str, Any]:
    """Return a configuration with a route for each part, and short times."""
    routes = {route: [f"{name}/{route}" for name in up.names] for route in ("slow", "long", "small")}
    resilience = {
        "slow_calls": {"at_least": f"{AT_LEAST}s"},
        "breaker": {"consecutive": CONSECUTIVE, "open": f"{OPEN}s", "max_open": f"{2 * OPEN}s"},
        "probes": {"enabled": False},
    }
    models = [{"id": model} for route in routes.values() for model in route]
    return {**scenario(up), "models": models, "routing": {"scenarios": routes}, "resilience": resilience}


async def _slow(report: Report, up: Upstreams, box: Gateway, seconds: float) -> None:
    client, answers = box.client(), dict[int, Answer]()

    async def call(number: int) -> None:
        answers[number] = await client.chat("scenario/slow", f"slow {number}", stream=True)

    await up.behave("first", *WELL, model="slow")
    await in_parallel(KNOWN, 2, call)
    await up.behave("first", *LATE, model="slow")
    answers.clear()
    began, before = now(), len(await up.log("first"))
    await at_rate(RATE, seconds, call)
    reached = [seen.at - began for seen in (await up.log("first"))[before:]]
    row = await _row(box, "slow")
    report.figure("slow: calls", len(answers))
    report.equal("slow: answered", sum(answer.ok for answer in answers.values()), len(answers))
    soon = sum(at < OPEN for at in reached)
    report.at_most("slow: requests until the breaker opened", soon, CONSECUTIVE + UNDER_WAY)
    report.at_most("slow: requests after that", len(reached) - soon, seconds / OPEN)
    report.at_least("slow: times that it has opened", row.get("openings", 0), 2)
    late = sorted(a.first - a.started for a in answers.values() if a.first and a.started - began > OPEN)
    report.at_most("slow: time to the first content then, median", percentile(late, 50) * 1000, SLOW * 500, "ms")

    await up.behave("first", *WELL, model="slow")

    async def closed() -> bool:
        await call(0)
        return bool((await _row(box, "slow"))["state"] == "closed")

    report.equal("slow: closed once it is well again", await until(closed, 3 * OPEN), wanted=True)
    client.close()


async def _blameless(
    report: Report, up: Upstreams, box: Gateway, title: str, then: Behaviour, calls: int, width: int
) -> None:
    """Make calls that must all reach the first target, without a failure; `title`: route, plain or stream."""
    route, _, kind = title.partition(" ")
    client, answers = box.client(), list[Answer]()

    async def call(number: int) -> None:
        answers.append(await client.chat(f"scenario/{route}", f"{title} {number}", stream=kind != "plain"))

    await in_parallel(KNOWN, 2, call)
    answers.clear()
    await up.behave("first", then, model=route)
    before = len(await up.log("first"))
    await in_parallel(calls, width, call)
    row = await _row(box, route)
    report.figure(f"{title}: time, median", percentile(sorted(answer.seconds * 1000 for answer in answers), 50), "ms")
    report.equal(f"{title}: answered by the first target", len(await up.log("first")) - before, calls)
    report.equal(f"{title}: failures that its breaker has", row.get("failures", 0), 0)
    client.close()


async def _row(box: Gateway, model: str) -> dict[str, Any]:
    rows = await box.breakers()
    wanted = (row for row in rows if (row["provider"], row["model"]) == ("first", model))
    return next(wanted, {"state": "closed"})
