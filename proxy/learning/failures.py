"""Which failures of a service are logged: it tries again every few seconds, and each failure is logged once an hour."""

from __future__ import annotations

from proxy.core.clock import Clock

AGAIN = 3600.0  # seconds after which a failure is logged again
MOST = 20  # different failures in that time


class Failures:
    """Remembers what was logged."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logged: dict[str, float] = {}  # when, by type and text

    def is_new(self, exc: Exception) -> bool:
        """Return whether to log a failure."""
        now, text = self._clock.monotonic(), f"{type(exc).__name__}: {exc}"
        self._logged = {each: at for each, at in self._logged.items() if now - at < AGAIN}
        if text in self._logged or len(self._logged) >= MOST:
            return False
        self._logged[text] = now
        return True
