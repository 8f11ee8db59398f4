"""Upstream transport: sends requests on pooled connections and returns their responses.

It enforces only the connect timeout; the attempt enforces the other deadlines. Redirects are not followed, and cookies
are not stored: answers are relayed unchanged.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial

from proxy.core.wire import UpstreamRequest
from proxy.upstream.net.connection import READ_SIZE, Connection
from proxy.upstream.net.decode import is_packed
from proxy.upstream.net.dial import connect_first
from proxy.upstream.net.faults import connect_failure
from proxy.upstream.net.pool import Pool
from proxy.upstream.net.request import Heads, Origin, framed
from proxy.upstream.net.resolve import Address, Resolver
from proxy.upstream.net.response import NetResponse
from proxy.upstream.net.tls import Contexts
from proxy.upstream.transport import Response

KEEP_ALIVE = 30.0  # seconds; most load balancers close idle connections after 60
KEEP_ALIVE_PLAIN = 4.0  # local servers, uvicorn and vLLM among them, close after 5
MAX_IDLE = 256  # idle connections to one origin
_TLS_GOODBYE = 1.0  # seconds for the TLS shutdown


class NetTransport:
    """A transport for one event loop. It can be used again after `aclose`."""

    def __init__(self, contexts: Contexts | None = None, resolver: Resolver | None = None) -> None:
        self._contexts = contexts or Contexts()
        self._resolver = resolver or Resolver()
        self._heads = Heads()
        self._pools: dict[Origin, Pool] = {}
        self._buffer = memoryview(bytearray(READ_SIZE))

    async def send(self, request: UpstreamRequest) -> Response:
        """Send on a pooled or a new connection, and return the response when its head has arrived.

        Sending and reading the body raise `UpstreamFailure`.
        """
        prepared = self._heads.get(request)
        head = framed(prepared, request)
        pool = self._pools.get(prepared.origin)
        if pool is None:
            keep_alive = KEEP_ALIVE if prepared.origin.tls else KEEP_ALIVE_PLAIN
            pool = self._pools[prepared.origin] = Pool(keep=MAX_IDLE, keep_alive=keep_alive)
        connection = None if request.fresh else pool.take()
        if connection is None:
            connection = await self._new_connection(prepared.origin, pool, request.connect_timeout)
        answer = connection.send(head, request.content)
        response = NetResponse(connection, answer, None if request.fresh else pool)
        try:
            while not answer.ready:
                if answer.fault is not None:
                    raise answer.fault
                await connection.progress()
        except BaseException:
            await response.aclose()
            raise
        response.status, response.headers = answer.status, answer.headers
        encoding = answer.headers.get("content-encoding")
        return response.unpacked(encoding) if encoding is not None and is_packed(encoding) else response

    async def aclose(self) -> None:
        """Close every idle connection, and those in use when their exchange ends."""
        while self._pools:
            self._pools.popitem()[1].close()
        await asyncio.sleep(0)  # the event loop closes the sockets in its next iteration

    async def _new_connection(self, origin: Origin, pool: Pool, timeout: float) -> Connection:  # noqa: ASYNC109
        """Return a new connection; `timeout` covers name, TCP and TLS, in seconds. Raises `UpstreamFailure`."""
        deadline = asyncio.get_running_loop().time() + timeout
        try:
            addresses = await self._addresses(origin, timeout)
            async with asyncio.timeout_at(deadline):
                return await self._connect(origin, pool, addresses)
        except OSError as exc:
            self._resolver.forget(origin.host)
            raise connect_failure(exc) from exc

    async def _addresses(self, origin: Origin, timeout: float) -> list[Address]:  # noqa: ASYNC109
        try:
            async with asyncio.timeout(timeout):
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
