"""The syncer: it syncs what is new, and survives errors of the disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.ledger.journal import SYNC_SECONDS, Journal
from proxy.ledger.syncer import Syncer
from tests.support.fakes import FakeClock, turn
from tests.support.ledgers import eventually

pytestmark = pytest.mark.anyio


class Watched(Journal):
    """A journal that counts how often it is synced; `broken`: its descriptors are."""

    synced = 0
    broken = False

    def unsynced(self) -> list[int]:
        """Return the descriptors, or one that cannot be synced."""
        self.synced += 1
        found = super().unsynced()
        if self.broken:
            reading, writing = os.pipe()  # which cannot be synced
            os.close(writing)
            found.append(reading)
        return found


@asynccontextmanager
async def syncing(journal: Journal, clock: FakeClock) -> AsyncIterator[None]:
    """The service."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Syncer(journal, clock).run())
        await turn()
        yield
        task.cancel()
    journal.close()


async def test_new_records_are_synced_together(tmp_path: Path) -> None:
    clock, journal = FakeClock(), Watched(tmp_path)
    async with syncing(journal, clock):
        await eventually(lambda: journal.synced == 1)
        for _ in range(5):
            journal.append(b"record")
        await eventually(lambda: journal.synced == 2)
        await turn()

    assert journal.synced == 3  # the last one is that of `close`
    assert clock.slept == [SYNC_SECONDS] * 2


async def test_records_from_before_the_start_are_synced(tmp_path: Path) -> None:
    clock, journal = FakeClock(), Watched(tmp_path)
    journal.append(b"record")
    async with syncing(journal, clock):
        await eventually(lambda: journal.synced == 1)
        journal.append(b"record")
        await eventually(lambda: journal.synced == 2)


async def test_an_error_is_reported_once_and_syncing_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, journal = FakeClock(), Watched(tmp_path)
    journal.broken = True
    async with syncing(journal, clock):
        for number in (1, 2, 3):
            await eventually(lambda number=number: journal.synced == number)
            await eventually(lambda: caplog.records)
            journal.append(b"record")
        await eventually(lambda: journal.synced == 4)
        journal.broken = False

    assert [record.message for record in caplog.records] == ["the journal cannot be synced to the disk"]
