"""Deletes old calls and attempts in small steps, so that writers never wait long."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proxy.core.clock import Clock
from proxy.store.database import Database
from proxy.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

_LOG = logging.getLogger(__name__)

INTERVAL_SECONDS = 600.0
SLICE = 500  # rows that one transaction deletes
PAUSE_SECONDS = 0.05  # between two slices, in which others can write
LOCK = 7_301_447_112_018_002  # PostgreSQL's advisory lock: one process at a time deletes


class Retention:
    """A background service. The sums of usage and spend are kept."""

    def __init__(
        self, database: Database, seconds: Callable[[], float | None], clock: Clock, rng: random.Random
    ) -> None:
        """`seconds` returns for how long rows are kept; `None`: for ever."""
        self._database = database
        self._seconds = seconds
        self._clock = clock
        self._rng = rng

    async def run(self) -> None:
        """Delete what is older than the retention, until cancelled."""
        while True:
            await self._clock.sleep(INTERVAL_SECONDS * (0.5 + self._rng.uniform(0.0, 1.0)))
            if self._database.opened:  # do not open it for this alone
                try:
                    await self.delete_old()
                except StoreUnavailable:
                    _LOG.debug("retention waits for the store")

    async def delete_old(self) -> int:
        """Delete all that is older now; return the number of rows. Raises `StoreUnavailable`."""
        from proxy.store.schema import attempts, calls

        if (seconds := self._seconds()) is None:
            return 0
        before = int((self._clock.time() - seconds) * 1_000_000)
        deleted = 0
        for table in (attempts, calls):
            while count := await self._database.write(_Slice(table, before)):
                deleted += count
                await self._clock.sleep(PAUSE_SECONDS)
        return deleted


class _Slice:
    """A transaction that deletes some rows of a table, and returns their number."""

    def __init__(self, table: Table, before: int) -> None:
        self._table = table
        self._before = before

    async def __call__(self, connection: AsyncConnection) -> int:
        from sqlalchemy import delete, select, text

        table: Any = self._table
        if connection.dialect.name == "postgresql":
            lock = text("SELECT pg_try_advisory_xact_lock(:lock)")
            if not (await connection.execute(lock, {"lock": LOCK})).scalar():
                return 0
        old = select(table.c.id).where(table.c.time < self._before).order_by(table.c.time).limit(SLICE)
        return (await connection.execute(delete(table).where(table.c.id.in_(old)))).rowcount
