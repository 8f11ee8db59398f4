"""Connections that are kept, and those that are not kept for longer than they are of use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import httpcore
import pytest

from proxy.upstream.pool import Pool

pytestmark = pytest.mark.anyio


class Connection:
    """Answers at once; a test says when it has expired."""

    def __init__(self) -> None:
        self.served = 0
        self.expired = self.closed = False

    async def handle_async_request(self, _: httpcore.Request) -> httpcore.Response:
        self.served += 1
        return httpcore.Response(200, content=Nothing())

    def is_idle(self) -> bool:
        return not self.closed

    def has_expired(self) -> bool:
        return self.expired

    async def aclose(self) -> None:
        self.closed = True


class Nothing:
    """An empty body."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        return
        yield b""

    async def aclose(self) -> None:
        pass


class Bench:
    """A pool, and the connections that were made for it."""

    def __init__(self, keep: int = 10) -> None:
        self.made: list[Connection] = []
        self.pool = Pool(cast("httpcore.AsyncConnectionPool", self), keep=keep)

    def create_connection(self, _: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        self.made.append(Connection())
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
