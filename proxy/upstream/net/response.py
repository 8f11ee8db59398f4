"""The response of one exchange on a connection: its body, and the end of the exchange."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING

from proxy.upstream.net.answer import Answer
from proxy.upstream.net.connection import Connection
from proxy.upstream.net.decode import unpacked
from proxy.upstream.net.pool import Pool
from proxy.upstream.transport import Drain, Feed, Response


class NetResponse(Response):
    """A response whose body comes from a connection, which the response holds until `aclose`.

    `pool` takes the connection back; `None`: it is closed after this exchange.
    """

    __slots__ = ("_answer", "_connection", "_pool", "ended")

    if TYPE_CHECKING:
        status: int
        headers: Mapping[str, str]

    def __init__(self, connection: Connection, answer: Answer, pool: Pool | None) -> None:
        self._connection: Connection | None = connection
        self._answer = answer
        self._pool = pool
        self.ended = False

    async def read(self) -> bytes:
        """Return all received bytes; empty at the end. Raises `UpstreamFailure`."""
        answer, connection = self._answer, self._connection
        while True:
            if answer.size:
                data = answer.take()
                self.ended = answer.complete
                if connection is not None and not connection.reading:
                    connection.resume(answer)
                return data
            if answer.complete or connection is None:
                return b""
            if answer.fault is not None:
                raise answer.fault
            await connection.progress()

    async def pump(self, feed: Feed, drain: Drain) -> None:
        """Call `feed` with each piece as it arrives. If it returns False, reading pauses until `drain` returns."""
        answer, connection = self._answer, self._connection
        assert connection is not None
        if answer.size:
            answer.full = not feed(answer.take())
        answer.sink = feed
        try:
            while True:
                if answer.error is not None:
                    raise answer.error
                if answer.full:
                    await drain()
                    answer.full = False
                if answer.complete:
                    return
                if answer.fault is not None:
                    raise answer.fault
                connection.resume(answer)
                await connection.progress()
        finally:
            answer.sink = None

    async def aclose(self) -> None:
        """Return the connection to its pool if it may serve another exchange; otherwise close it. Waits for nothing."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.release():
            if self._pool is None:
                connection.close()
            else:
                headers = self._answer.headers
                self._pool.put(connection, self._answer.keep_alive if "keep-alive" in headers else None)

    def unpacked(self, encoding: str) -> Response:
        """Return the response with a decompressed body."""
        return Response(self.status, self.headers, unpacked(encoding, self._pieces()), close=self.aclose)

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        while data := await self.read():
            yield data
