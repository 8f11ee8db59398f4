"""Providers send `retry-after` in every form: calls that may wait do so, all others get an error at once.

`retry-after` comes in seconds, milliseconds and as a date, as an hour, and invalid, which is ignored. With one target,
the client's `max_wait_seconds` and the deadline decide; with another target no call waits, unless both ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from typing import Any

import anyio

from proxy.core.clock import SystemClock
from tests.load.client import Answer, in_parallel
from tests.load.harness import Gateway, Options, Upstreams, gateway, now, until, upstreams
from tests.load.report import Report
from tests.load.scripted import Behaviour, Seen

REST = 1.0  # seconds of cooldown of a key without `retry-after`
EARLY, LATE = 0.005, 0.3  # seconds that a retry may be early (clocks differ) and late
APART = 0.05  # seconds between the starts of two cases
AT_ONCE = 0.3  # seconds for an answer without a wait
DEADLINE, CAP = 2.0, 1.0  # seconds, each in a configuration of its own
AT_ONCE_AGAIN = "first first first first"  # all attempts of a call, since its provider allows them
GARBAGE = ("soon", "-5", "NaN", "1e999", "7 parsecs", ", ,", "Mon, 99 Foo 2030")
Headers = Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """What targets answer first, how long the client would wait, and the expected outcome."""

    name: str  # also the model
    first: Headers
    second: Headers | None = None  # of another target, which is well if this is empty; None: there is none
    patience: float | None = 5.0  # seconds; None is the configured one
    wait: float | None = None  # seconds until the last request; None: 429 at once
    date: float | None = None  # ... which is not to come before this, by the monotonic clock
    retry_after: int = 0  # seconds of `retry-after` in the 429
    asked: str = "first first"  # targets, in order

    @property
    def targets(self) -> tuple[str, ...]:
        """Of the route."""
        return ("first",) if self.second is None else ("first", "second")


@dataclass
class Outcome:
    """The outcome of a case."""

    case: Case
    answer: Answer
    seen: list[Seen] = field(default_factory=list)

    @property
    def late(self) -> float:
        """Seconds between the moment of the last request and the right one."""
        return self.seen[-1].at - (self.case.date or self.seen[0].at + (self.case.wait or 0.0))

    def fault(self) -> str:
        """Return what is wrong; empty if nothing is."""
        asked = " ".join(seen.provider for seen in self.seen)
        if asked != self.case.asked:
            return f"asked {asked}"
        if self.case.wait is None:
            header = self.answer.headers.get("retry-after")
            if self.answer.status != 429 or header != str(self.case.retry_after):
                return f"{self.answer.status}, retry-after {header}"
            return "" if self.answer.seconds <= AT_ONCE else f"answered after {self.answer.seconds:.2f} s"
        if not self.answer.ok:
            return f"{self.answer.status} {self.answer.code} after {self.answer.seconds:.2f} s"
        return "" if -EARLY <= self.late <= LATE else f"{self.late:.3f} s late"


def alone() -> list[Case]:
    """Return the cases with one target."""
    clock = SystemClock()
    shift = clock.time() - clock.monotonic()
    date = int(clock.time()) + 6  # it has whole seconds
    cases = [
        Case("date", {"retry-after": formatdate(date, usegmt=True)}, patience=10.0, wait=0.0, date=date - shift),
        Case("seconds", {"retry-after": "2"}, wait=2.0),
        Case("milliseconds", {"retry-after-ms": "700"}, wait=0.7),
        Case("both", {"retry-after": "2", "retry-after-ms": "700"}, wait=0.7),
        Case("usual", {"retry-after": "1"}, patience=None, wait=1.0),
        Case("openai", {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s200ms"}, wait=1.2),
        Case("past", {"retry-after": formatdate(date - 3600, usegmt=True)}, asked=AT_ONCE_AGAIN),
        Case("at-once", {"retry-after": "0"}, patience=0.0, asked=AT_ONCE_AGAIN),
        Case("impatient", {"retry-after": "3"}, patience=1.0, retry_after=3, asked="first"),
        Case("none", {"retry-after": "2"}, patience=0.0, retry_after=2, asked="first"),
        Case("hour", {"retry-after": "3600"}, retry_after=3600, asked="first"),
        Case("silent", {}, retry_after=round(REST), asked="first"),
    ]
    return cases + [
        Case(f"garbage-{number}", {"retry-after": text}, retry_after=round(REST), asked="first")
        for number, text in enumerate(GARBAGE)
    ]


def beside() -> list[Case]:
    """Return the cases with two targets."""
    return [
        Case("other", {"retry-after": "2"}, {}, wait=0.0, asked="first second"),
        Case("other-impatient", {"retry-after": "3600"}, {}, patience=0.0, wait=0.0, asked="first second"),
        Case("other-garbage", {"retry-after": "soon"}, {}, wait=0.0, asked="first second"),
        Case("sooner", {"retry-after": "3"}, {"retry-after": "1"}, wait=1.0, asked="first second second"),
        Case("later", {"retry-after": "1"}, {"retry-after": "3"}, wait=1.0, asked="first second first"),
        Case("neither", {"retry-after": "60"}, {"retry-after": "30"}, retry_after=30, asked="first second"),
    ]


async def check(report: Report, options: Options) -> None:
    """Run every case streamed and not, side by side; then a crowd, and other configurations."""
    usual = alone() + beside()
    await _run(report, "usual", usual, {"failures": {"rate_limit": {"rest": f"{REST}s"}}}, options.calls or 50)
    hurried = [
        Case("in-time", {"retry-after": "1"}, wait=1.0),
        Case("too-late", {"retry-after": "3"}, retry_after=3, asked="first"),
    ]
    await _run(report, f"deadline {DEADLINE:g} s", hurried, {"deadline": {"soft": "1s", "hard": f"{DEADLINE}s"}})
    capped = [Case("capped", {"retry-after": "3600"}, wait=CAP)]
    await _run(
        report, f"at most {CAP:g} s", capped, {"failures": {"rate_limit": {"rest": "1s", "max_rest": f"{CAP}s"}}}
    )


async def _run(
    report: Report, title: str, cases: list[Case], resilience: dict[str, Any], crowd: int | None = None
) -> None:
    async with upstreams("first", "second") as up, gateway(configuration(up, cases, resilience)) as box:
        outcomes: list[Outcome] = []
        async with anyio.create_task_group() as group:
            for case in cases:
                for stream in (False, True):
                    group.start_soon(partial(_case, up, box, case, outcomes, stream=stream))
                    await anyio.sleep(APART)
        for kind in ("waits", "fails"):
            chosen = [each for each in outcomes if (each.case.wait is None) == (kind == "fails")]
            faults = [f"{each.case.name}: {fault}" for each in chosen if (fault := each.fault())]
            if kind == "waits":
                report.figure(f"{title}: latest of those that wait", max(each.late for each in chosen) * 1000, "ms")
            if chosen:
                report.equal(f"{title}: {kind} as it should", len(chosen) - len(faults), len(chosen))
            for fault in faults:
                report.note(fault)
        if crowd:
            await _crowd(report, up, box, crowd)


def configuration(up: Upstreams, cases: list[Case], resilience: dict[str, Any]) -> dict[str, Any]:
    """A route for each case, streamed and not, with models of its own; the retry budget is large."""
    names = [(f"{case.name}-{kind}", case.targets) for case in cases for kind in ("plain", "stream")]
    routes = {name: [f"{target}/{name}" for target in targets] for name, targets in [*names, ("crowd", ("first",))]}
    return {
        "providers": {name: {"base_url": up.url(name)} for name in up.names},
        "models": [{"id": model} for route in routes.values() for model in route],
        "routing": {"scenarios": routes},
        "resilience": {"probes": {"enabled": False}, "retry": {"budget": {"floor": 1000}}, **resilience},
    }


async def _case(up: Upstreams, box: Gateway, case: Case, outcomes: list[Outcome], *, stream: bool) -> None:
    """Make one call; each target recovers after its first answer, if the call is to be served."""
    model = f"{case.name}-{'stream' if stream else 'plain'}"
    options = {} if case.patience is None else {"router": {"max_wait_seconds": case.patience}}
    for target, headers in zip(case.targets, (case.first, case.second or {}), strict=False):
        well = target == "second" and not headers
        await up.behave(target, Behaviour() if well else _limited(headers), model=model)
    client = box.client()
    outcome = Outcome(case, Answer(now(), stream))
    async with anyio.create_task_group() as group:
        if case.wait is not None:
            group.start_soon(_recover, up, outcome, model)
        outcome.answer = await client.chat(f"scenario/{model}", model, stream=stream, **options)
    client.close()
    outcome.seen = [seen for seen in await up.log() if seen.model == model]
    outcomes.append(outcome)


async def _recover(up: Upstreams, outcome: Outcome, model: str) -> None:
    """Let each target recover once it was asked."""
    left = set(outcome.case.targets)
    while left and not outcome.answer.ended:
        asked = {seen.provider for seen in await up.log() if seen.model == model}
        for target in left & asked:
            await up.behave(target, Behaviour(), model=model)
        left -= asked
        await anyio.sleep(0.02)


async def _crowd(report: Report, up: Upstreams, box: Gateway, clients: int) -> None:
    """Many calls arrive during the cooldown of the only target: all are sent after it, and served."""
    client, answers = box.client(), list[Answer]()

    async def call(number: int) -> None:
        options = {"router": {"max_wait_seconds": 5.0}}
        answers.append(await client.chat("scenario/crowd", f"crowd {number}", stream=number % 2 == 0, **options))

    async with anyio.create_task_group() as group:
        await up.behave("first", _limited({"retry-after": "2"}), model="crowd")
        group.start_soon(call, 0)
        await until(partial(up.arrived, "crowd 0"))
        await up.behave("first", Behaviour(), model="crowd")
        group.start_soon(in_parallel, clients, clients, call)
    seen = [each for each in await up.log() if each.model == "crowd"]
    client.close()
    report.equal("crowd: answered", sum(answer.ok for answer in answers), clients + 1)
    report.equal("crowd: requests upstream", len(seen), clients + 2)
    early = sum(each.at < seen[0].at + 2.0 for each in seen[1:])
    report.equal("crowd: of them while the target rested", early, 0)
    report.at_most("crowd: last of them after its end", seen[-1].at - seen[0].at - 2.0, 1.0, "s")


def _limited(headers: Headers) -> Behaviour:
    return Behaviour(status=429, code="rate_limit_exceeded", message="Too many.", headers=headers)
