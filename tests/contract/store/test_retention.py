"""Old calls and attempts are deleted, and the sums stay."""

from __future__ import annotations

import random

import pytest

from proxy.core.ledger import AttemptRow, CallRow
from proxy.store.database import Database
from proxy.store.ledger import LedgerStore
from proxy.store.retention import SLICE, Retention
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

DAYS = 86_400.0


def rows(prefix: str, time: float, count: int) -> tuple[list[CallRow], list[AttemptRow]]:
    micros = int(time * 1_000_000)
    calls = [CallRow(id=f"{prefix}{n}", request_id="x", time=micros, endpoint="/") for n in range(count)]
    attempts = [
        AttemptRow(
            id=f"{call.id}-1",
            call_id=call.id,
            number=1,
            time=micros,
            provider="acme",
            model="small",
            provider_key=None,
            outcome="ok",
            cost_nusd=1,
        )
        for call in calls
    ]
    return calls, attempts


@pytest.mark.parametrize(("days", "left"), [(90.0, 10), (30.0, 5), (None, SLICE + 11)])
async def test_rows_older_than_the_retention_are_deleted(database: Database, days: float | None, left: int) -> None:
    clock, ledger = FakeClock(), LedgerStore(database)
    for prefix, age, count in (("a", 91, SLICE + 1), ("b", 89, 5), ("c", 1, 5)):
        await ledger.write(*rows(prefix, clock.time() - age * DAYS, count))
    retention = Retention(database, lambda: days and days * DAYS, lambda: None, clock, random.Random(1))

    deleted = await retention.delete_old()

    assert deleted == 2 * (SLICE + 11 - left)
    assert len(await ledger.requests({}, limit=1000)) == left
    assert await ledger.spent("total", "", 0, 2**62) == SLICE + 11
    [usage] = await ledger.usage([], {}, 0, 2**62)
    assert (usage["requests"], usage["attempts"]) == (SLICE + 11, SLICE + 11)
