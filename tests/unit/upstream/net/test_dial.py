"""The first of several addresses that answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from proxy.upstream.net import dial as module
from proxy.upstream.net.dial import connect_first, interleaved
from proxy.upstream.net.resolve import Address
from tests.support.upstreams import full_port
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

V4 = [Address(socket.AF_INET, (f"10.0.0.{number}", 80)) for number in range(3)]
V6 = [Address(socket.AF_INET6, (f"fd00::{number}", 80, 0, 0)) for number in range(3)]


@pytest.fixture
async def live() -> AsyncIterator[Address]:
    """An address that answers."""
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    yield Address(socket.AF_INET, listening.sockets[0].getsockname())
    listening.close()


@pytest.fixture
def dead() -> Iterator[Address]:
    """An address that refuses: the port is bound, and no one listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield Address(socket.AF_INET, bound.getsockname())


def test_families_take_turns() -> None:
    assert list(interleaved([*V6, *V4[:2]])) == [V6[0], V4[0], V6[1], V4[1], V6[2]]
    assert list(interleaved([*V4[:1], *V6])) == [V4[0], *V6]
    assert list(interleaved(V4)) == V4


async def test_socket_sends_at_once(live: Address) -> None:
    with await connect_first([live]) as connected:
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connected.getblocking() is False


async def test_next_address_is_tried_after_a_refusal(live: Address, dead: Address) -> None:
    with await connect_first([dead, dead, live]) as connected:
        assert connected.getpeername() == live.where


async def test_address_that_hangs_does_not_hold_up_the_next(live: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STAGGER", 0.01)
    with full_port() as port:
        hanging = Address(socket.AF_INET, ("127.0.0.1", port))

        async with asyncio.timeout(PATIENCE):
            with await connect_first([hanging, live]) as connected:
                assert connected.getpeername() == live.where


async def test_all_addresses_may_fail(dead: Address) -> None:
    for addresses in ([dead], [dead, dead]):
        with pytest.raises(ConnectionRefusedError):
            await connect_first(addresses)
