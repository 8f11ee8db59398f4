"""Requests on kept connections that die under them: told apart when the upstream cannot have seen them, and only then.

Such a failure has a kind of its own, and the request may go out once more, `fresh`, as the attempt loop does it.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.wire import UpstreamRequest
from proxy.upstream.net.transport import NetTransport
from tests.support.fakes import whole
from tests.support.raw_server import RawConnection, Step, answer, server
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


async def close_on_arrival(connection: RawConnection) -> None:
    """The idle connection's time is over just as the next request comes: it is not read."""
    await connection.reader.read(1)
    connection.close()


async def reset_on_arrival(connection: RawConnection) -> None:
    """The same, with a reset."""
    await connection.reader.read(1)
    connection.reset()


async def take_and_reset(connection: RawConnection) -> None:
    """The request is read and taken up before the reset."""
    await connection.read_request()
    connection.reset()


async def begin_and_close(connection: RawConnection) -> None:
    """One byte of an answer comes."""
    await connection.read_request()
    await connection.send(b"H")
    connection.close()


@dataclass
class Client:
    """The transport, with the one rule of the attempt loop that matters here."""

    through: NetTransport
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
        response = await self.through.send(UpstreamRequest(url, {}, content, PATIENCE, fresh=fresh))
        async with aclosing(response):
            return await whole(response)


@pytest.fixture
def client(net: NetTransport) -> Client:
    return Client(net)


@pytest.mark.parametrize("dies", [close_on_arrival, reset_on_arrival])
@pytest.mark.parametrize("size", [20, 300_000], ids=["small", "large"])
async def test_close_at_reuse_loses_and_doubles_no_request(client: Client, dies: Step, size: int) -> None:
    posts = 300 if size < 1000 else 60
    bodies = [str(number).encode().ljust(size, b".") for number in range(posts)]
    async with server(answer, dies) as upstream:
        answers = [await client.post(upstream.url, body) for body in bodies]

    assert answers == [b"ok"] * posts
    assert upstream.log == bodies
    assert client.stale == posts // 2


async def test_close_at_reuse_under_load_loses_and_doubles_nothing(client: Client) -> None:
    bodies = [str(number).encode() for number in range(400)]
    async with server(answer, answer, reset_on_arrival) as upstream:
        rest = iter(bodies)

        async def one() -> None:
            for body in rest:
                assert await client.post(upstream.url, body) == b"ok"

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(one())

    assert sorted(upstream.log) == sorted(bodies)
    assert client.stale > 50


@pytest.mark.parametrize("turns", [(take_and_reset,), (reset_on_arrival,), (close_on_arrival,), (begin_and_close,)])
async def test_first_request_of_a_connection_is_not_resent(client: Client, turns: tuple[Step, ...]) -> None:
    async with server(*turns) as upstream:
        with pytest.raises(UpstreamFailure):
            await client.post(upstream.url, b"once")

    assert upstream.log.count(b"once") <= 1
    assert client.stale == 0


async def test_request_whose_answer_has_begun_is_not_resent(client: Client) -> None:
    async with server(answer, begin_and_close) as upstream:
        await client.post(upstream.url, b"first")
        with pytest.raises(UpstreamFailure):
            await client.post(upstream.url, b"second")

    assert upstream.log == [b"first", b"second"]
    assert client.stale == 0


async def test_request_is_resent_once(client: Client) -> None:
    seen = 0

    async def first_only(connection: RawConnection) -> None:
        nonlocal seen
        seen += 1
        await (answer if seen == 1 else reset_on_arrival)(connection)

    async with server(first_only) as upstream:
        await client.post(upstream.url, b"first")
        with pytest.raises(UpstreamFailure):
            await client.post(upstream.url, b"second")

    assert (upstream.log, seen, client.stale) == ([b"first"], 3, 1)


async def test_stale_connection_has_a_kind_of_its_own(client: Client) -> None:
    async with server(answer, reset_on_arrival) as upstream:
        await client.once(upstream.url, b"first")
        with pytest.raises(UpstreamFailure) as found:
            await client.once(upstream.url, b"second")

    assert (upstream.log, found.value.kind) == ([b"first"], FailureKind.STALE_CONNECTION)


async def test_fresh_request_has_a_connection_of_its_own(client: Client) -> None:
    async with server(answer) as upstream:
        for fresh in (False, True, True, False):
            await client.once(upstream.url, b"x", fresh=fresh)

    assert (len(upstream.log), upstream.connections) == (4, 3)


async def test_one_connection_serves_requests_in_turn(client: Client) -> None:
    async with server(answer) as upstream:
        for number in range(20):
            await client.post(upstream.url, str(number).encode())

    assert (len(upstream.log), upstream.connections, client.stale) == (20, 1, 0)
