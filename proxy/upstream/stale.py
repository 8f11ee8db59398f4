"""Connections that know whether they were stale: used before, and dead when they were used again.

A server may close an idle connection at the very moment at which we send the next request on it. Such a request was
never taken up, and may be sent once more although it is a POST. From above nobody can tell it from a server that fell
over while it worked, so the streams count: what was written and read, and in which order.

Source: RFC 9112 section 9.3.1 (a client that sees an idle connection closed may retry) and section 9.5.
"""

# ruff: noqa: ASYNC109 (the parameter is httpcore's)

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore


class Stale(httpcore.ReadError):
    """The connection had served before, and ended without one byte of an answer to this request."""


class KnowingStream(httpcore.AsyncNetworkStream):
    """A stream that raises `Stale` in place of an end or a reset that means just that."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._served = False  # an answer came on it before the request that is under way
        self._answered = False  # bytes came since the last time that we wrote

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            data = await self._inner.read(max_bytes, timeout)
        except httpcore.ReadError as exc:
            if self._stale and _hung_up(exc):
                raise Stale("the connection was reset") from exc
            raise
        if not data and self._stale:
            raise Stale("the connection was closed")
        if data:
            self._answered = True
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer and self._answered:  # without pipelining a write after a read begins the next request
            self._served, self._answered = True, False
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return KnowingStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    @property
    def _stale(self) -> bool:
        return self._served and not self._answered


class KnowingBackend(httpcore.AsyncNetworkBackend):
    """Connects as usual, and wraps what it gets."""

    def __init__(self) -> None:
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return KnowingStream(await self._inner.connect_tcp(host, port, timeout, local_address, socket_options))

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


def _hung_up(exc: BaseException) -> bool:
    """Whether the far side ended the connection: any other fault of a socket, a timeout above all, says less."""
    found: BaseException | None = exc
    while found is not None:
        if isinstance(found, OSError):
            return isinstance(found, ConnectionError)
        found = found.__cause__ or found.__context__
    return True
