"""Pool of the idle connections to one origin: last in, first out.

One timer closes connections that expire; no operation scans all connections. The number of connections in use is
limited by `limits.concurrency` and `server.max_in_flight`, not here.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from proxy.upstream.net.connection import Connection

MARGIN = 1.0  # seconds before the upstream's own keep-alive timeout, for requests in transit


class Pool:
    """Keeps up to `keep` idle connections for `keep_alive` seconds, or less if the upstream sends a shorter timeout."""

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
