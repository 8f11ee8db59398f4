"""A sliding-window counter: at most `limit` in any interval of `seconds`.

Rule 1: no clock in this module. Time is an argument, and a time before the last one counts as the last one.
Rule 2: the window is divided into `PARTS` parts on a fixed grid. An amount counts in the part of its time, and a part
counts until all of it is more than `seconds` ago. No closed interval of that length ever holds more than `limit`; a
caller waits at most one part too long, which costs less than 1 % of the throughput.
Rule 3: memory is at most `PARTS + 2` small numbers, whatever the traffic.
Rule 4: a restored window keeps its grid although the monotonic clock starts anew: no rounding accumulates over many
restarts.

    |part|part|part| ...                        |part|part|
      ^ taken here                                     ^ expires here, at most 1 part after `seconds`
"""

from __future__ import annotations

import math

from proxy.core.saved import MAX_AMOUNT, SavedWindow

PARTS = 128


class Window:
    """The amounts taken in the last `seconds`. `limit` may be changed at any time; the count stays.

    The grid begins at `origin`, which must not be in the future.
    """

    __slots__ = ("_check_at", "_last", "_origin", "_parts", "_width", "limit", "seconds", "total")

    def __init__(self, seconds: float, limit: int, origin: float = 0.0) -> None:
        self.seconds = seconds
        self.limit = limit
        self._origin = origin
        self._width = seconds / PARTS
        self._parts: dict[int, int] = {}  # number of the part on the grid -> amount, oldest first
        self.total = 0  # what counted when the window was last used; `used` returns what counts now
        self._last = -1  # number of the newest part
        self._check_at = math.inf  # before this time no part has expired

    @classmethod
    def restored(cls, saved: SavedWindow, shift: float, now: float) -> Window:
        """Return the window that `export` described, with times earlier by `shift`; future times become `now`.

        Raises `ValueError` if `export` cannot have returned `saved`.
        """
        origin = min(saved.origin - shift, now)
        window = cls(saved.seconds, saved.limit, origin)
        for part, amount in sorted(zip(saved.parts, saved.amounts, strict=True)):
            middle = origin + (part + 0.5) * saved.seconds / PARTS
            window.take(amount, min(middle, now))
        return window

    def export(self, name: str, shift: float, now: float) -> SavedWindow | None:
        """Return the state to save under `name`, with times later by `shift`; `None` once everything has expired.

        Until then the result does not change with time, because it may include expired parts; that makes it cheap.
        """
        if not self.total or self._number(now) - self._last > PARTS:
            return None
        amounts = list(self._parts.values())
        if self.total > MAX_AMOUNT:  # providers may report any number
            amounts = [min(amount, MAX_AMOUNT) for amount in amounts]
        return SavedWindow(
            name=name,
            seconds=self.seconds,
            limit=min(self.limit, MAX_AMOUNT),
            origin=self._origin + shift,
            parts=list(self._parts),
            amounts=amounts,
        )

    def used(self, now: float) -> int:
        """Return the amount that counts now."""
        if now >= self._check_at:
            self._expire(now)
        return self.total

    def fits(self, amount: int, now: float) -> bool:
        """Return whether `amount` fits now."""
        if now >= self._check_at:
            self._expire(now)
        return self.total + amount <= self.limit

    def take(self, amount: int, now: float) -> int:
        """Count `amount` as taken now, whether it fits or not; return a stamp for `correct`."""
        if now >= self._check_at:
            self._expire(now)
        part = int((now - self._origin) // self._width)
        if part <= self._last:
            part = self._last
        else:
            self._last = part
        parts = self._parts
        if not parts:
            self._check_at = self._may_expire(part)
        parts[part] = parts.get(part, 0) + amount
        self.total += amount
        return part

    def correct(self, stamp: int, delta: int, now: float) -> None:
        """Add `delta` to the amount taken under `stamp`, even beyond the limit.

        If that time has left the window, a negative `delta` has no effect and a positive one counts from now on.
        """
        if now >= self._check_at:
            self._expire(now)
        before = self._parts.get(stamp)
        if before is not None:
            after = max(0, before + delta)
            self._parts[stamp] = after
            self.total += after - before
        elif delta > 0:
            self.take(delta, now)

    def when(self, amount: int, now: float) -> float:
        """Return the seconds until `amount` fits if nothing else is taken: 0 if it fits, infinity if it never does."""
        if self.fits(amount, now):
            return 0.0
        left = self.total
        for part, taken in self._parts.items():
            left -= taken
            if left + amount <= self.limit:
                return self._until(part, now)
        return math.inf

    def _number(self, now: float) -> int:
        """Return the number of the part of a time."""
        return int((now - self._origin) // self._width)

    def _expire(self, now: float) -> None:
        newest = self._number(now)
        while self._parts:
            part = next(iter(self._parts))
            if newest - part <= PARTS:
                self._check_at = self._may_expire(part)
                return
            self.total -= self._parts.pop(part)
        self._check_at = math.inf

    def _may_expire(self, part: int) -> float:
        """Return a time shortly before `part` expires: early enough that rounding does not matter."""
        return self._origin + (part + PARTS + 0.999) * self._width

    def _until(self, part: int, now: float) -> float:
        """Return the seconds until `part` expires, rounded up if at all."""
        number = part + PARTS + 1
        length = number * self._width
        moment = self._origin + length
        while self._number(moment) < number:
            moment += math.ulp(max(length, abs(moment)))
        seconds = moment - now
        while now + seconds < moment:
            seconds += math.ulp(moment)
        return seconds
