"""Numbers that all processes of the service read, in memory that they share.

Each worker writes its own row; a number is written and read as a whole, so there is no lock.
"""

from __future__ import annotations

import mmap
import os

PID, OPEN, RECEIVED = range(3)  # of a row: the process, its open connections, all connections it has received
_FIELDS = 3


class Board:
    """One row of numbers for each worker. Create it before the first fork."""

    def __init__(self, workers: int) -> None:
        self.supervisor = os.getpid()
        self._cells = memoryview(mmap.mmap(-1, workers * _FIELDS * 8)).cast("Q")
        self._workers = workers

    def row(self, index: int) -> memoryview:
        """Return the row of a worker."""
        return self._cells[index * _FIELDS : (index + 1) * _FIELDS]

    def processes(self) -> list[int]:
        """Return the ids of the supervisor's and the workers' processes."""
        pids = (int(self.row(index)[PID]) for index in range(self._workers))
        return [self.supervisor, *(pid for pid in pids if pid)]
