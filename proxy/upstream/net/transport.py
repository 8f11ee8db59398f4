"""Upstream transport: sends requests on pooled connections and returns their responses.

It enforces only the connect timeout; the attempt enforces the other deadlines. Redirects are not followed, and cookies
are not stored: answers are relayed unchanged.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from proxy.core.wire import UpstreamRequest
from proxy.upstream.environment import EnvironmentProxy
from proxy.upstream.net.connection import COMPLETE, READ_SIZE, READY, Connection
from proxy.upstream.net.decode import is_packed, unpacked
from proxy.upstream.net.dial import connect_first
from proxy.upstream.net.faults import connect_failure
from proxy.upstream.net.request import MAX_PREPARED, Heads, Origin, framed
from proxy.upstream.net.resolve import Address, Resolver
from proxy.upstream.net.tls import Contexts
from proxy.upstream.transport import Drain, Feed, Response

if TYPE_CHECKING:
    from proxy.upstream.proxied import HttpxTransport

KEEP_ALIVE = 30.0  # seconds; most load balancers close idle connections after 60
KEEP_ALIVE_PLAIN = 4.0  # local servers, uvicorn and vLLM among them, close after 5
MAX_IDLE = 256  # idle connections to one origin
MARGIN = 1.0  # seconds before the upstream's own keep-alive timeout, for requests in transit
_TLS_SHUTDOWN = 1.0  # seconds for the TLS shutdown
_TIMEOUT = re.compile(r"(?:^|[, ])timeout ?= ?([0-9]{1,6})(?![0-9])", re.IGNORECASE)


class Route(NamedTuple):
    """Where requests with the same headers object and target go."""

    headers: Mapping[str, str]  # must not be modified
    target: tuple[str, str, str | None]  # method, URL and CA
    origin: Origin
    head: bytes  # without extra headers, `content-length` and the empty line at its end
    pool: Pool


class NetTransport:
    """A transport for one event loop. It can be used again after `aclose`.

    Requests with a proxy of their own, or one of the `environment`, are sent by httpx.
    """

    def __init__(
        self,
        contexts: Contexts | None = None,
        resolver: Resolver | None = None,
        environment: EnvironmentProxy | None = None,
    ) -> None:
        self._contexts = contexts or Contexts()
        self._environment = environment if environment is not None and environment.configured else None
        self._proxied: HttpxTransport | None = None
        self._resolver = resolver or Resolver()
        self._heads = Heads()
        self._routes: dict[int, Route] = {}  # by the identity of headers, most of which serve many requests
        self._pools: dict[Origin, Pool] = {}
        self._buffer = memoryview(bytearray(READ_SIZE))

    async def send(self, request: UpstreamRequest) -> Response:
        """Send on a pooled or a new connection, and return the response when its head has arrived.

        Sending and reading the body raise `UpstreamFailure`.
        """
        if request.proxy is not None or self._environment is not None:
            proxy = request.proxy or (self._environment and self._environment.proxy_for(request.url))
            if proxy:
                return await self._by_proxy().send(structs.replace(request, proxy=proxy))
        headers = request.headers
        route = self._routes.get(id(headers))
        if route is None or route.headers is not headers or route.target != (request.method, request.url, request.ca):
            route = self._route(request)
        content = request.content
        if content and not request.extra_headers:
            head = b"%bcontent-length: %d\r\n\r\n" % (route.head, len(content))
        else:
            head = framed(route.head, request)
        connection = None if request.fresh else route.pool.take()
        if connection is None:
            connection = await self._new_connection(route.origin, route.pool, request.connect_timeout)
        response = NetResponse(connection, None if request.fresh else route.pool)
        connection.send(head, content)
        try:
            while connection.state < READY:
                if connection.fault is not None:
                    raise connection.fault
                await connection.progress()
        except BaseException:
            response.release()
            raise
        response.status, response.headers = connection.status, connection.headers
        if connection.state == COMPLETE:
            response.received = connection.take()
            response.release()
        encoding = response.headers.get("content-encoding")
        return response.unpacked(encoding) if encoding is not None and is_packed(encoding) else response

    async def aclose(self) -> None:
        """Close every idle connection, and those in use when their exchange ends."""
        self._routes.clear()
        while self._pools:
            self._pools.popitem()[1].close()
        if self._proxied is not None:
            await self._proxied.aclose()
        await asyncio.sleep(0)  # the event loop closes the sockets in its next iteration

    def _by_proxy(self) -> HttpxTransport:
        """Return the httpx transport, imported on first use to save memory and start-up time."""
        if self._proxied is None:
            from proxy.upstream.proxied import HttpxTransport

            self._proxied = HttpxTransport(self._contexts)
        return self._proxied

    def _route(self, request: UpstreamRequest) -> Route:
        """Return the route of a request, and keep it. Raises as `Heads.get` does."""
        origin, head = self._heads.get(request)
        pool = self._pools.get(origin)
        if pool is None:
            keep_alive = KEEP_ALIVE if origin.tls else KEEP_ALIVE_PLAIN
            pool = self._pools[origin] = Pool(keep=MAX_IDLE, keep_alive=keep_alive)
        if len(self._routes) >= MAX_PREPARED:
            self._routes.clear()
        target = request.method, request.url, request.ca
        route = self._routes[id(request.headers)] = Route(request.headers, target, origin, head, pool)
        return route

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
            ssl_shutdown_timeout=_TLS_SHUTDOWN,
        )
        return connection


class Pool:
    """The idle connections to one origin: last in, first out.

    Keeps up to `keep` idle connections for `keep_alive` seconds, or less if the upstream sends a shorter timeout.
    One timer closes connections that expire; no operation scans all connections. The number of connections in use is
    limited by `limits.concurrency` and `server.max_in_flight`, not here.
    """

    def __init__(self, *, keep: int, keep_alive: float) -> None:
        self._keep = keep
        self._longest = keep_alive
        self._keep_alive = keep_alive
        self._idle: OrderedDict[Connection, float] = (
            OrderedDict()
        )  # the time when each was put in; the last used is last
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> Connection | None:
        """Return the most recently used open connection, or `None`."""
        while self._idle:
            connection, since = self._idle.popitem()
            if since + self._keep_alive > self._loop.time() and connection.silent:
                return connection
            connection.abort()
        return None

    def put(self, connection: Connection, keep_alive: float | None) -> None:
        """Add an idle connection; `keep_alive` is the upstream's own timeout in seconds, if known."""
        if keep_alive is not None:
            seconds = min(self._longest, keep_alive - MARGIN)
            if seconds != self._keep_alive:
                self._set_keep_alive(seconds)
        if self._keep_alive <= 0 or not self._keep:
            connection.close()
            return
        self._idle[connection] = self._loop.time()
        if len(self._idle) > self._keep:
            self._idle.popitem(last=False)[0].close()
        if self._timer is None:
            self._start_timer()

    def forget(self, connection: Connection) -> None:
        """Remove an idle connection that the upstream has closed."""
        self._idle.pop(connection, None)

    def close(self) -> None:
        """Close all idle connections, and those that are put in later."""
        self._keep = 0
        self._stop_timer()
        while self._idle:
            self._idle.popitem()[0].abort()

    def _set_keep_alive(self, seconds: float) -> None:
        """Expire all idle connections after `seconds`, those put in before included."""
        self._keep_alive = seconds
        self._stop_timer()
        if seconds <= 0:
            while self._idle:
                self._idle.popitem()[0].close()
        elif self._idle:
            self._start_timer()

    def _start_timer(self) -> None:
        """Start the timer for the connection that expires first."""
        since = next(iter(self._idle.values()))
        self._timer = self._loop.call_at(since + self._keep_alive, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        """Close expired connections, and restart the timer for the next one."""
        self._timer = None
        due = self._loop.time() - self._keep_alive
        while self._idle and next(iter(self._idle.values())) <= due:
            self._idle.popitem(last=False)[0].close()
        if self._idle:
            self._start_timer()


class NetResponse(Response):
    """A response whose body comes from a connection, which the response holds until its end.

    `pool` takes the connection back; `None`: it is closed after this exchange. A body that came with its head is in
    `received`, so that another exchange can have the connection.
    """

    __slots__ = ("_connection", "_pool", "ended", "received")

    if TYPE_CHECKING:
        status: int
        headers: Mapping[str, str]

    def __init__(self, connection: Connection, pool: Pool | None) -> None:
        self._connection: Connection | None = connection
        self._pool = pool
        self.ended = False
        self.received = b""

    async def read(self) -> bytes:
        """Return all received bytes; empty at the end. Raises `UpstreamFailure`."""
        if self.received:
            received, self.received, self.ended = self.received, b"", True
            return received
        while (connection := self._connection) is not None:
            if connection.body:
                self.ended = connection.state == COMPLETE
                return connection.take()
            if connection.state == COMPLETE:
                break
            if connection.fault is not None:
                raise connection.fault
            await connection.progress()
        return b""

    async def pump(self, feed: Feed, drain: Drain) -> None:
        """Call `feed` with each piece as it arrives. If it returns False, reading pauses until `drain` returns."""
        if self.received:
            feed(await self.read())
        connection = self._connection
        if connection is None:
            return
        if connection.body:
            connection.full = not feed(connection.take())
        connection.sink = feed
        try:
            while connection is self._connection:
                if connection.error is not None:
                    raise connection.error
                if connection.full:
                    await drain()
                    connection.full = False
                if connection.state == COMPLETE:
                    return
                if connection.fault is not None:
                    raise connection.fault
                connection.resume()
                await connection.progress()
        finally:
            if connection is self._connection:
                connection.detach()

    async def aclose(self) -> None:
        """End the exchange; waits for nothing."""
        if self._connection is not None:
            self.release()

    def release(self) -> None:
        """Return the connection to its pool if it may serve another exchange; otherwise close it."""
        connection, self._connection = self._connection, None
        if connection is None or not connection.release():
            return
        if self._pool is None:
            connection.close()
        else:
            header = connection.headers.get("keep-alive")
            self._pool.put(connection, None if header is None else keep_alive_of(header))

    def unpacked(self, encoding: str) -> Response:
        """Return the response with a decompressed body."""
        return Response(self.status, self.headers, unpacked(encoding, self._pieces()), close=self.aclose)

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        while data := await self.read():
            yield data


def keep_alive_of(header: str) -> float | None:
    """Return the upstream's timeout for idle connections in seconds, `None` if its `keep-alive` header has none."""
    match = _TIMEOUT.search(header)
    return float(match[1]) if match else None
