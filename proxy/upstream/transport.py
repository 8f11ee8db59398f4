"""The interface between attempts and the network: sends one request and returns one response.

A body is delivered in one of two ways. `read` gives the next piece to the caller. `pump` hands every piece to a
function at the moment it arrives, without waking the caller's task in between: this is how streams are relayed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Protocol

from proxy.core.wire import UpstreamRequest

Feed = Callable[[bytes], bool]  # takes a piece of a body; returns whether it can take the next one now
Drain = Callable[[], Awaitable[None]]  # waits until it can


class Response:
    """The response to one request: status, lower-case headers, and the decoded body, which is read once.

    `aclose` ends the exchange: the connection is kept for the next one if the body was read to its end, and closed
    otherwise.
    """

    ended = False  # the body is known to have been read to its end: there is nothing more to `read`
    __slots__ = ("_chunks", "_close", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        chunks: AsyncGenerator[bytes, None],
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self._chunks = chunks
        self._close = close

    async def read(self) -> bytes:
        """Return the next piece of the body, empty at its end. Raises `UpstreamFailure`."""
        async for chunk in self._chunks:
            if chunk:
                return chunk
        return b""

    async def pump(self, feed: Feed, drain: Drain) -> None:
        """Hand the rest of the body to `feed`, and `drain` whenever it returns `False`.

        Raises `UpstreamFailure`, and whatever `feed` raises.
        """
        while chunk := await self.read():
            if not feed(chunk):
                await drain()

    async def aclose(self) -> None:
        """End the exchange. May be called twice."""
        try:
            await self._chunks.aclose()
        finally:
            close, self._close = self._close, None
            if close is not None:
                await close()


class Transport(Protocol):
    """Sends requests."""

    def send(self, request: UpstreamRequest) -> Awaitable[Response]:
        """Return the response when its head has arrived. Raises `UpstreamFailure` if the network fails.

        Any exception other than `UpstreamFailure` or `ProxyError` is an internal error.
        """
        ...
