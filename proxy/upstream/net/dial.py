"""TCP connections to the first of several addresses that accepts one ("happy eyeballs", RFC 8305)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from proxy.upstream.net.resolve import Address

STAGGER = 0.25  # seconds between two attempts, unless the earlier one ends first
_KEEP_ALIVE_IDLE = 60  # seconds of silence before TCP probes: a model may reason for longer than a NAT's timeout


async def connect_first(addresses: Sequence[Address]) -> socket.socket:
    """Return a connected, non-blocking socket. If all addresses fail, raises the `OSError` of the last failure."""
    if len(addresses) == 1:
        return await _connect(addresses[0])
    race = _Race()
    try:
        async with asyncio.TaskGroup() as group:
            running: set[asyncio.Task[None]] = set()
            for address in interleaved(addresses):
                running.add(group.create_task(race.attempt(address)))
                _, running = await asyncio.wait(running, timeout=STAGGER, return_when=asyncio.FIRST_COMPLETED)
                if race.connected is not None:
                    break
            while running and race.connected is None:
                _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                task.cancel()
    except BaseException:
        if race.connected is not None:
            race.connected.close()
        raise
    if race.connected is None:
        raise race.errors[-1]
    return race.connected


class _Race:
    """Concurrent connection attempts; the first to succeed wins."""

    def __init__(self) -> None:
        self.connected: socket.socket | None = None
        self.errors: list[OSError] = []

    async def attempt(self, address: Address) -> None:
        try:
            connected = await _connect(address)
        except OSError as exc:
            self.errors.append(exc)
            return
        if self.connected is None:
            self.connected = connected
        else:
            connected.close()


def interleaved(addresses: Sequence[Address]) -> Iterator[Address]:
    """Yield the addresses with alternating families, beginning with that of the first one."""
    first = [address for address in addresses if address.family == addresses[0].family]
    others = [address for address in addresses if address.family != addresses[0].family]
    for pair in zip_longest(first, others):
        yield from (address for address in pair if address is not None)


async def _connect(address: Address) -> socket.socket:
    connecting = socket.socket(address.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_IDLE)
        await asyncio.get_running_loop().sock_connect(connecting, address.where)
    except BaseException:
        connecting.close()
        raise
    return connecting
