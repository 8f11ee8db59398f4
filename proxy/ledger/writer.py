"""The writer: brings finished calls from the journal to the store, in batches.

A batch collects for `BATCH_SECONDS`, also under load, because each transaction has a cost of its own, however small.

While the store is unavailable the rows stay in the journal, and the writer tries again with growing pauses. At most
`MOST_QUEUED` calls are kept in memory; those beyond them are *spilled*: read from the journal again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from proxy.core.background import in_thread
from proxy.core.clock import Clock
from proxy.ledger.batches import BATCH, Finished, LedgerStore, write_batch
from proxy.ledger.journal import Journal, Segment
from proxy.ledger.recorder import Entry
from proxy.ledger.recovery import outcomes_in

_LOG = logging.getLogger(__name__)
BATCH_SECONDS = 0.5  # for a batch to collect
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 1.0  # seconds before the store is tried again; while it is down it fails at once
MOST_QUEUED = 4_000  # calls
MOST_UNJOURNALED = 20_000  # calls that are queued although they are not in the journal, because there is no other place
MOST_FULL_SEGMENTS = 2  # that stay only because of calls in progress
CARRIED_AT_ONCE = 100  # calls, before other work has its turn
FLUSH_SECONDS = 5.0  # for the remaining calls at the end


class Writer:
    """Writes finished calls to the store. A background service; its end writes the rest, and closes the journal."""

    def __init__(
        self,
        journal: Journal,
        store: LedgerStore,
        clock: Clock,
        *,
        open_calls: Mapping[str, Entry],
        unavailable: type[Exception],
    ) -> None:
        """`open_calls` holds the calls that are not finished, by id.

        `unavailable` is the error of a store that may work later; other errors concern the rows.
        """
        self.carry: Callable[[Entry], None] = lambda entry: None  # `Recorder.carry`
        self.most_queued = MOST_QUEUED
        self.most_unjournaled = MOST_UNJOURNALED
        self.stored = 0  # calls of the queue that the store has had, in the order in which they came
        self.lost = 0  # calls that are neither in the journal nor in the store, and calls that the store rejects
        self._journal = journal
        self._store = store
        self._clock = clock
        self._open = open_calls
        self._unavailable = unavailable
        self._queue: deque[Entry] = deque()
        self._wake = asyncio.Event()
        self._failing = False

    @property
    def queued(self) -> int:
        """Finished calls in memory that are not in the store."""
        return len(self._queue)

    def put(self, entry: Entry) -> None:
        """Take a finished call."""
        queue = self._queue
        if len(queue) < self.most_queued:
            queue.append(entry)
        else:
            self._overflow(entry)
        if not self._wake.is_set():
            self._wake.set()

    async def run(self) -> None:
        """Write what is finished until cancelled, then the rest."""
        try:
            while True:
                await self._wake.wait()
                await self._clock.sleep(BATCH_SECONDS)
                self._wake.clear()
                await self._persist()
        finally:
            with suppress(TimeoutError, self._unavailable, OSError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self.drain(rest=True)
            self._journal.close()

    def _overflow(self, entry: Entry) -> None:
        """Take a call for which there is no memory."""
        if entry.journaled and not entry.replaced and entry.segment is not None:
            entry.segment.spilled += 1
        elif len(self._queue) < self.most_unjournaled:
            self._queue.append(entry)
        elif not entry.journaled:
            self.lost += 1  # its intents stay in the journal until this process ends: then it becomes `unknown`

    async def _persist(self) -> None:
        """Write all that is finished, however long the store is unavailable."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self.drain()
            except (self._unavailable, OSError) as exc:
                if not self._failing:  # warn once, not at every attempt
                    _LOG.warning("the ledger cannot be written to the store", extra={"fields": {"why": str(exc)}})
                self._failing = True
            else:
                if self._failing:
                    _LOG.info("the ledger is written to the store again")
                self._failing = False
                return
            await self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def drain(self, *, rest: bool = False) -> None:
        """Write what is finished. Raises an error if the store is unavailable, or the journal cannot be read.

        A call that finishes meanwhile waits for the next batch, unless there are enough for a full one or, for `rest`,
        no later batch follows.
        """
        due = math.inf if rest else self.stored + len(self._queue)
        while True:
            if self._queue and (self.stored < due or len(self._queue) >= BATCH):
                await self._write_queued()
            elif (segment := self._journal.spilled()) is not None:
                due = math.inf  # the queue must be empty before a segment is read
                if not self._queue:
                    await self._write_spilled(segment)
            else:
                await self._dispose()
                if self._journal.full_segments >= MOST_FULL_SEGMENTS:
                    await self._carry()
                return
            await self._dispose()

    async def _carry(self) -> None:
        """Let the full segments go: the calls in progress that still need them are written again."""
        for number, entry in enumerate(list(self._open.values()), 1):
            self.carry(entry)
            if number % CARRIED_AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._dispose()

    async def _dispose(self) -> None:
        """Delete the segments that are no longer needed."""
        if done := self._journal.disposable():
            await in_thread(_delete, done)

    async def _write_queued(self) -> None:
        queue = self._queue
        entries = [queue[number] for number in range(min(BATCH, len(queue)))]
        await self._write([(entry.call, entry.attempts) for entry in entries])
        for entry in entries:
            queue.popleft()
            entry.release()
        self.stored += len(entries)

    async def _write_spilled(self, segment: Segment) -> None:
        """Write the finished calls of a segment. The queue is empty, so no newer outcome of them waits in it."""
        spilled = segment.spilled
        try:
            rows = await in_thread(outcomes_in, segment.path, segment.outdated | self._open.keys())
        except FileNotFoundError:
            _LOG.error("a file of the journal was deleted; its calls are lost", extra={"fields": {"calls": spilled}})
            self.lost += spilled
            rows = []
        for start in range(0, len(rows), BATCH):
            await self._write(rows[start : start + BATCH])
        segment.spilled -= spilled
        segment.calls -= spilled

    async def _write(self, batch: list[Finished]) -> None:
        self.lost += await write_batch(self._store, batch, self._unavailable)


def _delete(segments: Collection[Segment]) -> None:
    for segment in segments:
        segment.path.unlink(missing_ok=True)
