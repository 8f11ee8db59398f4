"""Migrations of the schema, run by Alembic; an empty database gets the tables of the newest revision without it.

Revisions are numbered, so that an older version of Signalbox recognises a newer schema. The schema is changed in two
steps, so that two successive versions can use it: `docs/store.md`.
"""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.store.failures import Unusable

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

_LOG = logging.getLogger(__name__)
HEAD = "0009"
OLDEST = "0009"  # the oldest revision that this version can use
BASE = "base"  # no tables
LOCK = 7_301_447_112_018_001  # PostgreSQL's advisory lock of migrations
LOCK_SECONDS = 300


def known() -> list[str]:
    """Return the revisions of this version, the oldest first."""
    return sorted(path.stem[:4] for path in (Path(__file__).parent / "versions").glob("[0-9]*.py"))


async def current(engine: AsyncEngine) -> str | None:
    """Return the revision of the schema; `None` without tables."""
    async with engine.begin() as connection:
        return await connection.run_sync(revision_of)


def revision_of(connection: Connection) -> str | None:
    """Return the revision of the schema; `None` without tables. It needs no Alembic, which is slow to import."""
    from sqlalchemy import text

    if connection.dialect.name == "sqlite":
        exists = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    else:
        exists = "SELECT 1 FROM pg_tables WHERE tablename = 'alembic_version' AND schemaname = current_schema()"
    if connection.execute(text(exists)).scalar() is None:
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)


def problem(revision: str | None) -> str | None:
    """Return what is wrong with a schema; a newer one than this version knows works as well."""
    if revision is None:
        return f"the database has no tables, but this version needs revision {OLDEST}; run `signalbox migrate`"
    if revision < OLDEST:
        return f"the schema has revision {revision}, but this version needs {OLDEST}; run `signalbox migrate`"
    return None


async def check(engine: AsyncEngine) -> None:
    """Raise `Unusable` if this version cannot use the schema."""
    if (text := problem(await current(engine))) is not None:
        raise Unusable(text)


async def migrate_if_needed(engine: AsyncEngine) -> None:
    """Migrate the schema to `HEAD` if it is older."""
    revision = await current(engine)
    if revision is None or revision < HEAD:
        await migrate(engine, HEAD)


async def migrate(engine: AsyncEngine, to: str) -> tuple[str | None, str | None]:
    """Migrate the schema to a revision, up or down; return the revisions before and after it.

    All is done in one transaction, and only by one process at a time.
    """
    if to != HEAD or await current(engine) is not None:
        await asyncio.to_thread(_load)
    async with engine.connect() as connection, connection.begin():
        before, after = await connection.run_sync(_migrate, to)
    if before != after:
        _LOG.info("the tables of the store were migrated", extra={"fields": {"before": before, "after": after}})
    return before, after


def _migrate(connection: Connection, to: str) -> tuple[str | None, str | None]:
    from sqlalchemy import text

    if connection.dialect.name == "postgresql":
        # the migration itself may take any time; waiting for others may not
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
    else:
        connection.info["deadline"].clear()
    before = revision_of(connection)
    if before is None and to == HEAD:
        _create(connection)
    elif before != to:
        _run(connection, before, to)
    return before, revision_of(connection)


def _create(connection: Connection) -> None:
    """Create the tables of the newest revision as `schema` declares them, which takes a tenth of all migrations."""
    from sqlalchemy import text

    from proxy.store.schema import metadata

    metadata.create_all(connection, checkfirst=False)
    connection.execute(text("INSERT INTO meta (name, value) VALUES ('probe', '0')"))
    # Alembic's own table
    key = "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)"
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL, {key})"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": HEAD})


def _load() -> None:
    """Import Alembic, which takes some tenths of a second."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # before its import, which logs as well
    for name in ("alembic.command", "alembic.config", "alembic.runtime.environment"):
        import_module(name)


def _run(connection: Connection, before: str | None, to: str) -> None:
    if before is not None and before not in known():
        raise Unusable(f"the schema has revision {before}, which only a newer version of Signalbox can change")
    from alembic import command
    from alembic.config import Config

    config = Config(stdout=StringIO())
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    if to == BASE or (before is not None and to < before):
        command.downgrade(config, to)
    else:
        command.upgrade(config, to)
