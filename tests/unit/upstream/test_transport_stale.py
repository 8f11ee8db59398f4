"""Requests on connections that die under them, over real sockets: told apart when nobody saw them, and only then.

Such a failure has a kind of its own, and the request may go out once more, `fresh`, as the attempt loop does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.types import UpstreamRequest
from proxy.upstream.transport import HttpTransport
from tests.waiting import PATIENCE

pytestmark = pytest.mark.anyio

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Turn = Callable[["Line"], Awaitable[None]]


class Line:
    """One connection at the server."""

    def __init__(self, log: list[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.log = log
        self.reader = reader
        self.writer = writer

    async def take(self) -> None:
        """Read a request in whole, and take it up."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self.log.append(await self.reader.readexactly(length))

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


async def answer(line: Line) -> None:
    """An honest exchange."""
    await line.take()
    await line.say(ANSWER)


async def close_on_arrival(line: Line) -> None:
    """The idle connection's time is over just as the next request comes: nobody reads it."""
    await line.reader.read(1)
    line.writer.close()


async def reset_on_arrival(line: Line) -> None:
    """The same, with a reset."""
    await line.reader.read(1)
    line.writer.transport.abort()


async def take_and_reset(line: Line) -> None:
    """The request is read and taken up before the reset."""
    await line.take()
    line.writer.transport.abort()


async def begin_and_close(line: Line) -> None:
    """One byte of an answer comes."""
    await line.take()
    await line.say(b"H")
    line.writer.close()


@asynccontextmanager
async def server(*turns: Turn) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on whose connections these turns follow one another, over and over; yields its URL and log."""
    log: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(log, reader, writer)
        try:
            while not writer.is_closing():
                for turn in turns:
                    await turn(line)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/chat/completions", log
    finally:
        listening.close()


@dataclass
class Client:
    """The transport, with the one rule of the attempt loop that matters here."""

    through: HttpTransport = field(default_factory=HttpTransport)
    stale: int = 0

    async def post(self, url: str, content: bytes) -> bytes:
        try:
            return await self.once(url, content)
        except UpstreamFailure as failure:
            if failure.kind is not FailureKind.STALE_CONNECTION:
                raise
        self.stale += 1
        return await self.once(url, content, fresh=True)

    async def once(self, url: str, content: bytes, *, fresh: bool = False) -> bytes:
        async with self.through.send(UpstreamRequest(url, {}, content, PATIENCE, fresh=fresh)) as response:
            return b"".join([chunk async for chunk in response.chunks])


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    made = Client()
    yield made
    await made.through.aclose()


async def test_what_follows_an_answer_unasked_is_nobody_elses_answer() -> None:
    async def say_more(line: Line) -> None:
        await line.take()
        await line.say(ANSWER + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nleak")

    async with server(say_more) as (url, log), client() as through:
        answers = [await through.post(url, body) for body in (b"one", b"two", b"three")]

    assert answers == [b"ok"] * 3
    assert log == [b"one", b"two", b"three"]


async def test_a_connection_that_is_given_back_after_the_end_is_closed() -> None:
    closed = asyncio.Event()

    async def answer_and_listen(line: Line) -> None:
        await answer(line)
        await line.reader.read()
        closed.set()
        line.writer.close()

    async with server(answer_and_listen) as (url, _), client() as through:
        async with through.through.send(UpstreamRequest(url, {}, b"one", PATIENCE)) as response:
            await through.through.aclose()
            answered = b"".join([chunk async for chunk in response.chunks])
        async with asyncio.timeout(PATIENCE):
            await closed.wait()

    assert answered == b"ok"


@pytest.mark.parametrize("dies", [close_on_arrival, reset_on_arrival])
@pytest.mark.parametrize("size", [20, 300_000], ids=["small", "large"])
async def test_an_upstream_that_closes_at_the_moment_of_re_use_costs_no_request_and_doubles_none(
    dies: Turn, size: int
) -> None:
    posts = 300 if size < 1000 else 60
    bodies = [str(number).encode().ljust(size, b".") for number in range(posts)]
    async with server(answer, dies) as (url, log), client() as through:
        answers = [await through.post(url, body) for body in bodies]

    assert answers == [b"ok"] * posts
    assert log == bodies
    assert through.stale == posts // 2


async def test_many_at_once_lose_and_double_nothing_either() -> None:
    bodies = [str(number).encode() for number in range(400)]
    async with server(answer, answer, reset_on_arrival) as (url, log), client() as through:
        rest = iter(bodies)

        async def one() -> None:
            for body in rest:
                assert await through.post(url, body) == b"ok"

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(one())

    assert sorted(log) == sorted(bodies)
    assert through.stale > 50


@pytest.mark.parametrize("turns", [(take_and_reset,), (reset_on_arrival,), (close_on_arrival,), (begin_and_close,)])
async def test_a_connection_s_first_request_is_never_sent_again(turns: tuple[Turn, ...]) -> None:
    async with server(*turns) as (url, log), client() as through:
        with pytest.raises(UpstreamFailure):
            await through.post(url, b"once")

    assert log.count(b"once") <= 1
    assert through.stale == 0


async def test_a_request_whose_answer_has_begun_is_never_sent_again() -> None:
    async with server(answer, begin_and_close) as (url, log), client() as through:
        await through.post(url, b"first")
        with pytest.raises(UpstreamFailure):
            await through.post(url, b"second")

    assert log == [b"first", b"second"]
    assert through.stale == 0


async def test_the_second_try_is_the_last() -> None:
    seen = 0

    async def first_only(line: Line) -> None:
        nonlocal seen
        seen += 1
        await (answer if seen == 1 else reset_on_arrival)(line)

    async with server(first_only) as (url, log), client() as through:
        await through.post(url, b"first")
        with pytest.raises(UpstreamFailure):
            await through.post(url, b"second")

    assert (log, seen, through.stale) == ([b"first"], 3, 1)


async def test_a_stale_connection_is_a_failure_of_its_own_kind() -> None:
    async with server(answer, reset_on_arrival) as (url, log), client() as through:
        await through.once(url, b"first")
        with pytest.raises(UpstreamFailure) as found:
            await through.once(url, b"second")

    assert (log, found.value.kind) == ([b"first"], FailureKind.STALE_CONNECTION)


async def test_a_fresh_request_has_a_connection_of_its_own_which_nobody_uses_again() -> None:
    connections = 0

    async def count(line: Line) -> None:
        nonlocal connections
        connections += 1
        for _ in range(9):
            await answer(line)

    async with server(count) as (url, log), client() as through:
        for fresh in (False, True, True, False):
            await through.once(url, b"x", fresh=fresh)

    assert (len(log), connections) == (4, 3)


async def test_without_faults_one_connection_serves_all() -> None:
    connections = 0

    async def count(line: Line) -> None:
        nonlocal connections
        connections += 1
        for _ in range(21):
            await answer(line)

    async with server(count) as (url, log), client() as through:
        for number in range(20):
            await through.post(url, str(number).encode())

    assert (len(log), connections, through.stale) == (20, 1, 0)
