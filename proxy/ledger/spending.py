"""What was spent in the past, as the store knows it once it has the finished calls of this process.

The journals of processes that have died may still be missing there: see `recovery.py`.
"""

from __future__ import annotations

from typing import Protocol

from proxy.core.clock import Clock
from proxy.ledger.journal import Journal
from proxy.ledger.writer import Writer

LONGEST_WAIT = 1.0  # seconds for the writer
CHECK_SECONDS = 0.02


class Sums(Protocol):
    """The sums of the store."""

    async def spent(self, scope: str, id: str, start: int, end: int) -> int:
        """Return the nano-dollars that were spent in a time (microseconds since 1970)."""
        ...


class PastSpending:
    """Reads what was spent, after the writer has written the calls that are finished by then."""

    def __init__(self, writer: Writer, journal: Journal, store: Sums, clock: Clock) -> None:
        self._writer = writer
        self._journal = journal
        self._store = store
        self._clock = clock

    @property
    def is_complete(self) -> bool:
        """Whether no journal waits for its recovery."""
        return not self._journal.others_bytes

    async def spent(self, scope: str, id: str, start: int, end: int) -> int:
        """Return the nano-dollars that were spent from `start` to `end` (microseconds since 1970)."""
        writer, until = self._writer, self._clock.monotonic() + LONGEST_WAIT
        finished = writer.stored + writer.queued
        while writer.stored < finished and self._clock.monotonic() < until:
            await self._clock.sleep(CHECK_SECONDS)
        return await self._store.spent(scope, id, start, end)
