"""Three providers fail in every way, one always healthy: nearly every call succeeds, and no answer is wrong.

The run has phases of as many calls each. In each, one or two providers have a fault (errors, cuts, stalls, rate limits,
all of them) and the others are healthy; some keys are revoked for good. The healthy providers of a phase are random, so
the only one that can answer has often failed just before.

A complete answer is a success. Two kinds of calls are counted separately, because no gateway can answer them: streams
that the provider broke off after content (they must end with an error event, and there must be as many as the provider
broke), and calls without a target that was healthy all the time: in flight during a change of phase, or with the keys
of the only healthy provider in a cooldown that it asked for.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.load.client import Answer, in_parallel
from tests.load.harness import Gateway, Options, Upstreams, gateway, now, upstreams
from tests.load.report import Report, percent, percentile
from tests.load.scripted import Behaviour, Seen, serial_of

NAMES = ("alpha", "beta", "gamma")
KEYS = {name: [f"{name}-key-{number}" for number in (1, 2, 3)] for name in NAMES}
REVOKED = {0.25: "alpha-key-1", 0.5: "beta-key-3", 0.75: "gamma-key-2"}  # from this share of the calls on
WIDTH = 16
PHASE = 250  # calls
SHOWN = 3  # examples of what is wrong

WHOLE = Behaviour(weight=1)
ERRORS = [Behaviour(status=500, weight=3), Behaviour(status=503, weight=2), Behaviour(status=502, weight=1)]
CUTS = [
    Behaviour(end="fin", weight=2),
    Behaviour(end="rst", weight=2),
    Behaviour(end="fin", after=0, weight=1),
    Behaviour(end="rst", after=0, weight=1),
]
MID_STREAM = [
    Behaviour(end="fin", after=2, weight=0.6),
    Behaviour(end="rst", after=1, weight=0.6),
    Behaviour(end="stall", after=3, weight=0.3),
]
STALLS = [Behaviour(end="stall", weight=1), Behaviour(end="stall", after=0, weight=1)]
LIMITS = [
    Behaviour(status=429, code="rate_limit_exceeded", headers={"retry-after": "1"}, weight=1),
    Behaviour(status=429, code="rate_limit_exceeded", headers={"retry-after-ms": "100"}, weight=3),
    Behaviour(status=429, code="rate_limit_exceeded", headers={"retry-after-ms": "300"}, weight=2),
]
ILLNESSES: dict[str, list[Behaviour]] = {
    "down": [Behaviour(status=503)],
    "errors": [*ERRORS, WHOLE],
    "cuts": [*CUTS, *MID_STREAM, Behaviour(weight=4)],
    "stalls": [*STALLS, Behaviour(weight=6)],
    "limits": [*LIMITS, Behaviour(weight=5)],
    "all": [*ERRORS, *CUTS, *MID_STREAM, *STALLS, *LIMITS, Behaviour(weight=20)],
}


@dataclass
class Run:
    """What happened."""

    calls: int
    rng: random.Random
    answers: dict[int, Answer] = field(default_factory=dict)
    phases: list[tuple[float, frozenset[str]]] = field(default_factory=list)  # start, healthy providers
    cooldowns: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # by key: since, until
    seconds: float = 0.0

    def healthy(self, answer: Answer) -> frozenset[str]:
        """Return the providers that were healthy during all of a call and had a key without a cooldown."""
        found = frozenset(NAMES)
        for number, (since, names) in enumerate(self.phases):
            until = self.phases[number + 1][0] if number + 1 < len(self.phases) else float("inf")
            if since <= answer.ended and answer.started <= until:
                found &= names
        return frozenset(name for name in found if any(not self._rested(key, answer) for key in KEYS[name]))

    def limited(self, log: list[Seen]) -> None:
        """Record the cooldowns that the providers asked for."""
        for seen in log:
            if seen.key and seen.cooldown:
                self.cooldowns.setdefault(seen.key, []).append((seen.at, seen.at + seen.cooldown))

    def _rested(self, key: str, answer: Answer) -> bool:
        return any(since <= answer.ended and answer.started <= until for since, until in self.cooldowns.get(key, ()))


async def check(report: Report, options: Options) -> None:
    """20,000 calls, streamed and not, 16 at a time."""
    run = Run(options.calls or 20_000, random.Random(options.seed))
    async with upstreams(*NAMES) as up, gateway(configuration(up)) as box:
        await up.seed(options.seed)
        await _drive(run, up, box)
        await box.settled(run.calls)
        log = await up.log()
        run.limited(log)
        _judge(report, run, box, log)


def configuration(up: Upstreams) -> dict[str, Any]:
    """Three scenarios that differ in their order; all times are short, so that the run takes minutes."""
    timeouts = {"connect": "1s", "first_token": "1s", "idle": "1s", "total": "2s"}
    return {
        "providers": {
            name: {
                "base_url": up.url(name),
                "keys": [{"id": key, "value": key} for key in KEYS[name]],
                "timeouts": timeouts,
            }
            for name in NAMES
        },
        "models": [{"id": f"{name}/model"} for name in NAMES],
        "routing": {
            "scenarios": {
                first: [f"{name}/model" for name in (*NAMES[turn:], *NAMES[:turn])] for turn, first in enumerate(NAMES)
            }
        },
        "resilience": {"breaker": {"open": "1s", "max_open": "4s", "window": "10s"}, "retry": {"backoff": "50ms"}},
    }


async def _drive(run: Run, up: Upstreams, box: Gateway) -> None:
    client, began = box.client(), now()

    async def call(number: int) -> None:
        if number % PHASE == 0:
            await _change(run, up, number / run.calls)
        first, stream = run.rng.choice(NAMES), run.rng.random() < 0.5
        name = f"call {number}"
        run.answers[number] = await client.chat(f"scenario/{first}", name, stream=stream, router={"client_id": name})

    await in_parallel(run.calls, WIDTH, call)
    run.seconds = now() - began
    client.close()


async def _change(run: Run, up: Upstreams, share: float) -> None:
    """Draw the faults of the next phase. Recoveries come first, so that a provider is healthy at any time."""
    ill = {name: run.rng.choice(sorted(ILLNESSES)) for name in run.rng.sample(NAMES, run.rng.choice((1, 2, 2)))}
    healthy = frozenset(NAMES) - ill.keys()
    for name in healthy:
        await up.behave(name, WHOLE)
    run.phases.append((now(), healthy))
    for name, illness in ill.items():
        await up.behave(name, *ILLNESSES[illness])
    for since, key in REVOKED.items():
        if since <= share and key not in run.cooldowns:
            run.cooldowns[key] = [(now(), float("inf"))]
            await up.revoke(key.partition("-")[0], key)


def _judge(report: Report, run: Run, box: Gateway, log: list[Seen]) -> None:
    answers = list(run.answers.values())
    broken = [answer for answer in answers if answer.broken]
    rest = [answer for answer in answers if not answer.broken]
    helped = [answer for answer in rest if answer.ok or run.healthy(answer)]
    taken = sorted(answer.seconds * 1000 for answer in answers)

    report.figure("calls", run.calls)
    report.figure("mean rate", run.calls / run.seconds, "/s")
    report.figure("time, median", percentile(taken, 50), "ms")
    report.figure("time, 99th percentile", percentile(taken, 99), "ms")
    report.figure("calls without a target healthy all the time, failed", len(rest) - len(helped))
    report.at_least(
        "answered, of those with a healthy target, %", percent(sum(a.ok for a in helped), len(helped)), 99.5
    )
    _tell_failures(report, run, box)
    report.equal("streams broken off, with an error event", len(broken), sum(seen.broken for seen in log))
    report.equal("lies", sum(answer.lie for answer in answers), 0)
    report.equal("answers of another call", _mixed_up(run, log), 0)
    report.equal("ends without an answer or an error", sum(bool(answer.torn) for answer in answers), 0)
    report.at_most("upstream requests for each call", len(log) / run.calls, 1.25)
    report.equal("access lines", len(box.calls), run.calls)
    recorded, arrived = box.attempts(), Counter(seen.provider for seen in log)
    for name in NAMES:
        report.equal(f"attempts recorded, {name}", recorded[name], arrived[name])
    misrecorded = _misrecorded(box, log)
    report.equal("calls whose attempts are not what arrived", len(misrecorded), 0)
    for text in misrecorded[:SHOWN]:
        report.note(text)
    report.figure("requests with a revoked key", sum(seen.status == 401 for seen in log))


def _tell_failures(report: Report, run: Run, box: Gateway) -> None:
    """Report the calls that failed although a target was healthy, and whether it was asked."""
    lines = {line["client_id"]: line for line in box.calls}
    failed, unasked, shown = Counter[str](), 0, list[str]()
    for number, answer in run.answers.items():
        healthy = run.healthy(answer)
        if answer.ok or answer.broken or not healthy:
            continue
        line = lines[f"call {number}"]
        failed[f"{answer.status} {answer.code}"] += 1
        asked = bool(healthy & {attempt["provider"] for attempt in line["attempts"]})
        unasked += not asked
        if asked or len(shown) < SHOWN:
            shown.append(f"{_attempts(line)}; healthy: {', '.join(sorted(healthy))}")
    report.figure("failed with a healthy target", sum(failed.values()))
    report.figure("  of them without asking it", unasked)
    for name, count in failed.most_common():
        report.figure(f"  of them {name}", count)
    for text in shown[: 3 * SHOWN]:
        report.note(text)


def _mixed_up(run: Run, log: list[Seen]) -> int:
    calls = {seen.serial: seen.call for seen in log}
    return sum(
        bool(answer.text) and calls.get(serial_of(answer.text) or 0) != f"call {number}"
        for number, answer in run.answers.items()
    )


def _misrecorded(box: Gateway, log: list[Seen]) -> list[str]:
    arrived: dict[str, list[str]] = {}
    for seen in log:
        arrived.setdefault(seen.call, []).append(f"{seen.provider} {seen.key}")
    return [
        f"{_attempts(line)}, but arrived: {arrived.get(line['client_id'], [])}"
        for line in box.calls
        if [f"{attempt['provider']} {attempt['key']}" for attempt in line["attempts"]]
        != arrived.get(line["client_id"], [])
    ]


def _attempts(line: dict[str, Any]) -> str:
    """Return a description of the attempts of a call."""
    attempts = [f"{each['provider']} {each['key']} {each['outcome']} {each['ms']:.0f} ms" for each in line["attempts"]]
    return f"{line['client_id']}, {'stream' if line['stream'] else 'plain'}: {'; '.join(attempts)}"
