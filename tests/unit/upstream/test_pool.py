"""Connections that are kept, and those that are not kept for longer than they are of use."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast

import anyio
import httpcore
import pytest

from proxy.core.types import UpstreamRequest
from proxy.upstream.pool import Pool
from proxy.upstream.transport import HttpTransport
from tests.fakes import turn

pytestmark = pytest.mark.anyio


class Connection:
    """Answers at once; a test says when it has expired."""

    def __init__(self, fault: BaseException | None) -> None:
        self.served = 0
        self.fault = fault  # of the end of its answers
        self.expired = self.closed = False

    async def handle_async_request(self, _: httpcore.Request) -> httpcore.Response:
        self.served += 1
        return httpcore.Response(200, content=Nothing(self.fault))

    def is_idle(self) -> bool:
        return not self.closed

    def has_expired(self) -> bool:
        return self.expired

    async def aclose(self) -> None:
        self.closed = True


class Nothing:
    """An empty body."""

    def __init__(self, fault: BaseException | None) -> None:
        self.fault = fault

    async def __aiter__(self) -> AsyncIterator[bytes]:
        return
        yield b""

    async def aclose(self) -> None:
        if self.fault is not None:
            raise self.fault


class Bench:
    """A pool, and the connections that were made for it."""

    def __init__(self, keep: int = 10, fault: BaseException | None = None) -> None:
        self.fault = fault
        self.made: list[Connection] = []
        self.pool = Pool(cast("httpcore.AsyncConnectionPool", self), keep=keep)

    def create_connection(self, _: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        self.made.append(Connection(self.fault))
        return cast("httpcore.AsyncConnectionInterface", self.made[-1])

    async def begin(self, host: str = "a") -> httpcore.Response:
        return await self.pool.handle_async_request(httpcore.Request("POST", f"http://{host}.test/"))

    async def ask(self, *hosts: str) -> None:
        """Requests that are under way together."""
        for answer in [await self.begin(host) for host in hosts]:
            await answer.aclose()

    @property
    def closed(self) -> list[bool]:
        return [connection.closed for connection in self.made]


async def test_a_connection_serves_one_request_after_the_other_and_never_two_at_once() -> None:
    bench = Bench()

    await bench.ask("a", "a")
    await bench.ask("a")
    await bench.ask("b")

    assert [connection.served for connection in bench.made] == [1, 2, 1]
    assert not any(bench.closed)


async def test_no_more_are_kept_than_may_be_and_none_that_has_expired() -> None:
    bench = Bench(keep=2)

    await bench.ask("a", "a", "a")
    bench.made[1].expired = True
    await bench.ask("a")

    assert bench.closed == [True, True, False]


async def test_a_place_that_nobody_asks_any_more_leaves_nothing_open() -> None:
    bench = Bench()

    await bench.ask("a", "a", "b")
    for connection in bench.made[:2]:
        connection.expired = True
    await bench.ask("b")

    assert bench.closed == [True, True, False]


async def test_a_place_whose_newest_connection_is_of_use_keeps_it() -> None:
    bench = Bench()

    await bench.ask("a")
    await bench.ask("b")
    bench.made[1].expired = True
    await bench.ask("b")

    assert bench.closed == [False, True, False]


async def test_a_closed_pool_has_closed_everything() -> None:
    bench = Bench()
    await bench.ask("a", "b")

    await bench.pool.aclose()

    assert bench.closed == [True, True]


@pytest.mark.parametrize("fault", [asyncio.CancelledError(), httpcore.LocalProtocolError("x")])
async def test_a_connection_whose_answer_could_not_be_ended_is_closed(fault: BaseException) -> None:
    bench = Bench(fault=fault)
    answer = await bench.begin()

    with pytest.raises(type(fault)):
        await answer.aclose()

    assert bench.closed == [True]


async def test_whenever_the_time_for_a_request_is_over_no_connection_stays_open() -> None:
    timers: list[asyncio.Timeout] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 500 Fault\r\ncontent-length: 2\r\n\r\nno")
        writer.close()

    async def exchange(transport: HttpTransport) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as timer:  # which cancels as no scope does: it knows no shield
                timers.append(timer)
                async with transport.send(UpstreamRequest(url, {}, b"", 60.0, method="GET")) as response:
                    assert [chunk async for chunk in response.chunks] == [b"no"]
        timers.clear()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    ended = 0
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for turns in range(1, 60):  # more than it takes
            transport = HttpTransport()
            async with anyio.create_task_group() as group:
                group.start_soon(exchange, transport)
                await turn(turns)
                ended += not timers
                for timer in timers:
                    timer.reschedule(0)
            await transport.aclose()
            gc.collect()
    server.close()

    assert [str(warning.message) for warning in warned] == []
    assert 0 < ended < 59
