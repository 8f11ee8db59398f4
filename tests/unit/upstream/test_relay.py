"""From the commit point on: bytes out as they come, and an honest end."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from proxy.core.clean import Cleaner
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.policies import BreakerPolicy
from proxy.core.record import AttemptRecord, Record
from proxy.core.usage import Usage
from proxy.core.wire import UpstreamRequest
from proxy.dialects.openai.plain import JsonDecoder
from proxy.dialects.openai.stream import StreamDecoder
from proxy.upstream.health import Health
from proxy.upstream.relay import Relay, read_error, timed, until_commit
from tests.support.calls import deployment, record
from tests.support.clocks import VIRTUAL
from tests.support.fakes import Answer, FakeClock, Piece, ScriptedTransport, Stall, Wait

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    return VIRTUAL


ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1}}\n\n'
ERROR = b'data: {"error":{"message":"overloaded","code":"busy"}}\n\n'
DONE = b"data: [DONE]\n\n"
CUT = UpstreamFailure(FailureKind.CONNECT, "the upstream closed the connection")
ONE = deployment()


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


async def relayed(pieces: Sequence[Piece], *, idle: float = 60.0, total: float = 600.0, choices: int = 1) -> Relayed:
    """An answer of these pieces, read to its commit point and relayed to its end."""
    clock = FakeClock()
    health = Health(clock, BreakerPolicy())
    lease = health.lease(ONE)
    assert lease
    made = record()
    tried = made.attempt(ONE, "main", clock.now)
    tried.first_token = clock.now
    request = UpstreamRequest("https://acme.test", {}, b"", 1.0)
    async with ScriptedTransport(clock, {"acme": [Answer(pieces)]}).send(request) as response:
        start = await until_commit(StreamDecoder(choices=choices, drop_usage=False), response.chunks)
        relay = Relay(clock, made, tried, lease, start, cleaner=Cleaner(), deadline=clock.now + total, events=True)
        out = [chunk async for chunk in relay.chunks(response.chunks, idle)]
        await response.chunks.aclose()
    return Relayed(out, made, tried, health)


async def pieces(*chunks: bytes | UpstreamFailure) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        if isinstance(chunk, UpstreamFailure):
            raise chunk
        yield chunk


async def test_reading_stops_at_the_commit_point_with_held_events() -> None:
    source = pieces(ROLE, TEXT[:10], TEXT[10:] + STOP, DONE)

    start = await until_commit(StreamDecoder(choices=1, drop_usage=False), source)

    assert (start.held, start.ended, start.broken) == (ROLE + TEXT + STOP, False, None)
    assert [chunk async for chunk in source] == [DONE]


async def test_an_answer_that_does_not_stream_commits_at_its_end() -> None:
    body = b'{"choices":[{"message":{}}]}'

    start = await until_commit(JsonDecoder(), pieces(body[:3], body[3:]))

    assert (start.held, start.ended) == (body, True)


@pytest.mark.parametrize("fault", [(), (CUT,), (b"data: {\n\n",), (ERROR,), (DONE,)])
async def test_a_fault_before_the_commit_point_is_raised(fault: tuple[bytes | UpstreamFailure, ...]) -> None:
    with pytest.raises(UpstreamFailure):
        await until_commit(StreamDecoder(choices=1, drop_usage=False), pieces(ROLE, *fault))


async def test_a_fault_in_the_chunk_that_commits_keeps_what_was_whole() -> None:
    start = await until_commit(StreamDecoder(choices=1, drop_usage=False), pieces(ROLE, TEXT + b"data: {\n\n" + STOP))

    assert (start.held, start.ended) == (ROLE + TEXT, True)
    assert start.broken
    assert start.broken.kind == FailureKind.BROKEN_STREAM


@pytest.mark.parametrize("end", [(DONE,), (), (DONE, CUT), (CUT,), (USAGE, DONE), (DONE[:5], DONE[5:])])
async def test_a_complete_answer_ends_as_the_upstream_ended_it(end: tuple[Piece, ...]) -> None:
    got = await relayed([ROLE, TEXT, STOP, *end])

    assert b"".join(got.pieces) == ROLE + TEXT + STOP + b"".join(piece for piece in end if isinstance(piece, bytes))
    assert (got.attempt.outcome, got.record.outcome, got.record.code) == ("ok", "ok", None)
    assert got.health.breakers() == []


async def test_usage_is_written_down() -> None:
    got = await relayed([TEXT, STOP, USAGE, DONE])

    assert got.attempt.usage == Usage(2, 1)


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
    assert "`acme/small`" in got.error["message"]
    assert (got.attempt.outcome, got.record.outcome, got.record.code) == ("broken_stream", "partial", code)
    assert [row["failures"] for row in got.health.breakers()] == [1]


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

    assert got.pieces == [TEXT + ERROR]
    assert got.record.outcome == "partial"


async def test_one_choice_of_two_is_not_a_whole_answer() -> None:
    got = await relayed([TEXT, STOP], choices=2)

    assert got.record.outcome == "partial"
    assert "error" in json.loads(got.pieces[-1].removeprefix(b"data: "))


async def test_the_whole_answer_has_a_time_of_its_own() -> None:
    got = await relayed([TEXT, Wait(600.0), TEXT, Stall()], total=600.0)

    assert "took too long" in got.error["message"]
    assert got.error["code"] == "upstream_timeout"


async def test_an_upstream_that_stays_after_done_does_not_keep_us() -> None:
    got = await relayed([TEXT, STOP, DONE, Stall()])

    assert got.pieces == [TEXT, STOP, DONE]
    assert got.record.outcome == "ok"


async def test_a_client_who_leaves_is_not_the_upstream_s_fault() -> None:
    clock = FakeClock()
    health = Health(clock, BreakerPolicy())
    lease = health.lease(ONE)
    assert lease
    made = record()
    tried = made.attempt(ONE, "main", clock.now)
    tried.first_token = clock.now
    source = pieces(TEXT, TEXT, CUT)
    start = await until_commit(StreamDecoder(choices=1, drop_usage=False), source)
    chunks = Relay(clock, made, tried, lease, start, cleaner=Cleaner(), deadline=9e9, events=True).chunks(source, 60.0)

    await anext(chunks)
    await chunks.aclose()
    lease.settle(ok=None)

    assert (tried.outcome, made.outcome) == ("started", "started")
    assert health.breakers() == []


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
async def test_an_error_s_body_is_read_as_far_as_it_goes(
    body: list[bytes | UpstreamFailure], limit: int, read: bytes
) -> None:
    assert await read_error(pieces(*body), limit) == read


async def test_only_waiting_for_the_upstream_is_counted() -> None:
    clock = FakeClock()
    made = record()
    request = UpstreamRequest("https://acme.test", {}, b"", 1.0)
    transport = ScriptedTransport(clock, {"acme": [Answer([Wait(1.0), b"x", Wait(2.0), b"y"])]})

    async with transport.send(request) as response:
        async for _ in timed(clock, made.timings, response.chunks):
            clock.pass_(50.0)

    assert made.timings.upstream_seconds == 3.0
    assert transport.reading == 0
