"""A provider revokes one key, then all: each is taken out of use at once, and there is no retry storm."""

from __future__ import annotations

from collections import Counter

from tests.load.client import Answer, at_rate
from tests.load.harness import Options, gateway, scenario, upstreams
from tests.load.report import Report, percent

RATE = 100.0
KEYS = ["up-key-1", "up-key-2", "up-key-3"]
MOST = 3  # requests with a revoked key, including those in flight


async def check(report: Report, options: Options) -> None:
    """Make 100 calls a second with three keys; one is revoked after a third, all after two thirds."""
    seconds = options.seconds or 15.0
    calls = round(RATE * seconds)
    async with upstreams("up") as up, gateway(scenario(up, {"up": KEYS})) as box:
        client, answers = box.client(), dict[int, Answer]()

        async def call(number: int) -> None:
            if number == calls // 3:
                await up.revoke("up", KEYS[1])
            if number == 2 * calls // 3:
                await up.revoke("up", *KEYS)
            answers[number] = await client.chat("scenario/all", f"call {number}", stream=number % 2 == 0)

        await at_rate(RATE, seconds, call)
        await box.settled(calls)
        log = await up.log()
        client.close()
        rejected = await box.metric(r'signalbox_attempts_total\{.*outcome="key_rejected"')
        warnings = sum(event["event"] == "a provider rejected a key" for event in box.events)

    refused = Counter(seen.key for seen in log if seen.status == 401)
    one = [answer for number, answer in answers.items() if number < 2 * calls // 3]
    everything = [answer for number, answer in answers.items() if number >= 2 * calls // 3 + round(RATE)]
    report.figure("calls", calls)
    report.equal("answered while one key is revoked, %", percent(sum(a.ok for a in one), len(one)), 100.0)
    for key in KEYS:
        report.at_most(f"requests with {key} once revoked", refused[key], MOST)
    report.equal("refused within a second of the last key's end, %", _refused(everything), 100.0)
    report.equal("of them with status 502", sum(answer.status == 502 for answer in everything), len(everything))
    report.equal("rejections in the metric", rejected, sum(refused.values()))
    report.equal("warnings in the log", warnings, sum(refused.values()))
    report.equal("attempts recorded", sum(box.attempts().values()), len(log))


def _refused(answers: list[Answer]) -> float:
    return percent(sum(bool(answer.error) and not answer.looks_whole for answer in answers), len(answers))
