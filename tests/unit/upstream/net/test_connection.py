"""A connection without a network: the event loop's calls in any order, against a transport that notes ours."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.core.failures import FailureKind
from proxy.upstream.net.connection import COMPLETE, HIGH_WATER, IDLE, READY, WRITE_SIZE, Connection

pytestmark = pytest.mark.anyio

HEAD = b"POST / HTTP/1.1\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
REFUSAL = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"


class FakeTransport(asyncio.Transport):
    """Notes what is done to it."""

    def __init__(self, real: socket.socket) -> None:
        super().__init__({"socket": real})
        self.written = b""
        self.buffered = 0
        self.reading = True
        self.ended = ""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = self.ended or "aborted"


class Bench:
    """A connection and what it is connected to."""

    def __init__(self, real: socket.socket) -> None:
        self.lost: list[Connection] = []
        self.buffer = memoryview(bytearray(1 << 20))
        self.connection = Connection(self.buffer, self.lost.append)
        self.transport = FakeTransport(real)
        self.connection.connection_made(self.transport)

    def receive(self, data: bytes) -> None:
        self.connection.get_buffer(-1)[: len(data)] = data
        self.connection.buffer_updated(len(data))

    def serve(self) -> None:
        """One exchange from its beginning to its end."""
        self.connection.send(HEAD, b"")
        self.receive(ANSWER)
        assert (self.connection.take(), self.connection.release()) == (b"ok", True)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Bench(ours)


async def test_small_request_is_one_write(bench: Bench) -> None:
    bench.connection.send(HEAD, b"body")

    assert bench.transport.written == HEAD + b"body"


async def test_large_request_goes_out_as_fast_as_it_is_taken(bench: Bench) -> None:
    content = bytes(range(256)) * (WRITE_SIZE // 64)
    bench.connection.pause_writing()

    bench.connection.send(HEAD, content)
    before = bench.transport.written
    bench.connection.resume_writing()

    assert before == HEAD + content[:WRITE_SIZE]
    assert bench.transport.written == HEAD + content


async def test_connection_serves_one_exchange_after_the_other(bench: Bench) -> None:
    for _ in range(3):
        bench.serve()

    assert (bench.connection.state, bench.transport.ended, bench.lost) == (IDLE, "", [])


@pytest.mark.parametrize("first", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n"])
async def test_answer_without_a_body_does_not_let_the_next_one_end_early(bench: Bench, first: bytes) -> None:
    bench.connection.send(HEAD, b"")
    bench.receive(first)
    assert bench.connection.release()

    bench.connection.send(HEAD, b"")
    bench.receive(ANSWER[:-1])
    bench.connection.eof_received()

    assert bench.connection.state == READY
    assert bench.connection.fault is not None


async def test_answer_before_the_request_is_the_last_one(bench: Bench) -> None:
    bench.receive(ANSWER[:10])

    bench.connection.send(HEAD, b"")
    bench.receive(ANSWER[10:])

    assert (bench.connection.take(), bench.connection.release()) == (b"ok", False)
    assert bench.transport.ended == "aborted"


async def test_request_that_was_not_sent_in_whole_ends_the_connection(bench: Bench) -> None:
    bench.connection.send(HEAD, b"")
    bench.transport.buffered = 1
    bench.receive(ANSWER)

    assert (bench.connection.state, bench.connection.release()) == (COMPLETE, False)


async def test_refusal_stops_the_request(bench: Bench) -> None:
    bench.connection.pause_writing()
    bench.connection.send(HEAD, bytes(10 * WRITE_SIZE))
    bench.receive(REFUSAL)
    bench.connection.resume_writing()

    assert len(bench.transport.written) == len(HEAD) + WRITE_SIZE
    assert (bench.connection.state, bench.connection.release()) == (COMPLETE, False)


async def test_success_does_not_stop_the_request(bench: Bench) -> None:
    content = bytes(10 * WRITE_SIZE)
    bench.connection.pause_writing()
    bench.connection.send(HEAD, content)
    bench.receive(ANSWER)
    bench.connection.resume_writing()

    assert bench.transport.written == HEAD + content
    assert bench.connection.release()


async def test_reading_stops_while_the_answer_is_not_taken(bench: Bench) -> None:
    bench.connection.send(HEAD, b"")
    bench.receive(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")
    bench.receive(bytes(HIGH_WATER))
    assert bench.transport.reading

    bench.receive(b"x")
    assert not bench.transport.reading

    bench.connection.take()
    assert bench.transport.reading


@pytest.mark.parametrize(
    ("error", "kind", "cause"),
    [
        (None, FailureKind.STALE_CONNECTION, "closed"),
        (ConnectionResetError(), FailureKind.STALE_CONNECTION, "closed"),
        (BrokenPipeError(), FailureKind.STALE_CONNECTION, "closed"),
        (TimeoutError(110, "Connection timed out"), FailureKind.CONNECT, "timeout"),
        (OSError(113, "No route to host"), FailureKind.CONNECT, "closed"),
        (ssl.SSLError(1, "[SSL: BAD_RECORD_MAC] bad record mac"), FailureKind.CONNECT, "tls"),
    ],
)
async def test_kept_connection_that_ends_without_a_byte_is_stale(
    bench: Bench, error: Exception | None, kind: FailureKind, cause: str
) -> None:
    bench.serve()

    bench.connection.send(HEAD, b"")
    bench.connection.connection_lost(error)

    assert bench.connection.fault is not None
    assert (bench.connection.fault.kind, bench.connection.fault.cause) == (kind, cause)
    assert bench.lost == []  # it was not idle


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
async def test_new_connection_is_never_stale(bench: Bench, error: Exception | None) -> None:
    bench.connection.send(HEAD, b"")
    bench.connection.connection_lost(error)

    assert bench.connection.fault is not None
    assert bench.connection.fault.kind is FailureKind.CONNECT


async def test_answer_that_has_begun_is_never_stale(bench: Bench) -> None:
    bench.serve()

    bench.connection.send(HEAD, b"")
    bench.receive(b"\r\n")
    bench.connection.eof_received()

    assert bench.connection.fault is not None
    assert bench.connection.fault.kind is FailureKind.CONNECT


async def test_connection_that_ends_while_idle_is_reported_once(bench: Bench) -> None:
    bench.serve()

    bench.connection.eof_received()
    bench.connection.connection_lost(None)

    assert bench.lost == [bench.connection]
    assert not bench.connection.silent


async def test_unasked_bytes_end_an_idle_connection(bench: Bench) -> None:
    bench.serve()

    bench.receive(b"HTTP/1.1 200 OK\r\n")

    assert (bench.lost, bench.transport.ended) == ([bench.connection], "aborted")


async def test_bytes_after_the_answer_end_the_connection_at_once(bench: Bench) -> None:
    bench.connection.send(HEAD, b"")
    bench.receive(ANSWER)
    bench.receive(b"H")

    assert bench.transport.ended == "aborted"
    assert (bench.connection.take(), bench.connection.fault, bench.connection.release()) == (b"ok", None, False)


async def test_connection_that_ended_before_the_request_says_so(bench: Bench) -> None:
    bench.connection.eof_received()

    bench.connection.send(HEAD, b"")

    assert bench.connection.fault is not None
    assert bench.transport.written == b""


async def progress(connection: Connection) -> None:
    await connection.progress()


async def test_waiting_ends_with_progress_and_with_the_connection(bench: Bench) -> None:
    bench.connection.send(HEAD, b"")

    async with asyncio.TaskGroup() as group:
        group.create_task(progress(bench.connection))
        await asyncio.sleep(0)
        bench.receive(ANSWER[:-1])
    async with asyncio.TaskGroup() as group:
        group.create_task(progress(bench.connection))
        await asyncio.sleep(0)
        bench.connection.connection_lost(None)

    assert (bench.connection.take(), bench.connection.state) == (b"o", READY)


async def test_connection_with_something_to_read_is_not_silent() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        bench = Bench(ours)
        bench.serve()
        assert bench.connection.silent

        theirs.send(b"x")

        assert not bench.connection.silent
