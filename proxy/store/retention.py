"""Deletes old calls, attempts, prompts and dialogs in small steps, so that writers never wait long."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from proxy.core.clock import Clock
from proxy.store.database import Database
from proxy.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_LOG = logging.getLogger(__name__)

INTERVAL_SECONDS = 600.0
EVENTS_SECONDS = 86_400.0  # for which the events of a response in the background are kept after its end
PAUSE_SECONDS = 0.05  # the shortest pause between two slices, in which others can write
PAUSE_SHARE = 2.0  # a pause is so many times as long as the slice before it
SLICE_SECONDS = 0.025  # which a slice should take; it has fewer rows after one that took longer
SLICE = 500  # rows of the largest slice
FIRST = 100  # rows of the first slice
FEWEST = 20  # rows of the smallest one
LOCK = 7_301_447_112_018_002  # PostgreSQL's advisory lock: one process at a time deletes


class Retention:
    """A background service. The sums of usage and spend are kept."""

    def __init__(
        self,
        database: Database,
        records: Callable[[], float | None],
        dialogs: Callable[[], float | None],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """`records` and `dialogs` return for how many seconds each of them is kept; `None`: for ever."""
        self._database = database
        self._records = records
        self._dialogs = dialogs
        self._clock = clock
        self._rng = rng
        self._rows = FIRST  # of the next slice

    async def run(self) -> None:
        """Delete what is older than the retention, until cancelled."""
        while True:
            await self._clock.sleep(INTERVAL_SECONDS * (0.5 + self._rng.uniform(0.0, 1.0)))
            if self._database.opened:  # do not open it for this alone
                try:
                    await self.delete_old()
                except StoreUnavailable:
                    _LOG.debug("retention waits for the store")
                except Exception:  # such as of a schema that was migrated down; calls do not depend on it
                    _LOG.exception("old records could not be deleted")

    async def delete_old(self) -> int:
        """Delete all that is older now; return the number of rows. Raises `StoreUnavailable`."""
        from proxy.store.expired import delete_conversations, delete_events, delete_responses, delete_rows
        from proxy.store.schema import attempts, calls, decisions, labels, prompts

        deleted = 0
        for seconds, work in (
            (self._records(), partial(delete_rows, attempts)),
            (self._records(), partial(delete_rows, calls)),
            (EVENTS_SECONDS, delete_events),
            (self._records(), partial(delete_rows, prompts)),
            (self._records(), partial(delete_rows, decisions)),
            (self._records(), partial(delete_rows, labels)),
            (self._dialogs(), delete_responses),
            (self._dialogs(), delete_conversations),
        ):
            if seconds is not None:
                deleted += await self._delete(work, int((self._clock.time() - seconds) * 1_000_000))
        return deleted

    async def _delete(self, work: Callable[[AsyncConnection, int, int], Awaitable[int]], before: int) -> int:
        """Delete in slices until nothing is left that is older.

        How long a slice takes, with its wait for the database, decides the size of the next one and the pause before
        it: what is slow for the retention is slow for the writers of records too.
        """
        rows = self._rows

        async def work_alone(connection: AsyncConnection) -> int:
            if connection.dialect.name == "postgresql":
                lock = await connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({LOCK})")
                if not lock.scalar():
                    return 0
            return await work(connection, before, rows)

        deleted, began = 0, self._clock.monotonic()
        while count := await self._database.write(work_alone):
            deleted += count
            seconds = self._clock.monotonic() - began
            self._rows = rows = next_size(rows, seconds)
            await self._clock.sleep(max(PAUSE_SECONDS, PAUSE_SHARE * seconds))
            began = self._clock.monotonic()
        return deleted


def next_size(rows: int, seconds: float) -> int:
    """Return the size of the next slice, after one of `rows` that took so many seconds."""
    if seconds <= SLICE_SECONDS:
        return min(SLICE, rows + rows // 4 + 1)
    return max(FEWEST, int(rows * max(0.25, SLICE_SECONDS / seconds)))
