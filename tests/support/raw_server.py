"""A server of raw connections for tests of the transport; steps script each connection, byte by byte."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class RawConnection:
    """One connection of the server. Bodies that were read are in `server.log`, heads in `server.heads`."""

    def __init__(self, server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def read_request(self) -> None:
        """Read a whole request."""
        head = await self.read_head()
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        self.server.log.append(await self.reader.readexactly(length))

    async def read_head(self) -> bytes:
        """Read a request's head."""
        self.server.heads.append(await self.reader.readuntil(b"\r\n\r\n"))
        return self.server.heads[-1]

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def closed(self) -> None:
        """Wait until the client has closed the connection."""
        with suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass

    def close(self) -> None:
        """Close as usual."""
        self.writer.close()

    def reset(self) -> None:
        """Close with a reset."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Step = Callable[[RawConnection], Awaitable[None]]


class RawServer:
    """Runs the same steps on each of its connections, over and over."""

    def __init__(self, steps: tuple[Step, ...], scheme: str) -> None:
        self.log: list[bytes] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.port = 0
        self._steps = steps
        self._scheme = scheme
        self._closed = asyncio.Event()

    @property
    def url(self) -> str:
        """The URL to send requests to."""
        return f"{self._scheme}://127.0.0.1:{self.port}/v1/chat/completions"

    async def emptied(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            self._closed.clear()
            await self._closed.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        connection = RawConnection(self, reader, writer)
        try:
            while not writer.is_closing():
                for step in self._steps:
                    await step(connection)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open -= 1
            self._closed.set()


@asynccontextmanager
async def server(*steps: Step, context: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """A server on a free port of loopback."""
    running = RawServer(steps, "https" if context else "http")
    listening = await asyncio.start_server(running.serve, "127.0.0.1", 0, limit=1 << 24, ssl=context, backlog=512)
    running.port = listening.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        listening.close()


async def answer(connection: RawConnection) -> None:
    """An honest exchange."""
    await connection.read_request()
    await connection.send(ANSWER)


def sending(*pieces: bytes, close: bool = True) -> Step:
    """Take a request and send these bytes, piece by piece, and then close."""

    async def step(connection: RawConnection) -> None:
        await connection.read_request()
        for piece in pieces:
            await connection.send(piece)
        if close:
            connection.close()

    return step
