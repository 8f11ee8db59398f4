"""A process that writes batches of the ledger, and prints the number of each one when it is committed.

Usage: python -m tests.support.store_writer STORE PREFIX BATCHES
"""

from __future__ import annotations

import asyncio
import sys

from proxy.core.clock import SystemClock
from proxy.core.ledger import AttemptRow, CallRow
from proxy.core.location import locate
from proxy.store.database import Database
from proxy.store.errors import StoreUnavailable
from proxy.store.ledger import LedgerStore

SIZE = 20  # calls of a batch
COST = 1_000_003
TIME = 20_000 * 86_400_000_000


def batch(prefix: str, number: int) -> tuple[list[CallRow], list[AttemptRow]]:
    """Return the rows of a batch."""
    ids = [f"req_{prefix}_{number}_{index}" for index in range(SIZE)]
    calls = [CallRow(id=id, request_id="x", time=TIME + number, endpoint="/v1/chat/completions") for id in ids]
    attempts = [
        AttemptRow(
            id=f"{id}-1",
            call_id=id,
            number=1,
            time=TIME + number,
            provider="acme",
            model="small",
            provider_key="main",
            outcome="ok",
            cost_nusd=COST,
            key_id=f"key_{index}",
        )
        for index, id in enumerate(ids)
    ]
    return calls, attempts


async def run(store: str, prefix: str, batches: int) -> None:
    """Write all batches; each one until it is committed."""
    location = locate(store, "")
    assert location is not None
    database = Database(location, SystemClock())
    async with database.running():
        ledger = LedgerStore(database)
        for number in range(batches):
            while True:
                try:
                    await ledger.write(*batch(prefix, number))
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3])))
