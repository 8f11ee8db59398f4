"""A clock that a test sets forward together with the timers of a server that runs in a thread.

`ShiftedClock` moves what is compared with the clock: rests, breakers, windows. What waits on a timer of the event loop
(a timeout of an attempt, a place in the queue, the prober's next look) would sleep on; here it wakes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from tests.support.clocks import StoppedClock
from tests.support.waiting import PATIENCE


class MovedClock(StoppedClock):
    """Stands still but for `pass_`, so that what is computed from it is exact; the loop's timers go on by themselves.

    Set it forward only while no request is on its way in and no connection is being made: their timeouts go by it too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._taken = threading.Event()

    async def sleep(self, seconds: float) -> None:
        self._take(asyncio.get_running_loop())
        await super().sleep(seconds)

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        self._take(asyncio.get_running_loop())
        return await super().wait_for(event, seconds)

    def pass_(self, seconds: float) -> None:
        """Let time go by; whoever waited for it is on its way when this returns."""
        assert self._taken.wait(PATIENCE), "nobody has ever waited by this clock"
        assert self._loop is not None
        super().pass_(seconds)
        self._loop.call_soon_threadsafe(_look_at_the_time)

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the server's loop go by this clock; it waits by it as soon as it runs."""
        if self._loop is None:
            loop.time = self._ahead_of(loop.time)  # type: ignore[method-assign]
            self._loop = loop
            self._taken.set()

    def _ahead_of(self, time: Callable[[], float]) -> Callable[[], float]:
        return lambda: time() + self._ahead


def _look_at_the_time() -> None:
    """Nothing to do: to be called is enough for a loop to look for timers that are over."""
