"""From the commit point on: bytes out as they come, and an honest end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import pytest

from proxy.core.errors import ProxyError
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import Timeouts
from proxy.core.record import AttemptRecord, Record
from proxy.core.usage import Usage
from proxy.core.wire import UpstreamRequest
from proxy.surfaces.openai.errors import error_event
from proxy.upstream.attempt import Attempt
from proxy.upstream.commit import read_error
from proxy.upstream.health import Health
from proxy.upstream.relay import Relay
from proxy.upstream.run import new_run
from tests.support.calls import call, plan, record
from tests.support.clocks import VirtualClock
from tests.support.fakes import Answer, FakeClock, Piece, ScriptedTransport, Stall, Wait, whole
from tests.unit.upstream.bench import A, bench, on

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream_options": {"include_usage": True}}
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1}}\n\n'
ERROR = b'data: {"error":{"message":"overloaded","code":"busy"}}\n\n'
DONE = b"data: [DONE]\n\n"
CUT = UpstreamFailure(FailureKind.CONNECT, "the upstream closed the connection")


@dataclass
class Relayed:
    """What the client got, piece by piece, and what was written down."""

    pieces: list[bytes]
    record: Record
    attempt: AttemptRecord
    health: Health

    @property
    def error(self) -> dict[str, str]:
        """The error of the last event."""
        found: dict[str, str] = json.loads(self.pieces[-1].removeprefix(b"data: "))["error"]
        return found


async def opened(
    pieces: Sequence[Piece], clock: FakeClock | None = None, *, stream: bool = True, **fields: Any
) -> tuple[Attempt, Record, Health]:
    """An answer of these pieces, read to its commit point. Raises `UpstreamFailure`."""
    b = bench({"a": [Answer(pieces)]}, clock=clock or VirtualClock())
    of = call(json.dumps({**ASKED, "stream": stream, **fields.pop("body", {})}).encode(), on=on(A))
    made = record(of, started=b.clock.now)
    target = replace(A, timeouts=Timeouts(**fields)) if fields else A
    run = new_run(b.clock, of, plan(target), made)
    lease = b.health.lease(target)
    assert lease
    attempt = b.attempts.new(run, run.targets[0], lease)
    await attempt.open()
    return attempt, made, b.health


async def relayed(pieces: Sequence[Piece], *, choices: int = 1, **timeouts: float) -> Relayed:
    """An answer of these pieces, read to its commit point and relayed to its end."""
    attempt, made, health = await opened(pieces, body={"n": choices}, **timeouts)
    relay = Relay(attempt, attempt.run.clock)
    out: list[bytes] = []

    def write(data: bytes) -> bool:
        out.append(data)
        return True

    async with aclosing(relay):
        try:
            await relay.run(write, never)
        except ProxyError as error:
            out.append(error_event(error))
    return Relayed(out, made, attempt.entry, health)


async def never() -> None:
    raise AssertionError("this client is never full")


async def test_reading_stops_at_the_commit_point_with_held_events() -> None:
    attempt, _, _ = await opened([ROLE, TEXT[:10], TEXT[10:] + STOP, DONE])

    assert (attempt.held, attempt.ended, attempt.broken) == (ROLE + TEXT + STOP, False, None)
    assert attempt.response
    assert await whole(attempt.response) == DONE
    await attempt.close()


async def test_an_answer_that_does_not_stream_commits_at_its_end() -> None:
    body = b'{"choices":[{"message":{}}]}'

    attempt, _, _ = await opened([body[:3], body[3:]], stream=False)

    assert (attempt.held, attempt.ended) == (body, True)
    await attempt.close()


@pytest.mark.parametrize("fault", [(), (CUT,), (b"data: {\n\n",), (ERROR,), (DONE,)])
async def test_a_fault_before_the_commit_point_is_raised(fault: tuple[bytes | UpstreamFailure, ...]) -> None:
    with pytest.raises(UpstreamFailure):
        await opened([ROLE, *fault])


async def test_a_fault_in_the_chunk_that_commits_keeps_what_was_whole() -> None:
    attempt, _, _ = await opened([ROLE, TEXT + b"data: {\n\n" + STOP])

    assert (attempt.held, attempt.ended) == (ROLE + TEXT, True)
    assert attempt.broken
    assert attempt.broken.kind == FailureKind.BROKEN_STREAM
    await attempt.close()


@pytest.mark.parametrize("end", [(DONE,), (), (DONE, CUT), (CUT,), (USAGE, DONE), (DONE[:5], DONE[5:])])
async def test_a_complete_answer_ends_as_the_upstream_ended_it(end: tuple[Piece, ...]) -> None:
    got = await relayed([ROLE, TEXT, STOP, *end])

    assert b"".join(got.pieces) == ROLE + TEXT + STOP + b"".join(piece for piece in end if isinstance(piece, bytes))
    assert (got.attempt.outcome, got.record.outcome, got.record.code) == ("ok", "ok", None)
    assert got.health.breaker_rows() == []


async def test_usage_is_written_down() -> None:
    got = await relayed([TEXT, STOP, USAGE, DONE])

    assert got.record.usage == Usage(2, 1)


async def test_what_comes_is_given_on_at_once() -> None:
    got = await relayed([ROLE, TEXT, TEXT, STOP + DONE])

    assert got.pieces == [ROLE + TEXT, TEXT, STOP + DONE]


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ((), "upstream_error", "ended without a finish"),
        ((CUT,), "upstream_error", "closed the connection"),
        ((b"data: {\n\n",), "upstream_error", "not JSON"),
        ((b"data: {",), "upstream_error", "not JSON"),
        ((ERROR.rstrip(),), "upstream_error", "overloaded"),
        ((Stall(),), "upstream_timeout", "no data came for 0.01 s"),
    ],
)
async def test_any_other_end_is_one_error_event_and_no_done(end: tuple[Piece, ...], code: str, said: str) -> None:
    got = await relayed([TEXT, TEXT, *end], idle=0.01)

    assert got.pieces[:-1] == [TEXT, TEXT]
    assert got.error["code"] == code
    assert said in got.error["message"]
    assert "`a/m`" in got.error["message"]
    assert (got.attempt.outcome, got.record.outcome, got.record.code) == ("broken_stream", "partial", code)
    assert [row["failures"] for row in got.health.breaker_rows()] == [1]


async def test_whole_events_before_a_broken_one_are_given_on() -> None:
    got = await relayed([TEXT, TEXT + b"data: {\n\n" + TEXT])

    assert got.pieces[:-1] == [TEXT, TEXT]
    assert "not JSON" in got.error["message"]


async def test_committing_events_before_a_broken_one_are_relayed_once() -> None:
    got = await relayed([ROLE, TEXT + b"data: {\n\n" + TEXT])

    assert got.pieces[:-1] == [ROLE + TEXT]
    assert "not JSON" in got.error["message"]


async def test_the_upstream_s_own_error_event_is_relayed_as_it_is() -> None:
    got = await relayed([TEXT, ERROR + DONE, TEXT])

    assert got.pieces == [TEXT, ERROR]
    assert (got.attempt.outcome, got.record.outcome, got.record.code) == ("broken_stream", "partial", "busy")


async def test_an_error_in_the_committing_chunk_is_relayed() -> None:
    got = await relayed([TEXT + ERROR])

    assert got.pieces == [TEXT, ERROR]
    assert got.record.outcome == "partial"


async def test_one_choice_of_two_is_not_a_whole_answer() -> None:
    got = await relayed([TEXT, STOP], choices=2)

    assert got.record.outcome == "partial"
    assert "error" in json.loads(got.pieces[-1].removeprefix(b"data: "))


async def test_the_whole_answer_has_a_time_of_its_own() -> None:
    got = await relayed([TEXT, Wait(599.0), TEXT, Stall()], total=600.0, idle=1000.0)

    assert "took too long" in got.error["message"]
    assert got.error["code"] == "upstream_timeout"


async def test_an_upstream_that_stays_after_done_does_not_keep_us() -> None:
    got = await relayed([TEXT, STOP, DONE, Stall()])

    assert got.pieces == [TEXT, STOP, DONE]
    assert got.record.outcome == "ok"


async def test_a_client_who_leaves_is_not_the_upstream_s_fault() -> None:
    attempt, made, health = await opened([TEXT, TEXT, Stall()])
    written = asyncio.Event()

    def write(data: bytes) -> bool:
        written.set()
        return True

    async with asyncio.TaskGroup() as group:
        task = group.create_task(Relay(attempt, attempt.run.clock).run(write, never))
        await written.wait()
        task.cancel()
    await attempt.close()

    assert (attempt.entry.outcome, made.outcome) == ("cancelled", "started")
    assert health.breaker_rows() == []


@pytest.mark.parametrize(
    ("body", "limit", "read"),
    [
        ([b"abc", b"def"], 100, b"abcdef"),
        ([b"abc", b"def"], 4, b"abcd"),
        ([b"abc", CUT], 100, b"abc"),
        ([CUT], 100, b""),
        ([], 100, b""),
    ],
)
async def test_an_error_s_body_is_read_as_far_as_it_goes(body: list[Piece], limit: int, read: bytes) -> None:
    transport = ScriptedTransport(FakeClock(), {"acme": [Answer(body)]})
    async with aclosing(await transport.send(UpstreamRequest("https://acme.test", {}, b"", 1.0))) as response:
        assert await read_error(response, limit) == read


async def test_only_waiting_for_the_upstream_is_counted() -> None:
    clock = FakeClock()
    attempt, made, _ = await opened([Wait(1.0), TEXT, Wait(2.0), STOP], clock)

    async def drain() -> None:
        clock.pass_(50.0)

    async with aclosing(Relay(attempt, clock)) as relay:
        await relay.run(lambda data: False, drain)

    assert made.timings.upstream_seconds == 3.0
