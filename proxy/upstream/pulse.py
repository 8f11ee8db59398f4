"""Event-loop lag: the longest delay seen recently.

Times measured by this process include its own delays. When it is overloaded, every upstream appears slow; judging
targets by such times would wrongly open their breakers.
"""

from __future__ import annotations

from proxy.core.clock import Clock

INTERVAL_SECONDS = 0.25  # between two measurements
LAG_WINDOW_SECONDS = 5.0  # a delay counts for at least this time, and at most twice as long


class Pulse:
    """Measures by how much timers of the event loop are late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._part = 0  # the number of the current interval of `LAG_WINDOW_SECONDS`
        self._now = self._before = 0.0  # the longest delay of this interval and of the previous one

    @property
    def lag(self) -> float:
        """The longest delay in seconds in this interval of `LAG_WINDOW_SECONDS` and in the previous one."""
        self._rotate()
        return max(self._now, self._before)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            began = self._clock.monotonic()
            await self._clock.sleep(INTERVAL_SECONDS)
            lag = self._clock.monotonic() - began - INTERVAL_SECONDS
            self._rotate()
            self._now = max(self._now, lag)

    def _rotate(self) -> None:
        part = int(self._clock.monotonic() // LAG_WINDOW_SECONDS)
        if part != self._part:
            self._before = self._now if part == self._part + 1 else 0.0
            self._now = 0.0
            self._part = part
