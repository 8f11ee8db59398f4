"""When a worker that has ended is replaced, and when that is given up. Pure: time comes in as an argument."""

from __future__ import annotations

SETTLED = 30.0  # seconds after which a worker's end no longer counts as a failed start
DELAYS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before a worker is replaced, by its failed starts in a row
GIVE_UP = 5  # failed starts in a row


class Restarts:
    """Counts the failed starts in a row of each worker."""

    def __init__(self, workers: int) -> None:
        self._failures = [0] * workers

    def ended(self, index: int, *, ready: bool, leaving: bool, lived: float) -> float:
        """Return the delay in seconds after a worker has ended that lived so long; `leaving`: it was asked to end."""
        settled = leaving or (ready and lived >= SETTLED)
        failures = self._failures[index] = 0 if settled else self._failures[index] + 1
        return DELAYS[min(max(failures - 1, 0), len(DELAYS) - 1)]

    def gives_up(self, index: int) -> bool:
        """Return whether another start of this worker is not worth a try, if no other worker is left."""
        return self._failures[index] >= GIVE_UP
