"""A deadline on the task of one call, whose end can be moved at no cost.

`asyncio.timeout` needs a scope for each wait and a new timer each time its end moves. A timer of the event loop costs
more than most steps of a call, and hardly any deadline passes. So all deadlines of an event loop share one timer, which
is set to the earliest end that was known when it was set, and looks at all deadlines when it fires.
"""

from __future__ import annotations

import asyncio
from math import inf

PAUSE = 0.02  # the least seconds between two looks at all deadlines: by so much a deadline may be late


class Deadline:
    """Cancels the task that made it after `seconds`, at `end` of the event loop's clock, unless it is stopped before.

    The task catches `CancelledError`; `expired` then tells a passed deadline from any other cancellation.
    """

    __slots__ = ("_fired", "_task", "_timer", "end")

    def __init__(self, seconds: float) -> None:
        loop, timer = asyncio.get_running_loop(), _Timer.newest
        if timer is None or timer.loop is not loop:
            timer = _Timer.newest = _Timer(loop)
        self._timer = timer
        self._task: asyncio.Task[object] | None = asyncio.current_task(loop)
        self._fired = False
        self.end = loop.time() + seconds
        timer.running.add(self)
        if self.end < timer.due:
            timer.set(self.end)

    def bind(self) -> None:
        """Make this the deadline of the calling task instead."""
        self._task = asyncio.current_task()

    def start(self, seconds: float) -> None:
        """End after `seconds`, counted from now, instead."""
        timer = self._timer
        self.end = timer.loop.time() + seconds
        timer.running.add(self)
        if self.end < timer.due:
            timer.set(self.end)

    def stop(self) -> None:
        """Never end, unless it is started again."""
        self._timer.running.discard(self)

    def expired(self) -> bool:
        """Return whether the task was cancelled by this deadline alone, and take that cancellation back."""
        if not self._fired or self._task is None:
            return False
        self._fired = False
        return self._task.uncancel() == 0

    def expire(self) -> None:
        """Cancel the task; for the timer only."""
        if self._task is not None:
            self._fired = True
            self._task.cancel()


class _Timer:
    """The timer of the deadlines of one event loop."""

    newest: _Timer | None = None  # a process has one event loop

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.running: set[Deadline] = set()
        self.due = inf  # when the timer fires, of the event loop's clock
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due: float) -> None:
        """Fire at `due`."""
        if self._handle is not None:
            self._handle.cancel()
        self.due, self._handle = due, self.loop.call_at(due, self._look)

    def _look(self) -> None:
        """End the deadlines that have passed, and wait for the earliest of the others."""
        self.due, self._handle = inf, None
        now = self.loop.time()
        for deadline in [deadline for deadline in self.running if deadline.end <= now]:
            self.running.discard(deadline)
            deadline.expire()
        if self.running:
            self.set(max(min([deadline.end for deadline in self.running]), now + PAUSE))
