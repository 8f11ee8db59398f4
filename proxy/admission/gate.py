"""The gate: limits the calls in flight, and rejects new calls while the server drains or is short of memory.

After `close` no new call enters. Calls in flight may finish; `interrupt` ends those that remain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from proxy.core.errors import Unavailable


def leaving() -> Unavailable:
    """Return the error for calls that arrive while the server drains."""
    return Unavailable("The server is shutting down; try again at once.", code="draining", retry_after=1.0)


class Gate:
    """Counts the calls in flight and can interrupt them; at most `most` may be in flight."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = most  # `most`, or 0 while every new call is rejected: one comparison for a call
        self.closed = False
        self.shedding = False
        self._interrupts: set[Callable[[], None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def most(self) -> int:
        """The maximum number of calls in flight."""
        return self._most

    @most.setter
    def most(self, most: int) -> None:
        self._most = most
        self._update()

    @property
    def inside(self) -> int:
        """Calls in flight."""
        return len(self._interrupts)

    @contextmanager
    def enter(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Occupy a slot; `interrupt` ends the call early. Raises `Unavailable` when closed or full."""
        self.check()
        self._interrupts.add(interrupt)
        self._empty.clear()
        try:
            yield
        finally:
            self._interrupts.discard(interrupt)
            if not self._interrupts:
                self._empty.set()

    def check(self) -> None:
        """Raise `Unavailable` when closed, shedding load or full."""
        if len(self._interrupts) >= self._free:
            raise self._refusal()

    def _refusal(self) -> Unavailable:
        if self.closed:
            return leaving()
        if self.shedding:
            message = "The server is short of memory (`server.memory_watermark`); try again shortly."
            return Unavailable(message, code="overloaded", retry_after=2.0)
        message = f"The server is at its limit of {self._most} calls (`server.max_in_flight`); try again shortly."
        return Unavailable(message, code="overloaded", retry_after=1.0)

    def close(self) -> None:
        """Reject new calls from now on."""
        self.closed = True
        self._update()

    def shed(self, *, on: bool) -> None:
        """Reject new calls until further notice, or admit them again."""
        self.shedding = on
        self._update()

    def _update(self) -> None:
        self._free = 0 if self.closed or self.shedding else self._most

    async def emptied(self, within: float) -> bool:
        """Wait at most `within` seconds for the last call to end; return whether it has ended."""
        try:
            async with asyncio.timeout(within):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def interrupt(self) -> None:
        """Interrupt every call in flight."""
        for interrupt in list(self._interrupts):
            interrupt()
