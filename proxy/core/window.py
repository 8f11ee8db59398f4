"""A sliding window that counts: so much in any interval of so many seconds, and no more.

Rule 1: no clock in here. Time comes in as an argument, and a time before the last one counts as the last one.
Rule 2: the window is cut into `PARTS` parts on a fixed grid. What is taken is counted in the part of its moment, and a
part counts until every moment in it is more than `seconds` ago. No interval of that length, with both its ends, ever
holds more than `limit`; a taker waits at most one part too long, which is less than 1 % of the throughput.
Rule 3: memory is at most `PARTS + 2` small numbers, whatever the traffic.
Rule 4: a window that is restored keeps its grid, wherever the clock began anew: nothing is rounded, so nothing adds up
over many restarts.

    |part|part|part| ...                        |part|part|
      ^ taken here                                     ^ gone here, 1 part after `seconds` at the latest
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from proxy.core.saved import MOST_AMOUNT, saved_amount, saved_seconds

PARTS = 128


class Window:
    """What was taken in the last `seconds`. `limit` may be set anew at any time; what is counted stays.

    `origin`, which is not in the future, is where the grid begins.
    """

    __slots__ = ("_last", "_origin", "_parts", "_used", "_width", "limit", "seconds")

    def __init__(self, seconds: float, limit: int, origin: float = 0.0) -> None:
        self.seconds = seconds
        self.limit = limit
        self._origin = origin
        self._width = seconds / PARTS
        self._parts: dict[int, int] = {}  # number of the part on the grid -> amount, oldest first
        self._used = 0
        self._last = -1  # the newest part

    @classmethod
    def restored(cls, row: Mapping[str, Any], shift: float, now: float) -> Window:
        """What `export` said, with times earlier by `shift`; what lies in the future is taken now.

        Raises `ValueError`, `TypeError` or `KeyError` for what `export` never says.
        """
        seconds, limit = saved_seconds(row["seconds"]), saved_amount(row["limit"])
        if seconds <= 0:
            raise ValueError("a window has a length")
        origin = min(saved_seconds(row["origin"]) - shift, now)
        window = cls(seconds, limit, origin)
        parts, amounts = map(saved_amount, row["parts"]), map(saved_amount, row["amounts"])
        for part, amount in sorted(zip(parts, amounts, strict=True)):
            middle = origin + (part + 0.5) * seconds / PARTS
            window.take(amount, min(middle, now))
        return window

    def export(self, shift: float, now: float) -> dict[str, Any] | None:
        """What was taken, as JSON values with times later by `shift`; None when nothing of it counts any more.

        Until then it stays the same while time goes by, and it costs little: parts that are gone may be among it.
        """
        if not self._used or self._number(now) - self._last > PARTS:
            return None
        amounts = list(self._parts.values())
        if self._used > MOST_AMOUNT:  # a provider may report any number
            amounts = [min(amount, MOST_AMOUNT) for amount in amounts]
        return {
            "seconds": self.seconds,
            "limit": min(self.limit, MOST_AMOUNT),
            "origin": self._origin + shift,
            "parts": list(self._parts),
            "amounts": amounts,
        }

    def used(self, now: float) -> int:
        """What counts at the moment."""
        self._expire(now)
        return self._used

    def fits(self, amount: int, now: float) -> bool:
        """Whether `amount` may be taken now."""
        self._expire(now)
        return self._used + amount <= self.limit

    def take(self, amount: int, now: float) -> int:
        """Count `amount` as taken now, whether it fits or not; the stamp is for `correct`."""
        self._expire(now)
        part = max(self._last, self._number(now))
        self._parts[part] = self._parts.get(part, 0) + amount
        self._used += amount
        self._last = part
        return part

    def correct(self, stamp: int, delta: int, now: float) -> None:
        """Add `delta` to what was taken under `stamp`, above the limit too: it has happened.

        When that moment has left the window there is nothing to lower, and a raise counts from now on.
        """
        self._expire(now)
        before = self._parts.get(stamp)
        if before is not None:
            after = max(0, before + delta)
            self._parts[stamp] = after
            self._used += after - before
        elif delta > 0:
            self.take(delta, now)

    def when(self, amount: int, now: float) -> float:
        """Seconds until `amount` will fit if nothing else is taken: 0 if it fits, infinity if it never does."""
        if self.fits(amount, now):
            return 0.0
        left = self._used
        for part, taken in self._parts.items():
            left -= taken
            if left + amount <= self.limit:
                return self._until(part, now)
        return math.inf

    def _number(self, now: float) -> int:
        """The part of a moment."""
        return int((now - self._origin) // self._width)

    def _expire(self, now: float) -> None:
        newest = self._number(now)
        while self._parts:
            part = next(iter(self._parts))
            if newest - part <= PARTS:
                return
            self._used -= self._parts.pop(part)

    def _until(self, part: int, now: float) -> float:
        """Seconds until `part` is gone, never a rounding error too few."""
        number = part + PARTS + 1
        length = number * self._width
        moment = self._origin + length
        while self._number(moment) < number:
            moment += math.ulp(max(length, abs(moment)))
        seconds = moment - now
        while now + seconds < moment:
            seconds += math.ulp(moment)
        return seconds
