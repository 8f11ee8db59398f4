"""The gate: limits the calls in flight, and rejects new calls while the server drains or is short of memory.

After `close` no new call enters. Calls in flight may finish; `interrupt` ends those that remain.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from proxy.core.errors import Unavailable
from proxy.core.snapshot import Live


def leaving() -> Unavailable:
    """Return the error for calls that arrive while the server drains."""
    return Unavailable("The server is shutting down; try again at once.", code="draining", retry_after=1.0)


class Interruptible(Protocol):
    """A call in flight."""

    def interrupt(self, why: str) -> None:
        """End the call early for the reason `why`."""
        ...


class InterruptibleTask:
    """The current task as a call in flight, for work that has no exchange of its own."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._interrupted = False

    def interrupt(self, why: str) -> None:
        """Cancel the task."""
        if self._task is not None:
            self._interrupted = True
            self._task.cancel()

    def recover(self) -> bool:
        """Return whether only `interrupt` cancelled the task, and take that cancellation back."""
        return self._interrupted and self._task is not None and self._task.uncancel() == 0


class Gate:
    """Counts the calls in flight and can interrupt them; at most the snapshot's `max_in_flight` may be in flight."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._rejecting = False  # whether every new call is rejected
        self.closed = False
        self.shedding = False
        self.storeless = False
        self._calls: set[Interruptible] = set()
        self._empty: asyncio.Event | None = None  # set when the last call leaves

    @property
    def inside(self) -> int:
        """Calls in flight."""
        return len(self._calls)

    def enter(self, call: Interruptible) -> None:
        """Occupy a slot until `leave`. Raises `Unavailable` when closed, shedding load or full."""
        if self._rejecting or len(self._calls) >= self._live.snapshot.max_in_flight:
            raise self._refusal()
        self._calls.add(call)

    def leave(self, call: Interruptible) -> None:
        """Free the slot of a call that entered."""
        self._calls.discard(call)
        if self._empty is not None and not self._calls:
            self._empty.set()

    def _refusal(self) -> Unavailable:
        if self.closed:
            return leaving()
        if self.shedding:
            message = "The server is short of memory (`server.memory_watermark`); try again shortly."
            return Unavailable(message, code="overloaded", retry_after=2.0)
        if self.storeless:
            message = "The store is unavailable, and `dependencies.store.fail` is `closed`; try again shortly."
            return Unavailable(message, code="store_unavailable", retry_after=2.0)
        most = self._live.snapshot.max_in_flight
        message = f"The server is at its limit of {most} calls (`server.max_in_flight`); try again shortly."
        return Unavailable(message, code="overloaded", retry_after=1.0)

    def close(self) -> None:
        """Reject new calls from now on."""
        self.closed = True
        self._update()

    def shed(self, *, on: bool) -> None:
        """Reject new calls until further notice, or admit them again."""
        self.shedding = on
        self._update()

    def without_store(self, *, on: bool) -> None:
        """Reject new calls while the store is unavailable, or admit them again."""
        self.storeless = on
        self._update()

    def _update(self) -> None:
        self._rejecting = self.closed or self.shedding or self.storeless

    async def emptied(self, within: float) -> bool:
        """Wait at most `within` seconds for the last call to end; return whether it has ended."""
        if not self._calls:
            return True
        self._empty = asyncio.Event()
        try:
            async with asyncio.timeout(within):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def interrupt(self) -> None:
        """Interrupt every call in flight."""
        for call in list(self._calls):
            call.interrupt("draining")
