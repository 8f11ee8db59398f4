"""One of two targets always answers 500: clients do not notice, and it gets a few requests only."""

from __future__ import annotations

import asyncio

from tests.load.client import Answer, at_rate
from tests.load.harness import Options, gateway, scenario, upstreams
from tests.load.report import Report, percent
from tests.load.scripted import Behaviour

RATE = 100.0
FIRST = 20  # calls that may still fail, while the breaker learns
GRACE = 0.3  # seconds in which a target behind an open breaker is not asked again by a call that has asked another


async def check(report: Report, options: Options) -> None:
    """Run with the failing target first of two; then alone; then healthy again while the other one fails."""
    await _pair(report, options.calls or 2000)
    await _alone(report)
    await _swapped(report)


async def _pair(report: Report, calls: int) -> None:
    async with upstreams("bad", "good") as up, gateway(scenario(up)) as box:
        await up.behave("bad", Behaviour(status=500))
        client, answers = box.client(), dict[int, Answer]()

        async def call(number: int) -> None:
            answers[number] = await client.chat("scenario/all", f"call {number}", stream=number % 2 == 0)

        await at_rate(RATE, calls / RATE, call)
        await box.settled(calls)
        log = await up.log()
        client.close()

    later = [answer for number, answer in answers.items() if number >= FIRST]
    bad = sum(seen.provider == "bad" for seen in log)
    report.figure("calls", calls)
    report.at_least(f"answered after the first {FIRST}, %", percent(sum(a.ok for a in later), len(later)), 99.5)
    report.figure("answered of the first", sum(answers[number].ok for number in range(FIRST)))
    report.figure("requests that the bad target got", bad)
    report.at_most("share of the traffic that it got, %", percent(bad, len(log)), 1.0)
    report.equal("attempts recorded", sum(box.attempts().values()), len(log))


async def _alone(report: Report) -> None:
    """Without another target it is still asked, and the first call after its recovery succeeds."""
    calls = 100
    async with upstreams("bad") as up, gateway(scenario(up)) as box:
        await up.behave("bad", Behaviour(status=500))
        client = box.client()
        for number in range(calls):
            await client.chat("scenario/all", f"call {number}")
            await asyncio.sleep(0.005)
        asked = {seen.call for seen in await up.log()}
        await up.behave("bad", Behaviour())
        recovered = [await client.chat("scenario/all", "again") for _ in range(20)]
        client.close()

    report.equal("alone: calls that reached it", len(asked), calls)
    report.equal("alone: answered once it has recovered, of 20", sum(answer.ok for answer in recovered), 20)


async def _swapped(report: Report) -> None:
    """The target with an open breaker is the only healthy one: it must be found."""
    calls = 200
    async with upstreams("first", "second") as up, gateway(scenario(up)) as box:
        client, answers = box.client(), dict[int, Answer]()
        await up.behave("second", Behaviour(status=500))
        for number in range(3):
            await client.chat("second/model", f"before {number}")
        await up.behave("second", Behaviour())
        await up.behave("first", Behaviour(status=500))
        await asyncio.sleep(GRACE)

        async def call(number: int) -> None:
            answers[number] = await client.chat("scenario/all", f"call {number}", stream=number % 2 == 0)

        await at_rate(RATE, calls / RATE, call)
        asked = sum(seen.call.startswith("call") for seen in await up.log("second"))
        client.close()

    later = [answers[number] for number in range(FIRST, calls)]
    report.figure("swapped: requests that the good target got", asked)
    name = f"swapped: answered after the first {FIRST}, %"
    report.at_least(name, percent(sum(answer.ok for answer in later), len(later)), 99.5)
