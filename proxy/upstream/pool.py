"""Connections that are kept: each is one request's at a time, and the one that was used last is used next.

httpcore makes the connections and speaks HTTP on them; its own pool looks at every connection for every request, and
offers an idle one to all who wait for one. With some hundreds of connections that is most of what a gateway does.
Here nobody waits: who finds no idle connection gets a new one, and nothing is looked at but both ends of a stack, and
the place that was not asked for longest: a provider that is gone leaves no connections behind.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Protocol, cast

import anyio
import httpcore

Where = tuple[bytes, bytes, int]  # scheme, host, port


class Body(Protocol):
    """An answer's body as httpcore gives it."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


class Pool:
    """Takes the place of httpcore's pool below httpx; `maker` is such a pool, of which only the making is used."""

    def __init__(self, maker: httpcore.AsyncConnectionPool, *, keep: int) -> None:
        self._maker = maker
        self._keep = keep  # idle connections to one place
        self._idle: OrderedDict[Where, deque[httpcore.AsyncConnectionInterface]] = OrderedDict()  # last used last

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send; the connection is kept or closed with the answer's end. Raises httpcore's errors."""
        if request.url.scheme not in (b"http", b"https"):
            raise httpcore.UnsupportedProtocol("the URL is not http or https")
        origin = request.url.origin
        where = (origin.scheme, origin.host, origin.port)
        connection = await self._take(where) or self._maker.create_connection(origin)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            await _close(connection)
            raise
        content = _Content(cast("Body", response.stream), connection, partial(self._give_back, where, connection))
        return httpcore.Response(
            response.status, headers=response.headers, content=content, extensions=response.extensions
        )

    async def aclose(self) -> None:
        """Close what is idle now, and what is given back later."""
        self._keep = 0
        while self._idle:
            _, idle = self._idle.popitem()
            while idle:
                await _close(idle.pop())

    async def _take(self, where: Where) -> httpcore.AsyncConnectionInterface | None:
        """The connection that was used last, unless its far side has closed it, as it will have all the older ones."""
        idle = self._idle.get(where)
        while idle:
            connection = idle.pop()
            if connection.is_idle() and not connection.has_expired():
                return connection
            await _close(connection)
        return None

    async def _give_back(self, where: Where, connection: httpcore.AsyncConnectionInterface) -> None:
        if not self._keep or not connection.is_idle() or _has_more(connection):
            await _close(connection)
            return
        idle = self._idle.setdefault(where, deque())
        idle.append(connection)
        self._idle.move_to_end(where)
        while idle and (len(idle) > self._keep or idle[0].has_expired()):
            await _close(idle.popleft())
        await self._forget()

    async def _forget(self) -> None:
        """Close what is left of places that nobody asks any more: even their last connection is too old."""
        while self._idle:
            where, idle = next(iter(self._idle.items()))
            if idle and not idle[-1].has_expired():
                return
            del self._idle[where]
            while idle:
                await _close(idle.pop())


class _Content:
    """An answer's body; `done` is called once, when it is closed."""

    def __init__(
        self, inner: Body, connection: httpcore.AsyncConnectionInterface, done: Callable[[], Awaitable[None]]
    ) -> None:
        self._inner = inner
        self._connection = connection
        self._done = done
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._inner.__aiter__()

    async def aclose(self) -> None:
        """End the answer, and with it the request's hold on its connection."""
        if not self._closed:
            self._closed = True
            with anyio.CancelScope(shield=True):
                try:
                    await self._inner.aclose()
                    await self._done()
                except BaseException:  # an `asyncio.timeout` knows no shield, and nobody would close it later
                    await _close(self._connection)
                    raise


async def _close(connection: httpcore.AsyncConnectionInterface) -> None:
    with anyio.CancelScope(shield=True):
        await connection.aclose()


def _has_more(connection: object) -> bool:
    """Whether more was read than the answer: what nobody asked for would be taken for the next request's answer.

    httpcore keeps it to itself, inside its connections to proxies or through them.
    """
    while (inner := getattr(connection, "_connection", None)) is not None:
        connection = inner
    state = getattr(connection, "_h11_state", None)
    return state is not None and bool(state.trailing_data[0])
