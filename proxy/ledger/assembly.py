"""Builds the ledger of a process: its journal, the recorder of calls, and the services that empty the journal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.core.background import BackgroundService
from proxy.core.clock import Clock
from proxy.ledger.batches import LedgerStore
from proxy.ledger.journal import SEGMENT_BYTES, Journal
from proxy.ledger.recorder import Entry, Recorder
from proxy.ledger.recovery import START_SECONDS, Recovery
from proxy.ledger.syncer import Syncer
from proxy.ledger.writer import Writer
from proxy.observe.exposition import Family

_LOG = logging.getLogger(__name__)
FOLDER = "journal"  # in `data_dir`


@dataclass(frozen=True, slots=True)
class BuiltLedger:
    """The parts of the ledger. The store must stay open until `services` have ended."""

    recorder: Recorder
    journal: Journal
    writer: Writer
    recovery: Recovery
    services: tuple[BackgroundService, ...]

    async def start(self) -> None:
        """Open the journal, and recover those of processes that have died, before calls are served."""
        try:
            self.journal.open()
        except OSError as exc:  # each record tries again
            _LOG.error("the journal cannot be opened", extra={"fields": {"why": str(exc)}})
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self.recovery.recover()

    def families(self) -> Iterator[Family]:
        """Yield the metrics of the journal."""
        recorder, writer = self.recorder, self.writer
        gauges = (
            ("signalbox_journal_bytes", "Size of the journals that are not in the store yet.", self.journal.bytes),
            ("signalbox_ledger_queued_calls", "Finished calls in memory that wait for the store.", writer.queued),
        )
        counters = (
            ("signalbox_ledger_unjournaled_total", "Records that the journal did not take.", recorder.unjournaled),
            (
                "signalbox_ledger_rejected_total",
                "Attempts that were not sent because they could not be recorded.",
                recorder.rejected,
            ),
            ("signalbox_ledger_lost_total", "Calls that the ledger has lost.", writer.lost),
            ("signalbox_ledger_recovered_total", "Calls recovered from journals.", self.recovery.recovered),
        )
        for name, text, value in gauges:
            yield Family(name, "gauge", text, {name: float(value)})
        for name, text, value in counters:
            yield Family(name, "counter", text, {name: float(value)})


def build_ledger(
    data_dir: Path,
    store: LedgerStore,
    clock: Clock,
    *,
    unavailable: type[Exception],
    closed: bool,
    segment_bytes: int = SEGMENT_BYTES,
) -> BuiltLedger:
    """Build the ledger. It touches no file before `start`.

    `unavailable` is the error of the store while it does not work. `closed`: attempts that cannot be recorded are
    rejected (`dependencies.store.fail`).
    """
    folder = data_dir / FOLDER
    open_calls: dict[str, Entry] = {}
    journal = Journal(folder, segment_bytes=segment_bytes, mapped=True)
    writer = Writer(journal, store, clock, open_calls=open_calls, unavailable=unavailable)
    recorder = Recorder(journal, clock, writer.put, open_calls=open_calls, closed=closed)
    writer.carry = recorder.carry
    recovery = Recovery(folder, journal, store, clock, unavailable=unavailable)
    return BuiltLedger(recorder, journal, writer, recovery, (writer, recovery, Syncer(journal, clock)))
