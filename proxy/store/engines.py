"""Engines of SQLAlchemy for SQLite and PostgreSQL. The module is imported at the store's first use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from proxy.core.location import Location

CONNECT_SECONDS = 2.0
BUSY_SECONDS = 2.0  # for which a statement waits for another process that writes to the file
READERS = 4
CONNECTIONS = 8  # of a process to PostgreSQL

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_SECONDS * 1000:.0f}", "foreign_keys=ON")
_SERVER_SETTINGS = {
    "application_name": "signalbox",
    "statement_timeout": "10000",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "30000",
    "jit": "off",  # statements are short
}


def sqlite_engine(path: str, *, writer: bool) -> AsyncEngine:
    """Return an engine for the one connection that writes, or for several that only read."""
    engine = create_async_engine(
        sqlalchemy.URL.create("sqlite+aiosqlite", database=path),
        poolclass=sqlalchemy.AsyncAdaptedQueuePool,
        pool_size=1 if writer else READERS,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        hide_parameters=True,
    )
    pragmas = _PRAGMAS if writer else (*_PRAGMAS[2:], "query_only=ON")
    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"

    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # no implicit BEGIN
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def start(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", prepare)
    event.listen(engine.sync_engine, "begin", start)
    return engine


def engine_of(location: Location) -> AsyncEngine:
    """Return an engine that writes, for a command."""
    if location.kind == "sqlite":
        return sqlite_engine(location.target, writer=True)
    return postgresql_engine(location.target)


def file_exists(path: str) -> bool:
    """Return whether the database has been created."""
    return Path(path).exists()


def create_file(path: str) -> None:
    """Create the file, and its folder, so that only this user can read it. Raises `OSError`."""
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))


def postgresql_engine(url: str) -> AsyncEngine:
    """Return an engine for PostgreSQL 15 or newer. asyncpg reads the URL, with all its parameters."""
    import asyncpg  # type: ignore[import-untyped]

    async def connect() -> Any:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS, server_settings=_SERVER_SETTINGS)
        if connection.get_server_version().major < 15:
            await connection.close()
            raise UnsupportedServer("the server is older than PostgreSQL 15")
        return connection

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=CONNECTIONS // 2,
        max_overflow=CONNECTIONS // 2,
        pool_timeout=CONNECT_SECONDS,
        pool_use_lifo=True,
        hide_parameters=True,
    )


class UnsupportedServer(OSError):
    """The server is too old."""
