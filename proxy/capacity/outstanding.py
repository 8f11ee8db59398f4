"""Amounts that are outstanding for a limited time: used slots, and tokens reserved until the real number is known.

The time of a release is estimated from earlier durations: reservations end in the order in which they began, after the
usual time; an overdue one is expected to take as long again as it already took.
"""

from __future__ import annotations

import math

FIRST_DURATION = 1.0  # seconds; the assumed duration before one was measured
WEIGHT = 0.2  # weight of the newest value in the moving averages
MIN_SECONDS = 0.001  # the shortest estimate


class Outstanding:
    """The outstanding amounts by reservation, with their start times."""

    __slots__ = ("_duration", "_known", "_parts")

    def __init__(self) -> None:
        self._parts: dict[str, tuple[float, int]] = {}  # reservation id -> (since, amount); oldest first
        self._duration = FIRST_DURATION
        self._known = False  # whether a duration has been measured

    @property
    def usual(self) -> float:
        """The usual duration in seconds, 0 if unknown."""
        return self._duration if self._known else 0.0

    @property
    def expected(self) -> float:
        """The expected duration in seconds of a reservation, measured or assumed."""
        return self._duration

    @property
    def any(self) -> bool:
        """Whether anything is outstanding."""
        return bool(self._parts)

    def add(self, reservation: str, amount: int, now: float) -> None:
        """Record the amount of a reservation."""
        self._parts[reservation] = (now, amount)

    def remove(self, reservation: str, now: float, *, unused: bool) -> int:
        """Remove and return the amount of a reservation; its duration is learned unless it was `unused`."""
        since, amount = self._parts.pop(reservation)
        if not unused:
            self._known = True
            self._duration += WEIGHT * (now - since - self._duration)
        return amount

    def when(self, short: float, now: float, *, share: float = 1.0, after: float = -math.inf) -> float:
        """Estimate the seconds until `short` is free, if each part that began `after` a time returns a `share`."""
        for since, amount in self._parts.values():
            if since <= after:
                continue
            short -= amount * share
            if short <= 0:
                left = since + self._duration - now
                return max(left if left > 0 else (now - since) / len(self._parts), MIN_SECONDS)
        return math.inf


class SlotCounter(Outstanding):
    """A concurrency limit: the slots in use."""

    __slots__ = ("limit", "seconds", "total")

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.seconds = 0.0
        self.limit = limit
        self.total = 0  # slots in use

    def used(self, now: float) -> int:
        """The number of slots in use."""
        return self.total

    def fits(self, amount: int, now: float) -> bool:
        """Return whether that many slots are free."""
        return self.total + amount <= self.limit

    def add(self, reservation: str, amount: int, now: float) -> None:
        self._parts[reservation] = (now, amount)
        self.total += amount

    def remove(self, reservation: str, now: float, *, unused: bool) -> int:
        since, amount = self._parts.pop(reservation)
        if not unused:
            self._known = True
            self._duration += WEIGHT * (now - since - self._duration)
        self.total -= amount
        return amount

    def until(self, amount: int, now: float) -> float:
        """Return the seconds until that many slots may be free: 0 if they are, infinity if they never will be."""
        short = self.total + amount - self.limit
        if short <= 0:
            return 0.0
        return math.inf if amount > self.limit else self.when(short, now)


class ReservedAmounts(Outstanding):
    """Reserved amounts of a window, of which a part is usually returned."""

    __slots__ = ("_share",)

    def __init__(self) -> None:
        super().__init__()
        self._share = 1.0  # the share of a reservation that is returned

    def settle(self, reservation: str, real: int, now: float, *, unused: bool) -> None:
        """End a reservation, which used `real`."""
        reserved = self.remove(reservation, now, unused=unused)
        if reserved and not unused:
            returned = 1 - real / reserved if real < reserved else 0.0
            self._share += WEIGHT * (returned - self._share)

    def until(self, short: float, now: float, *, since: float) -> float:
        """Return the seconds until `short` of the amounts reserved after `since` may be returned, else infinity."""
        return self.when(short, now, share=self._share, after=since)
