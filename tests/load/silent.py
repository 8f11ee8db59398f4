"""Addresses at which connecting never ends: one with a full accept queue, and one that accepts and sends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from proxy.core.clock import SystemClock
from tests.support.upstreams import full_port

_SYN_SENT = "02"


@dataclass
class Hole:
    """A port whose accept queue is full, so that connections to it hang."""

    port: int

    @property
    def connecting(self) -> int:
        """The number of sockets that are connecting to it now."""
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        return sum(row[2].endswith(f":{self.port:04X}") and row[3] == _SYN_SENT for row in rows) - self._fillers

    _fillers: int = 0

    def exclude_fillers(self) -> None:
        """Exclude the present sockets from the count."""
        self._fillers = 0
        self._fillers = self.connecting


@contextmanager
def hole() -> Iterator[Hole]:
    """Such a port."""
    with full_port() as port:
        found = Hole(port)
        found.exclude_fillers()
        yield found


@dataclass
class Mute:
    """A port that accepts, reads and sends nothing: a TLS handshake never ends there."""

    port: int = 0
    greeted: int = 0  # connections that sent something
    lost: list[float] = field(default_factory=list)  # when connections were closed, by the monotonic clock
    live: set[asyncio.Transport] = field(default_factory=set)


class _MuteConnection(asyncio.Protocol):
    def __init__(self, mute: Mute) -> None:
        self._mute = mute
        self._greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._mute.live.add(self._transport)

    def data_received(self, data: bytes) -> None:
        self._mute.greeted += not self._greeted
        self._greeted = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._mute.live.discard(self._transport)
        self._mute.lost.append(SystemClock().monotonic())


@asynccontextmanager
async def mute() -> AsyncIterator[Mute]:
    """Such a port."""
    found = Mute()
    server = await asyncio.get_running_loop().create_server(lambda: _MuteConnection(found), "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for transport in found.live:
            transport.abort()
