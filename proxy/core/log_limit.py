"""A limit for log lines that may repeat at every call."""

from __future__ import annotations

import math

SECONDS = 1.0  # between two lines


class LogLimit:
    """Lets one line through each second, and counts the others."""

    __slots__ = ("_logged_at", "_skipped")

    def __init__(self) -> None:
        self._logged_at = -math.inf
        self._skipped = 0

    def passes(self, now: float) -> int | None:
        """Return how many lines were skipped since the last one; `None` if this one is skipped too."""
        if now - self._logged_at < SECONDS:
            self._skipped += 1
            return None
        skipped, self._skipped = self._skipped, 0
        self._logged_at = now
        return skipped
