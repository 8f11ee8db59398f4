"""Event-loop lag: the longest delay seen recently.

Times measured by this process include its own delays. When it is overloaded, every upstream appears slow; judging
targets by such times would wrongly open their breakers.
"""

from __future__ import annotations

from proxy.core.clock import Clock

EVERY = 0.25  # seconds between two measurements
KEPT = 5.0  # seconds; a delay counts for at least this time, and at most twice as long


class Pulse:
    """Measures by how much timers of the event loop are late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._part = 0  # the number of the current interval of `KEPT` seconds
        self._now = self._before = 0.0  # the longest delay of this interval and of the previous one

    @property
    def late(self) -> float:
        """The longest delay in seconds within the last `KEPT` seconds."""
        self._turn()
        return max(self._now, self._before)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            began = self._clock.monotonic()
            await self._clock.sleep(EVERY)
            late = self._clock.monotonic() - began - EVERY
            self._turn()
            self._now = max(self._now, late)

    def _turn(self) -> None:
        part = int(self._clock.monotonic() // KEPT)
        if part != self._part:
            self._before = self._now if part == self._part + 1 else 0.0
            self._now = 0.0
            self._part = part
