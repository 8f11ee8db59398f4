"""Holds of limited duration: concurrency slots, and tokens reserved until the real number is known.

The time of a release is estimated from earlier hold times: holds end in the order in which they began, after the usual
time; an overdue hold is expected to take as long again as it already took.
"""

from __future__ import annotations

import math

HOLD = 1.0  # seconds; the assumed hold time before one was measured
WEIGHT = 0.2  # weight of the newest value in the moving averages
SOONEST = 0.001  # seconds; the shortest estimate


class Holds:
    """The amounts held, by reservation, with their start times."""

    __slots__ = ("_held", "_hold", "_known")

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, int]] = {}  # reservation id -> (since, amount); oldest first
        self._hold = HOLD
        self._known = False  # whether a hold time has been measured

    @property
    def usual(self) -> float:
        """The usual hold time in seconds, 0 if unknown."""
        return self._hold if self._known else 0.0

    def hold(self, owner: str, amount: int, now: float) -> None:
        """Record that `owner` holds `amount`."""
        self._held[owner] = (now, amount)

    def release(self, owner: str, now: float, *, unused: bool) -> int:
        """Release what `owner` holds; the hold time is learned unless the hold was unused."""
        since, amount = self._held.pop(owner)
        if not unused:
            self._known = True
            self._hold += WEIGHT * (now - since - self._hold)
        return amount

    def when(self, short: float, now: float, *, share: float = 1.0, after: float = -math.inf) -> float:
        """Estimate the seconds until `short` is released, if each hold that began `after` a time returns a `share`."""
        for since, held in self._held.values():
            if since <= after:
                continue
            short -= held * share
            if short <= 0:
                left = since + self._hold - now
                return max(left if left > 0 else (now - since) / len(self._held), SOONEST)
        return math.inf


class Places(Holds):
    """A concurrency limit."""

    __slots__ = ("_used", "limit", "seconds")

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.seconds = 0.0
        self.limit = limit
        self._used = 0

    def used(self, now: float) -> int:
        """The number of slots in use."""
        return self._used

    def hold(self, owner: str, amount: int, now: float) -> None:
        super().hold(owner, amount, now)
        self._used += amount

    def release(self, owner: str, now: float, *, unused: bool) -> int:
        amount = super().release(owner, now, unused=unused)
        self._used -= amount
        return amount

    def until(self, amount: int, now: float) -> float:
        """Return the seconds until that many slots may be free: 0 if they are, infinity if they never will be."""
        short = self._used + amount - self.limit
        if short <= 0:
            return 0.0
        return math.inf if amount > self.limit else self.when(short, now)


class Reserved(Holds):
    """Reserved amounts of a window, of which a part is usually returned."""

    __slots__ = ("_share",)

    def __init__(self) -> None:
        super().__init__()
        self._share = 1.0  # the share of a reservation that is returned

    def settle(self, owner: str, real: int, now: float, *, unused: bool) -> None:
        """End the reservation of `owner`, which used `real`."""
        reserved = self.release(owner, now, unused=unused)
        if reserved and not unused:
            back = 1 - real / reserved if real < reserved else 0.0
            self._share += WEIGHT * (back - self._share)

    def until(self, short: float, now: float, *, since: float) -> float:
        """Return the seconds until `short` of the amounts reserved after `since` may be returned, else infinity."""
        return self.when(short, now, share=self._share, after=since)
