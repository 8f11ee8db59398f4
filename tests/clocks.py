"""A clock for tests with real sockets, where time must go by for the kernel too."""

from __future__ import annotations

from proxy.core.clock import SystemClock


class ShiftedClock(SystemClock):
    """The machine's clock, which a test may set forward: what rests by it is awake at once."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead

    def time(self) -> float:
        return super().time() + self._ahead

    def pass_(self, seconds: float) -> None:
        """Let time go by."""
        self._ahead += seconds


class StoppedClock(ShiftedClock):
    """The same, standing still in between: what is computed from it is exact."""

    def __init__(self) -> None:
        super().__init__()
        self._monotonic, self._time = SystemClock().monotonic(), SystemClock().time()

    def monotonic(self) -> float:
        return self._monotonic + self._ahead

    def time(self) -> float:
        return self._time + self._ahead
