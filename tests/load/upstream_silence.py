"""A silent upstream: a fallback before the first content, an error event after it, each within its limit.

Shorter silences change nothing, however many an answer has; clients get comments meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from tests.load.client import Answer, in_parallel
from tests.load.harness import Options, Upstreams, gateway, upstreams
from tests.load.report import Report
from tests.load.scripted import Behaviour, Seen

PATIENCE = 1.0  # seconds: for the first content, between two pieces, and for an answer in one piece
COMMENT = 0.3  # seconds of silence in a stream after which a comment goes out
NEAR = 0.1  # seconds around the end of it
GONE = 0.25  # seconds until a provider sees its connection closed
APART = 0.2  # seconds between the starts of two calls of one kind
NAMES = ("first", "second")
SHOWN = 3  # examples of what is wrong
NEVER = {"consecutive": 1_000_000, "window_failures": 1_000_000}


@dataclass(frozen=True)
class Part:
    """What the first target does with a call."""

    name: str  # also the model
    stream: bool
    behaviour: Behaviour


BEFORE = [
    Part("no-head", True, Behaviour(end="stall")),
    Part("no-content", True, Behaviour(end="stall", after=0)),
    Part("no-answer", False, Behaviour(end="stall")),
    Part("half-an-answer", False, Behaviour(end="stall", after=0)),
]
AMID = [
    Part("too-long", True, Behaviour(words=5, pace=1.3 * PATIENCE)),
    Part("for-ever", True, Behaviour(words=5, after=2, end="stall")),
]
SHORTER = [
    Part("pauses", True, Behaviour(first=0.8 * PATIENCE, words=3, pace=0.8 * PATIENCE)),
    Part("long-answer", True, Behaviour(words=30, pace=0.1 * PATIENCE)),
    Part("just-in-time", False, Behaviour(before=0.8 * PATIENCE)),
]
COMMENTS = {"pauses": 3 * int(0.8 * PATIENCE / COMMENT)}  # after each word, and none before the first


async def check(report: Report, options: Options) -> None:
    """Make twenty calls of each kind, all kinds side by side."""
    parts = [*BEFORE, *AMID, *SHORTER]
    async with upstreams(*NAMES) as up, gateway(configuration(up)) as box:
        answers: dict[str, list[Answer]] = {}
        client = box.client()

        async def call(part: Part, number: int) -> None:
            await anyio.sleep((number + parts.index(part) / len(parts)) * APART)
            label = {"router": {"client_id": part.name}}
            name = f"{part.name} {number}"
            answer = await client.chat(f"scenario/{part.name}", name, stream=part.stream, **label)
            answers.setdefault(part.name, []).append(answer)

        count = options.calls or 20
        async with anyio.create_task_group() as group:
            for part in parts:
                await up.behave("first", part.behaviour, model=part.name)
                group.start_soon(in_parallel, count, count, partial(call, part))
        await box.settled(sum(map(len, answers.values())))
        await anyio.sleep(GONE)
        client.close()
        log = await up.log()
        for part in parts:
            lines = [line for line in box.calls if line["client_id"] == part.name]
            tell = _before if part in BEFORE else _amid if part in AMID else _shorter
            tell(report, part.name, answers[part.name], lines, [seen for seen in log if seen.model == part.name])


def configuration(up: Upstreams) -> dict[str, Any]:
    """A route for each part; breakers that never open and a budget that is never used up: the same for all."""
    timeouts = {"first_token": f"{PATIENCE}s", "idle": f"{PATIENCE}s"}
    parts = [*BEFORE, *AMID, *SHORTER]
    return {
        "server": {"stream_keep_alive": f"{COMMENT}s"},
        "providers": {name: {"base_url": up.url(name)} for name in up.names},
        "models": [
            {"id": f"{name}/{part.name}", "timeouts": timeouts if part.stream else {"total": f"{PATIENCE}s"}}
            for name in up.names
            for part in parts
        ],
        "routing": {"scenarios": {part.name: [f"{name}/{part.name}" for name in up.names] for part in parts}},
        "resilience": {"breaker": NEVER, "retry": {"budget": {"floor": 1000}}, "slow_calls": {"enabled": False}},
    }


def _before(report: Report, name: str, answers: list[Answer], lines: list[dict[str, Any]], log: list[Seen]) -> None:
    """Report on calls that the next target must answer."""
    asked = {seen.call: seen.at for seen in log if seen.provider == "first"}
    waits = [seen.at - asked[seen.call] for seen in log if seen.provider == "second"]
    recorded = [[attempt["outcome"] for attempt in line["attempts"]] for line in lines]
    noticed = [seen.gone_at for seen in log if seen.provider == "first"]
    closed = sum(at is not None for at in noticed)
    _range(report, f"{name}: next target asked after", waits)
    report.equal(f"{name}: within {NEAR * 1000:.0f} ms of the timeout", _near(waits), len(answers))
    report.equal(f"{name}: answered", sum(answer.ok for answer in answers), len(answers))
    report.equal(f"{name}: recorded as a timeout", recorded.count(["first_token_timeout", "ok"]), len(answers))
    report.equal(f"{name}: connections closed with it", closed, len(answers))


def _amid(report: Report, name: str, answers: list[Answer], lines: list[dict[str, Any]], log: list[Seen]) -> None:
    """Report on answers that must end with an error."""
    waits = [answer.ended - answer.first for answer in answers if answer.first]
    broken = sum(answer.broken and answer.code == "upstream_timeout" and not answer.torn for answer in answers)
    _range(report, f"{name}: ended after", waits)
    report.equal(f"{name}: within {NEAR * 1000:.0f} ms of the limit", _near(waits), len(answers))
    report.equal(f"{name}: with an error event and without [DONE]", broken, len(answers))
    report.equal(f"{name}: lies", sum(answer.lie for answer in answers), 0)
    report.equal(f"{name}: recorded as partial", sum(line["outcome"] == "partial" for line in lines), len(answers))
    report.equal(f"{name}: requests upstream", len(log), len(answers))


def _shorter(report: Report, name: str, answers: list[Answer], lines: list[dict[str, Any]], log: list[Seen]) -> None:
    """Report on silences that must change nothing."""
    report.equal(f"{name}: answered", sum(answer.ok for answer in answers), len(answers))
    wanted = COMMENTS.get(name, 0)
    kept = sum(answer.comments == wanted for answer in answers)
    report.equal(f"{name}: with {wanted} comments", kept, len(answers))
    report.equal(f"{name}: recorded as ok", sum(line["outcome"] == "ok" for line in lines), len(answers))
    report.equal(f"{name}: requests upstream", len(log), len(answers))


def _range(report: Report, name: str, seconds: list[float]) -> None:
    report.figure(name, f"{min(seconds, default=0):.3f} to {max(seconds, default=0):.3f}", "s")


def _near(seconds: list[float]) -> int:
    return sum(abs(each - PATIENCE) <= NEAR for each in seconds)
