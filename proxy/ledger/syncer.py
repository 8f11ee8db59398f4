"""The syncer: makes the journal durable against power failures, in a thread, and notices that it was deleted."""

from __future__ import annotations

import asyncio
import logging

from proxy.core.background import in_thread
from proxy.core.clock import Clock
from proxy.ledger.journal import SYNC_SECONDS, Journal, sync

_LOG = logging.getLogger(__name__)


class Syncer:
    """Syncs the journal every `SYNC_SECONDS` while there is something new. A background service."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._failing = False

    async def run(self) -> None:
        """Sync until cancelled."""
        wake = asyncio.Event()
        wake.set()  # there may be records already
        self._journal.notify = wake.set
        while True:
            await wake.wait()
            await self._clock.sleep(SYNC_SECONDS)
            wake.clear()
            if self._journal.deleted:
                self._journal.begin_again()
                _LOG.error("the journal was deleted; a new one is begun")
            try:
                await in_thread(sync, self._journal.unsynced())
            except OSError as exc:
                if not self._failing:
                    _LOG.error("the journal cannot be synced to the disk", extra={"fields": {"why": str(exc)}})
                self._failing = True
            else:
                self._failing = False
