"""Limits the look-ups of unknown keys, so that guessing does not load the store or delay other callers.

Only a look-up that finds nothing counts: keys that exist are looked up without limit, also right after a start.
"""

from __future__ import annotations

from collections import OrderedDict

from proxy.core.clock import Clock
from proxy.core.errors import RateLimited

RATE, BURST = 30.0, 10.0  # failed look-ups per second, of all addresses together
ADDRESS_RATE, ADDRESS_BURST = 10.0, 5.0  # of one address
REMEMBERED = 30.0  # seconds for which an unknown key is rejected without a look-up
MAX_REMEMBERED = 10_000  # keys, and addresses


class Bucket:
    """A token bucket of failures that are still allowed."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = now

    def has_any(self, now: float) -> bool:
        """Return whether a failure is allowed now."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left >= 1.0

    def take(self, amount: float) -> None:
        """Count failures; look-ups at the same time may exceed the limit by as many as there are."""
        self._left -= amount


class Guesses:
    """Unknown keys, by digest, and how many of them were looked up recently. `share` is this process's part."""

    def __init__(self, clock: Clock, share: float = 1.0) -> None:
        self._clock = clock
        self._all = Bucket(RATE * share, max(1.0, BURST * share), clock.monotonic())
        self._addresses: OrderedDict[str | None, Bucket] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()  # until when

    def is_unknown(self, digest: bytes) -> bool:
        """Return whether the key was looked up recently and not found."""
        return self._unknown.get(digest, 0.0) > self._clock.monotonic()

    def forget(self) -> None:
        """Look unknown keys up again: after a reload they may be known under another pepper."""
        self._unknown.clear()

    def check(self, address: str | None) -> None:
        """Raise `RateLimited` if no further look-up is allowed now."""
        now = self._clock.monotonic()
        bucket = self._addresses.get(address)
        if (bucket is None or bucket.has_any(now)) and self._all.has_any(now):
            return
        raise RateLimited("Too many unknown keys were sent; retry later.", retry_after=1.0)

    def failed(self, digest: bytes, address: str | None, look_ups: int) -> None:
        """Count a key that was not found."""
        now = self._clock.monotonic()
        self._all.take(look_ups)
        bucket = self._addresses.pop(address, None) or Bucket(ADDRESS_RATE, ADDRESS_BURST, now)
        bucket.take(look_ups)
        self._addresses[address] = bucket
        self._unknown[digest] = now + REMEMBERED
        for kept in (self._addresses, self._unknown):
            while len(kept) > MAX_REMEMBERED:
                kept.popitem(last=False)
