"""A server of raw connections for tests of the transport: what is done on each is a script, byte by byte."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Line:
    """One connection at the server. What was taken up is in `log`, heads in `heads`."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def take(self) -> None:
        """Read a request in whole, and take it up."""
        head = await self.head()
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        self.server.log.append(await self.reader.readexactly(length))

    async def head(self) -> bytes:
        """Read a request's head."""
        self.server.heads.append(await self.reader.readuntil(b"\r\n\r\n"))
        return self.server.heads[-1]

    async def say(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
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


Turn = Callable[[Line], Awaitable[None]]


class Server:
    """On each of its connections the same turns follow one another, over and over."""

    def __init__(self, turns: tuple[Turn, ...], scheme: str) -> None:
        self.log: list[bytes] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.port = 0
        self._turns = turns
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
        line = Line(self, reader, writer)
        try:
            while not writer.is_closing():
                for turn in self._turns:
                    await turn(line)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open -= 1
            self._closed.set()


@asynccontextmanager
async def server(*turns: Turn, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on a free port of loopback."""
    found = Server(turns, "https" if context else "http")
    listening = await asyncio.start_server(found.serve, "127.0.0.1", 0, limit=1 << 24, ssl=context, backlog=512)
    found.port = listening.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        listening.close()


async def answer(line: Line) -> None:
    """An honest exchange."""
    await line.take()
    await line.say(ANSWER)


def saying(*pieces: bytes, close: bool = True) -> Turn:
    """Take a request and send these bytes, piece by piece, and then close."""

    async def turn(line: Line) -> None:
        await line.take()
        for piece in pieces:
            await line.say(piece)
        if close:
            line.close()

    return turn
