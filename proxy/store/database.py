"""The database of Signalbox: a SQLite file, or PostgreSQL.

It is opened at its first use, which imports SQLAlchemy in a thread. SQLite has one connection that writes and several
that only read, so that a full disk does not stop readers; its schema is migrated when it is opened. PostgreSQL's schema
is migrated by `signalbox migrate`. Both are described in `docs/store.md`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from proxy.core.clock import Clock
from proxy.core.location import Location
from proxy.store.errors import StoreUnavailable
from proxy.store.failures import Unusable
from proxy.store.pool import Pool, Work, beat

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

LOOKUP_SECONDS = 1.0  # for reads that a call waits for
READ_SECONDS = 15.0  # longer than a statement may take
WRITE_SECONDS = 15.0
REPORTS = 2  # long reads at the same time, so that look-ups always find a connection


class Database:
    """Runs transactions. Every method raises `StoreUnavailable` while the database does not work.

    `run` is a background service that probes a database that has failed; without it a failure is final.
    """

    def __init__(self, location: Location, clock: Clock) -> None:
        self.location = location
        self.on_change: Callable[[bool], None] | None = None  # called with `degraded` when it has changed
        if location.kind == "sqlite":
            self._writer = Pool(location.name, SqliteWriter(location.target), clock, self._changed)
            self._reader = Pool(location.name, SqliteReader(location.target, self._writer), clock, self._changed)
        else:
            self._writer = self._reader = Pool(location.name, Postgresql(location.target), clock, self._changed)
        self._reports = asyncio.Semaphore(REPORTS)

    @property
    def dialect(self) -> str:
        """The database's name in SQLAlchemy: `sqlite` or `postgresql`."""
        return self.location.kind

    @property
    def degraded(self) -> bool:
        """Whether uses fail at once because of an earlier failure."""
        return self._writer.degraded or self._reader.degraded

    @property
    def opened(self) -> bool:
        """Whether the database has been used."""
        return self._writer.opened or self._reader.opened

    async def open(self) -> None:
        """Connect now instead of at the first use. Raises `StoreUnavailable`."""
        await self._reader.open()

    async def read(self, work: Work[T], seconds: float = READ_SECONDS) -> T:
        """Run `work`, which only reads, in a transaction. It is repeated once if the connection was lost."""
        return await self._reader.use(work, seconds, again=True)

    async def report(self, work: Work[T]) -> T:
        """Do the same for work that may take long; at most `REPORTS` at the same time."""
        async with self._reports:
            return await self.read(work)

    async def write(self, work: Work[T], seconds: float = WRITE_SECONDS) -> T:
        """Run `work` in a transaction, and commit it.

        If the connection is lost during the commit, the caller cannot know whether it was done.
        """
        return await self._writer.use(work, seconds, again=False)

    async def run(self) -> None:
        """Probe the database after a failure, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for pool in {self._writer, self._reader}:
                group.create_task(pool.run())

    async def close(self) -> None:
        """Close all connections."""
        for pool in {self._reader, self._writer}:
            await pool.close()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change(self.degraded)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the service, for commands and tests; close all connections at the end."""
        error: Exception | None = None
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.run())
            try:
                yield
            except Exception as exc:  # raised as it is, and not in a group
                error = exc
            finally:
                task.cancel()
                await self.close()
        if error is not None:
            raise error


class SqliteWriter:
    """The connection that writes. Opening it creates the file and migrates its schema."""

    concurrent = False

    def __init__(self, path: str) -> None:
        self._path = path

    async def open(self) -> AsyncEngine:
        await _load()
        from proxy.store.engines import create_file, sqlite_engine
        from proxy.store.migrations import migrate_if_needed

        await asyncio.to_thread(create_file, self._path)
        engine = sqlite_engine(self._path, writer=True)
        try:
            await migrate_if_needed(engine)
        except BaseException:
            await engine.dispose()
            raise
        return engine

    async def probe(self, engine: AsyncEngine) -> None:
        from sqlalchemy import text

        async with engine.begin() as connection:
            await connection.execute(text("UPDATE meta SET value = value + 1 WHERE name = 'probe'"))


class SqliteReader:
    """The connections that read. Opening them opens the writer first, which creates the tables."""

    concurrent = False  # a statement that takes long is interrupted (`engines.py`)

    def __init__(self, path: str, writer: Pool) -> None:
        self._path = path
        self._writer = writer

    async def open(self) -> AsyncEngine:
        if not self._writer.opened:
            await self._writer.open()
        from proxy.store.engines import file_exists, sqlite_engine

        if not file_exists(self._path):  # deleted: the writer creates it again once it has noticed
            with suppress(StoreUnavailable):
                await self._writer.use(beat, LOOKUP_SECONDS, again=False)
            raise Unusable("its file does not exist")
        return sqlite_engine(self._path, writer=False)

    async def probe(self, engine: AsyncEngine) -> None:
        from proxy.store.migrations import current

        await current(engine)


class Postgresql:
    """The connections to PostgreSQL. Opening them checks the schema, and changes nothing."""

    concurrent = True

    def __init__(self, url: str) -> None:
        self._url = url

    async def open(self) -> AsyncEngine:
        await _load()
        from proxy.store.engines import postgresql_engine
        from proxy.store.migrations import check

        engine = postgresql_engine(self._url)
        try:
            await check(engine)
        except BaseException:
            await engine.dispose()
            raise
        return engine

    async def probe(self, engine: AsyncEngine) -> None:
        """Opening has used the database already."""


async def _load() -> None:
    """Import SQLAlchemy, and what the ledger needs of it, in a thread: it takes some tenths of a second."""
    for name in ("proxy.store.engines", "proxy.store.recording"):
        await asyncio.to_thread(import_module, name)
