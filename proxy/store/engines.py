"""Engines of SQLAlchemy for SQLite and PostgreSQL. The module is imported at the store's first use."""

from __future__ import annotations

import logging
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from proxy.core.clock import SystemClock
from proxy.core.location import Location
from proxy.store.failures import Kind, Unusable, classify

CONNECT_SECONDS = 2.0
STATEMENT_SECONDS = 10.0  # a longer transaction of SQLite, or statement of PostgreSQL, is cancelled
BUSY_SECONDS = 2.0  # for which a statement waits for another process that writes to the file
LOCKED_PAUSE = 0.02  # seconds before a statement that did not wait is run again
COMMAND_BUSY_SECONDS = 60.0  # the same for a command, which may wait for the migrations of others
READERS = 4
CONNECTIONS = 8  # of a process to PostgreSQL

FILE_GONE = "its file was deleted or replaced"
_INSTRUCTIONS = 100_000  # of SQLite's machine, between two looks at the deadline
_OF_WRITERS = ("journal_mode=WAL", "synchronous=FULL")
_SERVER_SETTINGS = {
    "application_name": "signalbox",
    "statement_timeout": f"{STATEMENT_SECONDS * 1000:.0f}",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "30000",
    "jit": "off",  # statements are short
}


def sqlite_engine(path: str, *, writer: bool, busy_seconds: float = BUSY_SECONDS) -> AsyncEngine:
    """Return an engine for the one connection that writes, or for several that only read."""
    _hide_values()
    engine = create_async_engine(
        sqlalchemy.URL.create("sqlite+aiosqlite", database=path),
        poolclass=sqlalchemy.AsyncAdaptedQueuePool,
        pool_size=1 if writer else READERS,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        hide_parameters=True,
    )
    mode = _OF_WRITERS if writer else ("query_only=ON",)
    pragmas = (f"busy_timeout={busy_seconds * 1000:.0f}", "foreign_keys=ON", *mode)
    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"

    def prepare(connection: Any, record: Any) -> None:
        record.info["file"] = _file(path)
        connection.isolation_level = None  # no implicit BEGIN
        deadline = record.info["deadline"] = _Deadline()
        connection.run_async(lambda driver: driver.set_progress_handler(deadline.passed, _INSTRUCTIONS))
        cursor = connection.cursor()
        for pragma in pragmas:
            run_pragma(connection, cursor, pragma, busy_seconds)
        cursor.close()

    def start(connection: sqlalchemy.Connection) -> None:
        if connection.info["file"] != _file(path):  # SQLite would go on in the deleted file
            raise Unusable(FILE_GONE)
        connection.info["deadline"].set()
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", start)
    return engine


def run_pragma(connection: Any, cursor: Any, pragma: str, busy_seconds: float) -> None:
    """Run a pragma, and try again for at most `busy_seconds` while the file is locked.

    SQLite itself does not wait while another process changes the journal mode of a new file.
    """
    clock = SystemClock()
    end = clock.monotonic() + busy_seconds
    while True:
        try:
            cursor.execute(f"PRAGMA {pragma}")
            return
        except Exception as exc:
            failure = classify(exc)
            if failure is None or failure.kind is not Kind.SLOW or clock.monotonic() >= end:
                raise
        connection.run_async(lambda driver: clock.sleep(LOCKED_PAUSE))


def _file(path: str) -> tuple[int, int] | None:
    """Return which file has this name now."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Deadline:
    """Ends a transaction that takes too long; SQLite asks from its thread."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._at = math.inf

    def set(self) -> None:
        """Begin a transaction."""
        self._at = self._clock.monotonic() + STATEMENT_SECONDS

    def clear(self) -> None:
        """Let the transaction take any time."""
        self._at = math.inf

    def passed(self) -> bool:
        """Return whether the transaction must end."""
        return self._clock.monotonic() > self._at


def engine_of(location: Location) -> AsyncEngine:
    """Return an engine that writes, for a command."""
    if location.kind == "sqlite":
        return sqlite_engine(location.target, writer=True, busy_seconds=COMMAND_BUSY_SECONDS)
    return postgresql_engine(location.target)


def file_exists(path: str) -> bool:
    """Return whether the database has been created."""
    return Path(path).exists()


def create_file(path: str) -> None:
    """Create the file if it does not exist, and its folder, so that only this user can read it. Raises `OSError`.

    An existing file is not opened: to close it would end all locks that SQLite has on it in this process, and other
    processes would then delete the log of writes that this one still uses.
    """
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def postgresql_engine(url: str) -> AsyncEngine:
    """Return an engine for PostgreSQL 15 or newer. asyncpg reads the URL, with all its parameters."""
    try:
        import asyncpg  # type: ignore[import-untyped]
    except ImportError:
        raise Unusable("the driver is not installed; install `signalbox-proxy[postgres]`") from None
    in_url = {name for name, _ in parse_qsl(urlsplit(url).query)}
    settings = {name: value for name, value in _SERVER_SETTINGS.items() if name not in in_url}

    async def connect() -> Any:
        try:
            connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS, server_settings=settings)
        except (asyncpg.InterfaceError, ValueError) as exc:  # of the URL; the message may contain a part of it
            raise Unusable("the URL is not valid, or no server of it can be used") from exc
        if connection.get_server_version().major < 15:
            await connection.close()
            raise Unusable("the server is older than PostgreSQL 15")
        return connection

    _hide_values()
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=CONNECTIONS // 2,
        max_overflow=CONNECTIONS // 2,
        pool_timeout=CONNECT_SECONDS,
        pool_use_lifo=True,
        hide_parameters=True,
    )


def _hide_values() -> None:
    """Keep the libraries from logging the values of statements and rows, which they do at the level DEBUG."""
    for name in ("aiosqlite", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.WARNING)
