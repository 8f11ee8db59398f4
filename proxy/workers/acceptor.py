"""Accepts connections and gives them to the workers in turn, or to the one that has fewer than the others.

So a few keep-alive connections are spread evenly on every system: with `SO_REUSEPORT` the kernel spreads them by a hash
on Linux and not at all on macOS, and with a shared listener the worker that wakes up first takes most.

Open connections are counted at intervals, and a difference matters once two counts have shown it: of two workers whose
clients have just left, one may have noticed it and the other not, and new connections must not all go to the first.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterable

from proxy.core.clock import Clock
from proxy.workers.process import Worker

BACKLOG = 2048
RETRY = 0.02  # seconds until it accepts again after no worker could take a connection, or it had no descriptors
COUNT_EVERY = 0.25  # seconds
_BATCH = 64  # connections accepted at once


class Acceptor:
    """The listener. It is watched only while a worker of `serving` can take connections; others wait in the kernel."""

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        clock: Clock,
        serving: Callable[[], Iterable[Worker]],
    ) -> None:
        self._listener = listener
        self._selector = selector
        self._clock = clock
        self._serving = serving
        self._held: socket.socket | None = None  # a connection that no worker could take
        self._turn = 0
        self._watched = False
        self._paused_until: float | None = None  # when it accepts again
        self._count_at = 0.0

    def listen(self) -> None:
        """Open the port."""
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)

    def close(self) -> None:
        """Close the port and the connection that is left."""
        self._listener.close()
        if self._held is not None:
            self._held.close()

    def due(self) -> float:
        """Return when `update` is to be called next."""
        return self._count_at if self._paused_until is None else min(self._count_at, self._paused_until)

    def update(self) -> None:
        """Follow the workers and the time."""
        if self._clock.monotonic() >= self._count_at:
            self._count_at = self._clock.monotonic() + COUNT_EVERY
            self._count()
        if self._paused_until is not None and self._clock.monotonic() >= self._paused_until:
            connection, self._held, self._paused_until = self._held, None, None
            if connection is not None:
                self._give(connection)
        wanted = self._paused_until is None and any(True for _ in self._serving())
        if wanted and not self._watched:
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        elif not wanted and self._watched:
            self._selector.unregister(self._listener)
        self._watched = wanted

    def _accept(self, _: int) -> None:
        for _ in range(_BATCH):
            if self._paused_until is not None:
                return
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # there are no descriptors, and trying again at once would change nothing
                self._pause()
                return
            self._give(connection)

    def _count(self) -> None:
        counts = {worker: worker.open for worker in self._serving()}
        for worker, count in counts.items():
            worker.counted(count - min(counts.values()))

    def _give(self, connection: socket.socket) -> None:
        """Give a connection to the worker with the lowest load; in turn where several have it."""
        workers = list(self._serving())
        self._turn += 1
        for worker in sorted(workers, key=lambda worker: (worker.load, (worker.index + self._turn) % len(workers))):
            if worker.give(connection):
                connection.close()
                return
        self._held = connection
        self._pause()

    def _pause(self) -> None:
        self._paused_until = self._clock.monotonic() + RETRY
