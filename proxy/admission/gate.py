"""Room for a call: how many may be in flight at once, and whether we are leaving.

Once `close` was called no new call enters; those inside finish, and what is left when the time is over is interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from proxy.core.errors import Unavailable


def leaving() -> Unavailable:
    """The error for calls that this process no longer serves."""
    return Unavailable("The server is shutting down; try again at once.", code="draining", retry_after=1.0)


class Gate:
    """Counts the calls in flight and knows how to interrupt them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.closed = False
        self._interrupts: set[Callable[[], None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def inside(self) -> int:
        """Calls in flight."""
        return len(self._interrupts)

    @contextmanager
    def enter(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Hold a place; `interrupt` ends the call early. Raises `Unavailable` when closed or full."""
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
        """Raises `Unavailable` when closed or full."""
        if self.closed:
            raise leaving()
        if self.inside >= self.most:
            message = f"The server is at its limit of {self.most} calls (`server.max_in_flight`); try again shortly."
            raise Unavailable(message, code="overloaded", retry_after=1.0)

    def close(self) -> None:
        """Let nobody in any more."""
        self.closed = True

    async def emptied(self, within: float) -> bool:
        """Wait until the last call has left, at most `within` seconds; whether it has."""
        try:
            async with asyncio.timeout(within):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def interrupt(self) -> None:
        """End every call that is still here."""
        for interrupt in list(self._interrupts):
            interrupt()
