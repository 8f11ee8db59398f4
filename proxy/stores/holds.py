"""What is held for a while: places of a limited concurrency, and tokens reserved until the real ones are known.

When something will be given back cannot be known; it is estimated from how long it was held before. Those who came
first leave first, after the usual time; who is overdue is expected to take as long again as it already took.
"""

from __future__ import annotations

import math

HOLD = 1.0  # seconds: how long something is held, before we have seen one
WEIGHT = 0.2  # of the newest in the moving averages
SOONEST = 0.001  # seconds: no estimate is shorter


class Holds:
    """Who holds how much, and since when."""

    __slots__ = ("_held", "_hold", "_known")

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, int]] = {}  # receipt -> since, amount; oldest first
        self._hold = HOLD
        self._known = False  # whether one has been seen

    @property
    def usual(self) -> float:
        """Seconds for which something is held, 0 where that is not known."""
        return self._hold if self._known else 0.0

    def hold(self, owner: str, amount: int, now: float) -> None:
        """`owner` has that much."""
        self._held[owner] = (now, amount)

    def release(self, owner: str, now: float, *, unused: bool) -> int:
        """`owner` gives it back; how long it was held is learned, unless nothing was done with it."""
        since, amount = self._held.pop(owner)
        if not unused:
            self._known = True
            self._hold += WEIGHT * (now - since - self._hold)
        return amount

    def when(self, short: float, now: float, *, share: float = 1.0, after: float = -math.inf) -> float:
        """An estimate of the seconds until `short` will have been given back, of each hold `after` a time a `share`."""
        for since, held in self._held.values():
            if since <= after:
                continue
            short -= held * share
            if short <= 0:
                left = since + self._hold - now
                return max(left if left > 0 else (now - since) / len(self._held), SOONEST)
        return math.inf


class Places(Holds):
    """A limited concurrency."""

    __slots__ = ("_used", "limit", "seconds")

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.seconds = 0.0
        self.limit = limit
        self._used = 0

    def used(self, now: float) -> int:
        """Places held."""
        return self._used

    def hold(self, owner: str, amount: int, now: float) -> None:
        super().hold(owner, amount, now)
        self._used += amount

    def release(self, owner: str, now: float, *, unused: bool) -> int:
        amount = super().release(owner, now, unused=unused)
        self._used -= amount
        return amount

    def until(self, amount: int, now: float) -> float:
        """Seconds until there may be so many places: 0 if there are, infinity if there never will be."""
        short = self._used + amount - self.limit
        if short <= 0:
            return 0.0
        return math.inf if amount > self.limit else self.when(short, now)


class Reserved(Holds):
    """Amounts of a window that are reserved, and of which a part is usually given back."""

    __slots__ = ("_share",)

    def __init__(self) -> None:
        super().__init__()
        self._share = 1.0  # of a reservation that is given back

    def settle(self, owner: str, real: int, now: float, *, unused: bool) -> None:
        """`owner` is done, and `real` is what it used."""
        reserved = self.release(owner, now, unused=unused)
        if reserved and not unused:
            back = 1 - real / reserved if real < reserved else 0.0
            self._share += WEIGHT * (back - self._share)

    def until(self, short: float, now: float, *, since: float) -> float:
        """Seconds until `short` of what was reserved `since` then may be given back; infinity if that is not enough."""
        return self.when(short, now, share=self._share, after=since)
