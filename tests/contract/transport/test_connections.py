"""What our own transport does with its connections: who has them, for how long, and what they may bring."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Any

import anyio
import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.wire import UpstreamRequest
from proxy.upstream.net import transport as module
from proxy.upstream.net.connection import HIGH_WATER, READ_SIZE
from proxy.upstream.net.resolve import Address, Resolver
from proxy.upstream.net.transport import NetTransport
from tests.support.fakes import pieces, turn, whole
from tests.support.raw_server import ANSWER, RawConnection, answer, sending, server
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\n\r\ntoo large"
LARGE = bytes(16 * 1024 * 1024)


def request(url: str, content: bytes = b"{}", **fields: Any) -> UpstreamRequest:
    return UpstreamRequest(**{"url": url, "headers": {}, "content": content, "connect_timeout": PATIENCE, **fields})


async def read(net: NetTransport, url: str, content: bytes = b"{}", **fields: Any) -> tuple[int, bytes]:
    async with aclosing(await net.send(request(url, content, **fields))) as response:
        return response.status, await whole(response)


async def failing(net: NetTransport, url: str, **fields: Any) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as failed:
        await read(net, url, **fields)
    return failed.value


# Keeping


async def test_connections_are_kept_and_closed_in_the_end(net: NetTransport) -> None:
    async with server(answer) as upstream, asyncio.timeout(PATIENCE):
        for _ in range(5):
            assert await read(net, upstream.url) == (200, b"ok")
        assert (upstream.connections, upstream.open) == (1, 1)

        await net.aclose()
        await upstream.emptied()

        assert await read(net, upstream.url) == (200, b"ok")
        assert upstream.connections == 2


async def test_connection_in_use_while_closing_is_closed_later(net: NetTransport) -> None:
    async with server(answer) as upstream, asyncio.timeout(PATIENCE):
        async with aclosing(await net.send(request(upstream.url))) as response:
            await net.aclose()
            assert [chunk async for chunk in pieces(response)] == [b"ok"]
        await upstream.emptied()


async def test_last_used_connection_is_used_next(net: NetTransport) -> None:
    ports: list[int] = []

    async def note(connection: RawConnection) -> None:
        await connection.read_request()
        ports.append(connection.writer.get_extra_info("peername")[1])
        await connection.send(ANSWER)

    async with server(note) as upstream:
        async with (
            aclosing(await net.send(request(upstream.url))) as one,
            aclosing(await net.send(request(upstream.url))) as two,
        ):
            assert [[chunk async for chunk in pieces(response)] for response in (one, two)] == [[b"ok"], [b"ok"]]
        for _ in range(3):
            await read(net, upstream.url)

    assert ports[2:] == [ports[0]] * 3  # it was given back last


async def test_idle_connections_close_at_their_time(net: NetTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_ALIVE_PLAIN", 0.01)
    async with server(answer) as upstream, asyncio.timeout(PATIENCE):
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(read(net, upstream.url))

        await upstream.emptied()  # although there is no further call


@pytest.mark.parametrize(("hint", "kept"), [(b"timeout=1", False), (b"timeout=0, max=5", False), (b"timeout=60", True)])
async def test_keep_alive_hint_is_respected(net: NetTransport, hint: bytes, kept: bool) -> None:
    head = OK + b"keep-alive: " + hint + b"\r\ncontent-length: 2\r\n\r\nok"
    async with server(sending(head, close=False)) as upstream:
        for _ in range(3):
            await read(net, upstream.url)

    assert upstream.connections == (1 if kept else 3)


async def test_no_more_connections_are_kept_than_may_be(net: NetTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDLE", 2)
    all_there = asyncio.Event()

    async def together(connection: RawConnection) -> None:
        await connection.read_request()
        if len(upstream.log) == 5:
            all_there.set()
        await all_there.wait()
        await connection.send(ANSWER)

    async with server(together) as upstream, asyncio.timeout(PATIENCE):
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(read(net, upstream.url))
        while upstream.open > 2:
            await turn(1)

    assert upstream.connections == 5


async def test_unasked_bytes_close_an_idle_connection(net: NetTransport) -> None:
    said = asyncio.Event()

    async def leak(connection: RawConnection) -> None:
        await answer(connection)
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nleak")
        said.set()
        await connection.closed()
        connection.close()

    async with server(leak) as upstream, asyncio.timeout(PATIENCE):
        for _ in range(3):
            assert await read(net, upstream.url) == (200, b"ok")
            await said.wait()
            said.clear()
            await upstream.emptied()


async def test_connections_are_used_for_their_own_origin_only(net: NetTransport) -> None:
    async with server(answer) as one, server(answer) as two:
        for upstream in (one, two, one, two):
            await read(net, upstream.url, headers={"authorization": str(upstream.port)})

    assert (one.connections, two.connections) == (1, 1)
    assert all(str(upstream.port).encode() in head for upstream in (one, two) for head in upstream.heads)


async def test_body_of_an_exchange_that_has_ended_is_not_the_next_ones(net: NetTransport) -> None:
    async with server(sending(OK + b"content-length: 2\r\n\r\n", b"ok", close=False)) as upstream:
        async with aclosing(await net.send(request(upstream.url))) as first:
            pass
        async with aclosing(await net.send(request(upstream.url))) as second:
            with suppress(UpstreamFailure):
                assert [chunk async for chunk in pieces(first)] in ([], [b"ok"])
            assert [chunk async for chunk in pieces(second)] == [b"ok"]


async def test_cancelling_at_any_step_leaves_no_connection_open() -> None:
    async def exchange(net: NetTransport, url: str, timers: list[asyncio.Timeout]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as timer:
                timers.append(timer)
                await read(net, url)
        timers.clear()

    ended, turns = 0, 0
    async with server(sending(OK + b"content-length: 4\r\n\r\n", b"ok", b"ok", close=False)) as upstream:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            async with asyncio.timeout(PATIENCE):
                while ended < 3:  # how many turns an exchange takes depends on the event loop and on the machine
                    turns += 1 + turns // 60
                    net, timers = NetTransport(), list[asyncio.Timeout]()
                    async with anyio.create_task_group() as group:
                        group.start_soon(exchange, net, upstream.url, timers)
                        await turn(turns)
                        ended += not timers
                        for timer in timers:
                            timer.reschedule(0)
                    await net.aclose()
                    await turn(3)
            gc.collect()
        async with asyncio.timeout(PATIENCE):
            await upstream.emptied()

    assert [str(warning.message) for warning in warned] == []
    assert turns > ended  # the first ones were cancelled


# Early answers


@pytest.mark.parametrize("end", ["close", "reset", "stay"])
async def test_early_refusal_is_read_while_the_body_goes_out(net: NetTransport, end: str) -> None:
    async def refuse(connection: RawConnection) -> None:
        await connection.read_head()
        await connection.send(TOO_LARGE)
        if end == "stay":
            await connection.closed()
        connection.reset() if end == "reset" else connection.close()

    async with server(refuse) as upstream, asyncio.timeout(PATIENCE):
        for _ in range(3):
            assert await read(net, upstream.url, LARGE) == (413, b"too large")
        await upstream.emptied()

    assert upstream.connections == 3  # none of them can serve again


async def test_early_success_does_not_cut_the_request_short(net: NetTransport) -> None:
    async def begin(connection: RawConnection) -> None:
        await connection.read_head()
        await connection.send(CHUNKED + b"2\r\nhe\r\n")
        connection.server.log.append(await connection.reader.readexactly(len(LARGE)))
        await connection.send(b"3\r\nllo\r\n0\r\n\r\n")

    async with server(begin) as upstream, asyncio.timeout(PATIENCE):
        assert await read(net, upstream.url, LARGE) == (200, b"hello")

    assert upstream.log == [LARGE]


async def test_answer_before_the_request_is_read(net: NetTransport) -> None:
    async def busy(connection: RawConnection) -> None:
        await connection.send(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy")
        connection.close()

    async with server(busy) as upstream, asyncio.timeout(PATIENCE):
        for _ in range(3):
            assert await read(net, upstream.url) == (503, b"busy")
        await upstream.emptied()


async def test_close_before_the_request_is_a_fault(net: NetTransport) -> None:
    async def close(connection: RawConnection) -> None:
        connection.close()

    async with server(close) as upstream, asyncio.timeout(PATIENCE):
        failure = await failing(net, upstream.url)

    assert (failure.kind, failure.cause in ("closed", "reset")) == (FailureKind.CONNECT, True)


# Bounds


@pytest.mark.parametrize(
    "again",
    [b"\r\n" * 500, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nlink: </a>\r\n\r\n"],
    ids=["blank lines", "100 Continue", "103 Early Hints"],
)
async def test_flood_before_the_answer_is_cut_off(net: NetTransport, again: bytes) -> None:
    async def flood(connection: RawConnection) -> None:
        await connection.read_request()
        while True:
            await connection.send(again)

    async with server(flood) as upstream, asyncio.timeout(PATIENCE):
        failure = await failing(net, upstream.url)
        await upstream.emptied()

    assert (failure.kind, failure.cause) == (FailureKind.CONNECT, "protocol")


async def test_upstream_is_not_read_faster_than_the_client(net: NetTransport) -> None:
    piece = bytes(64 * 1024)
    total = 256 * 1024 * 1024
    sent = 0

    async def pour(connection: RawConnection) -> None:
        nonlocal sent
        await connection.read_request()
        await connection.send(OK + b"content-length: %d\r\n\r\n" % total)
        connection.writer.transport.set_write_buffer_limits(0)
        while sent < total:
            await connection.send(piece)
            sent += len(piece)

    async with (
        server(pour) as upstream,
        asyncio.timeout(PATIENCE),
        aclosing(await net.send(request(upstream.url))) as response,
    ):
        first = await response.read()
        before = -1
        while sent != before:  # until the sockets between us are full
            before = sent
            await turn(1000)
        assert sent < total / 4
        second = await response.read()

    assert max(len(first), len(second)) <= HIGH_WATER + READ_SIZE


async def test_all_that_one_read_brings_is_one_piece(net: NetTransport) -> None:
    chunks = b"1\r\na\r\n" * 1000 + b"0\r\n\r\n"
    async with (
        server(sending(CHUNKED + chunks)) as upstream,
        aclosing(await net.send(request(upstream.url))) as response,
    ):
        got = [chunk async for chunk in pieces(response)]

    assert b"".join(got) == b"a" * 1000
    assert len(got) < 100


# Names and addresses


def resolving(**names: Sequence[Address]) -> NetTransport:
    def lookup(host: str) -> Sequence[Address]:
        return names[host.partition(".")[0]]

    return NetTransport(resolver=Resolver(lookup))


async def test_unknown_name_names_its_cause() -> None:
    failure = await failing(resolving(acme=()), "http://acme.test/")

    assert (failure.kind, failure.cause) == (FailureKind.CONNECT, "dns")
    assert "could not be resolved" in str(failure)
    assert "acme" not in str(failure)


async def test_name_that_hangs_names_its_cause_and_stops_no_other() -> None:
    released = threading.Event()

    def lookup(host: str) -> Sequence[Address]:
        if host.startswith("slow"):
            released.wait(PATIENCE)
        return (Address(socket.AF_INET, ("127.0.0.1", 0)),)

    net = NetTransport(resolver=Resolver(lookup))
    async with server(answer) as upstream, asyncio.TaskGroup() as group:
        hanging = [
            group.create_task(failing(net, f"http://slow{number}.test/", connect_timeout=0.1)) for number in range(20)
        ]
        assert await read(net, f"http://acme.test:{upstream.port}/") == (200, b"ok")
    released.set()
    await net.aclose()

    assert {task.result().cause for task in hanging} == {"dns"}
    assert all("no answer within 0.1 s" in str(task.result()) for task in hanging)


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "b\u00fccher" * 20 + ".test", "a..test"])
async def test_impossible_name_is_a_fault_of_dns(net: NetTransport, host: str) -> None:
    failure = await failing(net, f"http://{host}/")

    assert (failure.kind, failure.cause) == (FailureKind.CONNECT, "dns")


async def test_next_address_is_tried_when_one_refuses() -> None:
    async with server(answer) as closed:
        pass
    async with server(answer) as upstream:
        dead, live = Address(socket.AF_INET6, ("::1", 0, 0, 0)), Address(socket.AF_INET, ("127.0.0.1", 0))
        net = resolving(acme=(dead, live), other=(dead,))

        assert await read(net, f"http://acme.test:{upstream.port}/") == (200, b"ok")
        failure = await failing(net, f"http://other.test:{closed.port}/")
        await net.aclose()

    assert failure.cause in ("refused", "unreachable", "connect")
