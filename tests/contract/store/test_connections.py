"""How the databases are opened."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.store import engines
from proxy.store.database import Database
from proxy.store.errors import StoreUnavailable
from tests.support.databases import ENCODED, PASSWORD, USER, Postgres
from tests.support.fakes import turn

pytestmark = pytest.mark.anyio


def opened(url: str, folder: Path | str = "") -> Database:
    location = locate(url, str(folder))
    assert location is not None
    return Database(location, SystemClock())


async def value(database: Database, statement: str) -> Any:
    result = await database.read(lambda connection: connection.exec_driver_sql(statement))
    return result.scalar()


async def test_sqlite_creates_a_file_for_its_owner_only(tmp_path: Path) -> None:
    database = opened("sqlite", tmp_path / "new" / "data")

    async with database.running():
        await database.open()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new" / "data").iterdir()}

    assert modes == {"signalbox.db": 0o600, "signalbox.db-wal": 0o600, "signalbox.db-shm": 0o600}


async def test_nothing_is_created_before_the_first_use(tmp_path: Path) -> None:
    database = opened("sqlite", tmp_path / "data")

    async with database.running():
        await turn()

    assert os.listdir(tmp_path) == []
    assert not database.opened


async def test_sqlite_is_durable_and_readers_cannot_write(tmp_path: Path) -> None:
    database = opened("sqlite", tmp_path)

    async with database.running():
        assert await value(database, "PRAGMA journal_mode") == "wal"
        written = await database.write(lambda connection: connection.exec_driver_sql("PRAGMA synchronous"))
        assert written.scalar() == 2
        with pytest.raises(StoreUnavailable, match="cannot be written to"):
            await value(database, "DELETE FROM meta")


async def test_a_statement_of_sqlite_that_takes_too_long_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "STATEMENT_SECONDS", 0.05)
    database = opened("sqlite", tmp_path)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"

    async with database.running():
        with pytest.raises(StoreUnavailable, match="the statement took too long"):
            await value(database, endless)

        assert not database.degraded
        assert await value(database, "SELECT 1") == 1


@pytest.mark.parametrize("content", [b"not a database" * 100, b""], ids=["other", "empty"])
async def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signalbox.db"
    path.write_bytes(content)
    database = opened("sqlite", tmp_path)

    async with database.running():
        if content:
            with pytest.raises(StoreUnavailable, match="not a SQLite database"):
                await database.open()
            assert path.read_bytes() == content
        else:
            assert await value(database, "SELECT count(*) FROM keys") == 0


async def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    database = opened("sqlite", tmp_path / "file" / "data")

    async with database.running():
        with pytest.raises(StoreUnavailable, match="Not a directory|File exists"):
            await database.open()


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://{user}:{password}@127.0.0.1:{port}/{name}?sslmode=prefer&application_name=mine",
        "postgresql://{user}:{password}@/{name}?host={socket}&port={port}",
        "postgresql:///{name}?host={socket}&port={port}&user={user}&password={password}",
        "postgresql://{user}:{password}@127.0.0.1:1,127.0.0.1:{port}/{name}?target_session_attrs=read-write",
    ],
    ids=["parameters", "socket", "all in parameters", "several hosts"],
)
async def test_forms_of_urls(postgres: Postgres, postgres_url: str, form: str) -> None:
    name = postgres_url.rpartition("/")[2]
    parts = {"user": USER, "password": ENCODED, "port": postgres.port, "name": name, "socket": postgres.socket_folder}
    database = opened(form.format(**parts))

    async with database.running():
        assert await value(database, "SELECT current_database()") == name
        expected = "mine" if "mine" in form else "signalbox"
        assert await value(database, "SHOW application_name") == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((ENCODED, "canary-password"), "the server rejects the user or the password"),
        (("/db", "/missing-db"), "the database does not exist"),
        (("127.0.0.1:", "127.0.0.1:1,127.0.0.1:"), ""),
    ],
    ids=["password", "database", "ports"],
)
async def test_why_postgresql_cannot_be_used(postgres_url: str, change: tuple[str, str], message: str) -> None:
    database = opened(postgres_url.replace(*change))
    if not message:
        async with database.running():
            assert await value(database, "SELECT 1") == 1
        return

    async with database.running():
        with pytest.raises(StoreUnavailable, match=message) as caught:
            await database.open()

    for secret in ("canary", PASSWORD, ENCODED):
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value.__cause__)


async def test_encryption_that_the_server_does_not_have_is_an_error(postgres_url: str) -> None:
    database = opened(f"{postgres_url}?sslmode=require")

    async with database.running():
        with pytest.raises(StoreUnavailable):
            await database.open()


@pytest.mark.parametrize("many", [30])
async def test_a_process_opens_few_connections(postgres: Postgres, postgres_url: str, many: int) -> None:
    database = opened(postgres_url)
    count = "SELECT count(*), pg_sleep(0.01) FROM pg_stat_activity WHERE application_name = 'signalbox'"

    async with database.running(), asyncio.TaskGroup() as group:
        tasks = [group.create_task(value(database, count)) for _ in range(many)]

    assert max(task.result() for task in tasks) <= engines.CONNECTIONS
