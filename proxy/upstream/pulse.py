"""How late this process is: the longest time for which its event loop has lately kept somebody waiting.

Whoever measures others by the clock measures this process too. Where it is overloaded, everything that it waits for
seems slow, and to rest its targets for that would be the worst that it could do.
"""

from __future__ import annotations

from proxy.core.clock import Clock

EVERY = 0.25  # seconds between two looks
KEPT = 5.0  # seconds for which a delay counts, at least; at most twice that


class Pulse:
    """Sleeps, and notes by how much it overslept."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._part = 0  # of time, `KEPT` seconds long
        self._now = self._before = 0.0  # the longest delay of this part, and of the one before it

    @property
    def late(self) -> float:
        """Seconds, the most of the last `KEPT` ones."""
        self._turn()
        return max(self._now, self._before)

    async def run(self) -> None:
        """Look until cancelled."""
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
