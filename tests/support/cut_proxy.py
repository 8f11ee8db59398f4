"""A TCP proxy before PostgreSQL that can cut a connection when the server has committed, before the client knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

COMMITTED = b"COMMIT\0"  # of the message CommandComplete


class CutProxy:
    """While `armed`, the next answer to a COMMIT is dropped with its connection."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self.armed = False
        self.cuts = 0
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[CutProxy]:
        """Listen on a free port of loopback."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            async with asyncio.TaskGroup() as group:
                there = group.create_task(_copy(reader, downstream))
                await self._answers(upstream, writer)
                there.cancel()
        except* OSError:
            pass
        finally:
            writer.close()
            downstream.close()

    async def _answers(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await upstream.read(65536):
            if self.armed and COMMITTED in data:
                self.armed = False
                self.cuts += 1
                return
            writer.write(data)
            await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
