"""A deadline on the task of one call, whose end can be moved at no cost.

`asyncio.timeout` needs a scope for each wait and a new timer each time its end moves. A stream moves its end with every
piece, so a `Deadline` has one timer, which looks at the end only when it fires.
"""

from __future__ import annotations

import asyncio


class Deadline:
    """Cancels the task that made it after `seconds`, at `end` of the event loop's clock, unless it is stopped before.

    The task catches `CancelledError`; `expired` then tells a passed deadline from any other cancellation.
    """

    __slots__ = ("_fired", "_handle", "_loop", "_task", "end")

    def __init__(self, seconds: float) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = asyncio.current_task(loop)
        self._fired = False
        self.end = loop.time() + seconds
        self._handle: asyncio.TimerHandle | None = loop.call_at(self.end, self._check)

    def bind(self) -> None:
        """Make this the deadline of the calling task instead."""
        self._task = asyncio.current_task()

    def start(self, seconds: float) -> None:
        """End after `seconds`, counted from now, instead."""
        self.end = self._loop.time() + seconds
        handle = self._handle
        if handle is None or handle.cancelled() or handle.when() > self.end:
            if handle is not None:
                handle.cancel()
            self._handle = self._loop.call_at(self.end, self._check)

    def stop(self) -> None:
        """Remove the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def expired(self) -> bool:
        """Return whether the task was cancelled by this deadline alone, and take that cancellation back."""
        if not self._fired or self._task is None:
            return False
        self._fired = False
        return self._task.uncancel() == 0

    def _check(self) -> None:
        self._handle = None
        if self._loop.time() < self.end:
            self._handle = self._loop.call_at(self.end, self._check)
        elif self._task is not None:
            self._fired = True
            self._task.cancel()
