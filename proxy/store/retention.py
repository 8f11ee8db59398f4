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
PAUSE_SECONDS = 0.05  # between two slices, in which others can write
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

    async def _delete(self, work: Callable[[AsyncConnection, int], Awaitable[int]], before: int) -> int:
        """Delete in slices until nothing is left that is older."""

        async def work_alone(connection: AsyncConnection) -> int:
            if connection.dialect.name == "postgresql":
                lock = await connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({LOCK})")
                if not lock.scalar():
                    return 0
            return await work(connection, before)

        deleted = 0
        while count := await self._database.write(work_alone):
            deleted += count
            await self._clock.sleep(PAUSE_SECONDS)
        return deleted
