"""A connected TCP socket to the first of several addresses that answers ("happy eyeballs", RFC 8305)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import anyio

from proxy.upstream.net.resolve import Address

STAGGER = 0.25  # seconds between two attempts, if the first has neither failed nor succeeded
_KEEP_ALIVE_IDLE = 60  # seconds of silence before TCP probes: a model may think for longer than a NAT remembers


async def connect_first(addresses: Sequence[Address]) -> socket.socket:
    """A connected, non-blocking socket. Raises the `OSError` of the last address to fail if all do."""
    if len(addresses) == 1:
        return await _connect(addresses[0])
    errors: list[OSError] = []
    connected: list[socket.socket] = []

    async def attempt(address: Address, failed: anyio.Event) -> None:
        try:
            found = await _connect(address)
        except OSError as exc:
            errors.append(exc)
            failed.set()
            return
        if connected:
            found.close()
            return
        connected.append(found)
        group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            for address in interleaved(addresses):
                failed = anyio.Event()
                group.start_soon(attempt, address, failed)
                with anyio.move_on_after(STAGGER):
                    await failed.wait()
    except BaseException:
        for found in connected:
            found.close()
        raise
    if not connected:
        raise errors[-1]
    return connected[0]


def interleaved(addresses: Sequence[Address]) -> Iterator[Address]:
    """The same addresses with their families by turns; the first one's family begins."""
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
