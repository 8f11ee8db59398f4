"""Retry budget: how many attempts beyond a call's first this process may make.

Rule 1: one budget covers retries of the same target, other keys and fallbacks, so that they never multiply.
Rule 2: no clock in this module. Time is an argument.
Rule 3: within any `SECONDS` the further attempts are at most `share` of the calls in the same time plus `floor` per
second. A call that exceeds the budget fails at once: waiting for the budget would only delay a retry storm.

Over any interval of `n` seconds that makes at most `share` x calls + `floor` x (n + SECONDS) further attempts, where
calls are those of the interval and of the `SECONDS` before it: an early burst may spend the floor of one window.

Source: "Addressing Cascading Failures" in Google's SRE book, chapter 22, for the idea of a budget over the process, and
Linkerd's and Finagle's retry budgets for the shape of a ratio with a minimum a second.
"""

from __future__ import annotations

from proxy.core.snapshot import Live
from proxy.core.window import PARTS, Window

SECONDS = 5.0
_PART = SECONDS / PARTS  # seconds


class RetryBudget:
    """Counts calls and further attempts; `share` and `floor` are those of the configuration in force."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.refused = 0  # attempts refused since the start
        self._calls = Window(SECONDS, 0)  # used as a counter; `allowed` returns the limit
        self._retries = Window(SECONDS, 0)
        self._taken = 0  # the stamp of the last one
        self._newest = 0  # calls of the current part of the window, which `_calls` does not contain yet
        self._part_start = self._part_end = 0.0

    def called(self, now: float) -> None:
        """Count a call's first attempt."""
        if now >= self._part_end:
            if self._newest:
                self._calls.take(self._newest, self._part_start)
            self._newest, self._part_start, self._part_end = 0, now, (now // _PART + 1) * _PART
        self._newest += 1

    def take(self, now: float) -> bool:
        """Return whether a further attempt may be made now, and count it if so."""
        if self._retries.used(now) + 1 > self.allowed(now):
            self.refused += 1
            return False
        self._taken = self._retries.take(1, now)
        return True

    def give_back(self, now: float, count: int = 1) -> None:
        """Undo the last `take`, because the attempt was not sent; `count` 0: it took nothing."""
        self._retries.correct(self._taken, -count, now)

    def allowed(self, now: float) -> float:
        """Return the number of further attempts allowed within the last `SECONDS`."""
        if self._newest:
            self._calls.take(self._newest, self._part_start)
            self._newest = 0
        policy = self._live.snapshot.retry
        return policy.share * self._calls.used(now) + policy.floor * SECONDS

    def used(self, now: float) -> int:
        """Return the number of further attempts in the last `SECONDS`."""
        return self._retries.used(now)
