"""Sends a request on a connection of the origin's pool, and reads its answer.

Only the connect timeout is kept here; how long an answer may take is decided by the attempt. Redirects are not
followed and cookies not kept: an answer is passed on as it came.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from functools import partial
from types import TracebackType

import anyio

from proxy.core.wire import UpstreamRequest, UpstreamResponse
from proxy.upstream.net.answer import Answer
from proxy.upstream.net.connection import READ_SIZE, Connection
from proxy.upstream.net.decode import is_packed, unpacked
from proxy.upstream.net.dial import connect_first
from proxy.upstream.net.faults import connect_failure
from proxy.upstream.net.pool import Pool
from proxy.upstream.net.request import Heads, Origin, framed
from proxy.upstream.net.resolve import Address, Resolver
from proxy.upstream.net.tls import Contexts

KEEP_ALIVE = 30.0  # seconds; below the 60 of most fronts
KEEP_ALIVE_PLAIN = 4.0  # local servers, uvicorn and vLLM among them, close after 5
MAX_IDLE = 256  # idle connections to one origin
_TLS_GOODBYE = 1.0  # seconds for the upstream to answer that the connection closes


class NetTransport:
    """One instance for each event loop; closed by `aclose`, after which it may be used again."""

    def __init__(self, contexts: Contexts | None = None, resolver: Resolver | None = None) -> None:
        self._contexts = contexts or Contexts()
        self._resolver = resolver or Resolver()
        self._heads = Heads()
        self._pools: dict[Origin, Pool] = {}
        self._buffer = memoryview(bytearray(READ_SIZE))

    def send(self, request: UpstreamRequest) -> Exchange:
        """The exchange, which begins when it is entered. Entering and reading the body raise `UpstreamFailure`."""
        return Exchange(self, request)

    async def aclose(self) -> None:
        """Close every idle connection, and those in use when their exchange ends."""
        while self._pools:
            self._pools.popitem()[1].close()
        await asyncio.sleep(0)  # the event loop closes the sockets in its next turn

    def prepare(self, request: UpstreamRequest) -> tuple[Origin, Pool, bytes]:
        """Where a request goes, and its head."""
        prepared = self._heads.get(request)
        pool = self._pools.get(prepared.origin)
        if pool is None:
            keep_alive = KEEP_ALIVE if prepared.origin.tls else KEEP_ALIVE_PLAIN
            pool = self._pools[prepared.origin] = Pool(keep=MAX_IDLE, keep_alive=keep_alive)
        return prepared.origin, pool, framed(prepared, request)

    async def connect(self, origin: Origin, pool: Pool, timeout: float) -> Connection:  # noqa: ASYNC109
        """A new connection; `timeout` is for name, TCP and TLS together. Raises `UpstreamFailure`."""
        deadline = anyio.current_time() + timeout
        try:
            addresses = await self._addresses(origin, timeout)
            with anyio.fail_after(deadline - anyio.current_time()):
                return await self._connect(origin, pool, addresses)
        except OSError as exc:
            self._resolver.forget(origin.host)
            raise connect_failure(exc) from exc

    async def _addresses(self, origin: Origin, timeout: float) -> list[Address]:  # noqa: ASYNC109
        try:
            with anyio.fail_after(timeout):
                return await self._resolver.addresses(origin.host, origin.port)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, f"no answer within {timeout:g} s") from None

    async def _connect(self, origin: Origin, pool: Pool, addresses: list[Address]) -> Connection:
        loop = asyncio.get_running_loop()
        connected = await connect_first(addresses)
        if not origin.tls:
            _, connection = await loop.create_connection(lambda: Connection(self._buffer, pool.forget), sock=connected)
            return connection
        context = self._contexts.get(origin.ca)
        _, connection = await loop.create_connection(
            lambda: Connection(self._buffer, pool.forget, partial(context.remember, origin.host)),
            sock=connected,
            ssl=context,
            server_hostname=origin.host,
            ssl_shutdown_timeout=_TLS_GOODBYE,
        )
        return connection


class Exchange:
    """One request and its answer: an async context manager that holds the connection meanwhile."""

    __slots__ = ("_answer", "_connection", "_net", "_pool", "_request")

    def __init__(self, net: NetTransport, request: UpstreamRequest) -> None:
        self._net = net
        self._request = request
        self._connection: Connection | None = None

    async def __aenter__(self) -> UpstreamResponse:
        request = self._request
        origin, self._pool, head = self._net.prepare(request)
        connection = None if request.fresh else self._pool.take()
        if connection is None:
            connection = await self._net.connect(origin, self._pool, request.connect_timeout)
        self._connection = connection
        self._answer = answer = connection.send(head, request.content)
        try:
            while not answer.ready:
                if answer.fault is not None:
                    raise answer.fault
                await connection.progress()
        except BaseException:
            self._end()
            raise
        encoding = answer.headers.get("content-encoding")
        body = _body(connection, answer)
        return UpstreamResponse(
            answer.status, answer.headers, unpacked(encoding or "", body) if is_packed(encoding) else body
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        """Give the connection back, or close it; once."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.release():
            if self._request.fresh:
                connection.close()
            else:
                self._pool.put(connection, self._answer.keep_alive)


async def _body(connection: Connection, answer: Answer) -> AsyncGenerator[bytes, None]:
    """The body as it comes, all that one read has brought in one piece. Raises `UpstreamFailure`."""
    while True:
        if answer.size:
            data = answer.take()
            connection.taken(answer)
            yield data
        elif answer.complete:
            return
        elif answer.fault is not None:
            raise answer.fault
        else:
            await connection.progress()
