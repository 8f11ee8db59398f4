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
    """A response whose body comes from a connection, which the response holds until `close`.

    `pool` takes the connection back; `None`: it is closed after this exchange.
    """

    __slots__ = ("_answer", "_connection", "_failure", "_feed", "_full", "_pool")

    if TYPE_CHECKING:
        status: int
        headers: Mapping[str, str]

    def __init__(self, connection: Connection, answer: Answer, pool: Pool | None) -> None:
        self._connection: Connection | None = connection
        self._answer = answer
        self._pool = pool
        self._feed: Feed
        self._full = False  # the last piece filled its taker
        self._failure: BaseException | None = None  # raised by `feed`

    async def read(self) -> bytes:
        """Return the next piece, all that has come in one; empty at the end. Raises `UpstreamFailure`."""
        answer, connection = self._answer, self._connection
        while True:
            if answer.size:
                data = answer.take()
                if connection is not None:
                    connection.resume(answer)
                return data
            if answer.complete or connection is None:
                return b""
            if answer.fault is not None:
                raise answer.fault
            await connection.progress()

    async def pump(self, feed: Feed, drain: Drain) -> None:
        """Hand every piece to `feed` when it arrives; while `feed` is full, the connection is not read."""
        answer, connection = self._answer, self._connection
        assert connection is not None
        self._feed = feed
        if answer.size:
            self._deliver(answer.take())
        answer.sink = self._deliver
        connection.resume(answer)
        try:
            while True:
                if self._failure is not None:
                    raise self._failure
                if self._full:
                    self._full = False
                    await drain()
                    connection.resume(answer)
                elif answer.complete:
                    return
                elif answer.fault is not None:
                    raise answer.fault
                else:
                    await connection.progress()
        finally:
            answer.sink = None

    async def aclose(self) -> None:
        """End the exchange."""
        self.close()

    def close(self) -> None:
        """Return the connection to its pool if it may serve another exchange; otherwise close it."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.release():
            if self._pool is None:
                connection.close()
            else:
                self._pool.put(connection, self._answer.keep_alive)

    def unpacked(self, encoding: str) -> Response:
        """Return the response with the content of its packed body."""
        return Response(self.status, self.headers, unpacked(encoding, self._pieces()), close=self.aclose)

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        while data := await self.read():
            yield data

    def _deliver(self, data: bytes) -> None:
        """Pass on a piece from inside the event loop's callback, where nothing may be raised."""
        connection = self._connection
        if connection is None or self._failure is not None:
            return
        try:
            if self._feed(data):
                return
            self._full = True
        except Exception as exc:
            self._failure = exc
        connection.pause()
        connection.wake()
