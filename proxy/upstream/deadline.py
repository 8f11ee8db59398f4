"""A deadline on the task of one call, whose end can be moved at no cost.

`asyncio.timeout` needs a scope for each wait and a new timer each time its end moves. A timer of the event loop costs
more than most steps of a call, and hardly any deadline passes. So the deadlines of calls share one timer (`Deadlines`),
which is set to the earliest end that was known when it was set, and looks at all deadlines when it fires.
"""

from __future__ import annotations

import asyncio
from math import inf

PAUSE = 0.02  # the least seconds between two looks at all deadlines: by so much a deadline may be late


class Deadline:
    """Cancels the task that made it after `seconds`, at `end` of the event loop's clock, unless it is stopped before.

    The task catches `CancelledError`; `expired` then tells a passed deadline from any other cancellation.
    """

    __slots__ = ("_all", "_fired", "_loop", "_task", "end")

    def __init__(self, seconds: float, deadlines: Deadlines) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._all = deadlines  # which share a timer
        if deadlines.loop is not loop:
            deadlines.begin(loop)
        self._task: asyncio.Task[object] | None = asyncio.current_task(loop)
        self._fired = False
        self.end = loop.time() + seconds
        deadlines.running.add(self)
        if self.end < deadlines.due:
            deadlines.set_timer(self.end)

    def bind(self) -> None:
        """Make this the deadline of the calling task instead."""
        self._task = asyncio.current_task()

    def start(self, seconds: float) -> None:
        """End after `seconds`, counted from now, instead."""
        self.end = self._loop.time() + seconds
        self._all.running.add(self)
        if self.end < self._all.due:
            self._all.set_timer(self.end)

    def stop(self) -> None:
        """Never end, unless it is started again."""
        self._all.running.discard(self)

    def expired(self) -> bool:
        """Return whether the task was cancelled by this deadline alone, and take that cancellation back."""
        if not self._fired or self._task is None:
            return False
        self._fired = False
        return self._task.uncancel() == 0

    def expire(self) -> None:
        """Cancel the task; for `Deadlines` only."""
        if self._task is not None:
            self._fired = True
            self._task.cancel()


class Deadlines:
    """Deadlines that share a timer of the event loop; those of an earlier event loop are forgotten."""

    loop: asyncio.AbstractEventLoop | None = None
    running: set[Deadline]
    due: float  # when the timer fires, of the event loop's clock
    _timer: asyncio.TimerHandle | None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin without deadlines in an event loop."""
        self.loop, self.running, self.due, self._timer = loop, set(), inf, None

    def set_timer(self, due: float) -> None:
        """Look at all deadlines at `due`."""
        assert self.loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self.due, self._timer = due, self.loop.call_at(due, self._look)

    def _look(self) -> None:
        """End the deadlines that have passed, and wait for the earliest of the others."""
        assert self.loop is not None
        self.due, self._timer = inf, None
        now = self.loop.time()
        for deadline in [deadline for deadline in self.running if deadline.end <= now]:
            self.running.discard(deadline)
            deadline.expire()
        if self.running:
            self.set_timer(max(min([deadline.end for deadline in self.running]), now + PAUSE))
