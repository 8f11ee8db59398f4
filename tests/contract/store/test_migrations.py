"""Migrations in each database: up, down and up again, and the command."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.core.clock import SystemClock
from proxy.core.ledger import CallRow
from proxy.core.location import Location, locate
from proxy.store.database import Database
from proxy.store.errors import StoreUnavailable
from proxy.store.ledger import LedgerStore
from proxy.store.migrate import migrate_to, pending_text, state_of
from proxy.store.migrations import HEAD, OLDEST, known
from tests.support.databases import Postgres
from tests.support.store_writer import COST, SIZE

CALL = CallRow(id="req_1", request_id="x", time=1, endpoint="/v1/chat/completions")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The setting `store` of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/signalbox.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.url(postgres.create())


@pytest.fixture
def location(empty_url: str) -> Location:
    location = locate(empty_url, "")
    assert location is not None
    return location


@pytest.fixture
def run(empty_url: str, tmp_path: Path) -> Any:
    config = tmp_path / "signalbox.yaml"
    config.write_text(f"store: {empty_url}\nproviders: {{mock: {{dialect: mock}}}}\n")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--config", str(config)])

    return run


async def execute(location: Location, statement: str) -> None:
    from proxy.store.engines import engine_of

    engine = engine_of(location)
    async with engine.begin() as connection:
        await connection.exec_driver_sql(statement)
    await engine.dispose()


async def seen(location: Location, look: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """What `look` sees with a connection of SQLAlchemy."""
    from proxy.store.engines import engine_of

    engine = engine_of(location)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(look)
    finally:
        await engine.dispose()


async def tables(location: Location) -> dict[str, Any]:
    """The differences between the database and `proxy.store.schema`, as Alembic sees them."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import inspect

    from proxy.store.schema import metadata

    def look(connection: Any) -> dict[str, Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return {"names": set(inspect(connection).get_table_names()), "diff": compare_metadata(context, metadata)}

    return await seen(location, look)


def test_the_newest_revision_has_the_tables_of_the_schema(location: Location) -> None:
    assert asyncio.run(migrate_to(location, None)) == (None, HEAD)

    assert asyncio.run(tables(location))["diff"] == []


async def details(location: Location) -> dict[str, Any]:
    """The columns in their order, keys and indexes of each table, and what else SQLite says of it."""
    from sqlalchemy import inspect, text

    def look(connection: Any) -> dict[str, Any]:
        found, inspector = {}, inspect(connection)
        for name in inspector.get_table_names():
            columns = [
                (each["name"], str(each["type"]), each["nullable"], each["default"])
                for each in inspector.get_columns(name)
            ]
            indexes = {
                (each["name"], tuple(each["column_names"]), bool(each["unique"]))
                for each in inspector.get_indexes(name)
            }
            unique = {tuple(each["column_names"]) for each in inspector.get_unique_constraints(name)}
            keys = inspector.get_pk_constraint(name)["constrained_columns"]
            statement = ""
            if connection.dialect.name == "sqlite":
                statement = connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": name})
            found[name] = columns, indexes, unique, keys, "WITHOUT ROWID" in statement
        return found

    return await seen(location, look)


def test_a_new_database_equals_one_that_had_all_revisions(location: Location) -> None:
    asyncio.run(migrate_to(location, None))
    created = asyncio.run(details(location))
    asyncio.run(migrate_to(location, "base"))
    asyncio.run(migrate_to(location, known()[0]))
    asyncio.run(migrate_to(location, None))

    assert asyncio.run(details(location)) == created
    assert asyncio.run(tables(location))["diff"] == []


def test_each_revision_can_be_undone_and_done_again(location: Location) -> None:
    seen: list[set[str]] = []
    for revision in (*known(), *reversed(known()[:-1]), "base", "head"):
        asyncio.run(migrate_to(location, HEAD if revision == "head" else revision))
        seen.append(asyncio.run(tables(location))["names"] - {"alembic_version"})

    steps = len(known())
    assert known()[-1] == HEAD
    assert seen[steps : 2 * steps - 1] == seen[: steps - 1][::-1]
    assert seen[-2] == set()
    assert seen[-1] == seen[steps - 1]
    assert seen[0] < seen[1]


def test_migrating_again_changes_nothing(location: Location) -> None:
    asyncio.run(migrate_to(location, None))

    assert asyncio.run(migrate_to(location, None)) == (HEAD, HEAD)
    assert asyncio.run(state_of(location)) == (HEAD, None)


def test_a_migration_logs_one_line(location: Location, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            asyncio.run(migrate_to(location, None))

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO] == [
        "the tables of the store were migrated"
    ]


def test_processes_that_migrate_at_once_wait_for_each_other(location: Location) -> None:
    async def together() -> list[tuple[str | None, str | None]]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(migrate_to(location, None)) for _ in range(4)]
        return [task.result() for task in tasks]

    results = asyncio.run(together())

    assert sorted(results, key=str) == sorted([(None, HEAD), *[(HEAD, HEAD)] * 3], key=str)


def test_rows_survive_the_down_and_up_of_other_tables(location: Location) -> None:
    from proxy.core.accounts import Team
    from proxy.store.accounts import Accounts

    async def write() -> None:
        database = Database(location, SystemClock())
        async with database.running():
            await Accounts(database, SystemClock()).create(Team(id="red"), "admin")

    async def read() -> Team | None:
        database = Database(location, SystemClock())
        async with database.running():
            return await Accounts(database, SystemClock()).get(Team, "red")

    asyncio.run(migrate_to(location, None))
    asyncio.run(write())
    asyncio.run(migrate_to(location, "0001"))
    asyncio.run(migrate_to(location, HEAD))

    assert asyncio.run(read()) == Team(id="red")


def test_the_oldest_usable_schema_is_used_and_on_postgresql_left_alone(location: Location) -> None:
    async def use() -> Any:
        database = Database(location, SystemClock())
        async with database.running():
            await LedgerStore(database).write([CALL], [])
            return await LedgerStore(database).request("req_1")

    asyncio.run(migrate_to(location, OLDEST))

    assert asyncio.run(use()) == (CALL, [])
    revision = HEAD if location.kind == "sqlite" else OLDEST
    assert asyncio.run(state_of(location)) == (revision, None)


def test_migrations_under_load_lose_nothing(location: Location, empty_url: str) -> None:
    """As when the revision of the next version is done, undone, and done again."""
    asyncio.run(migrate_to(location, HEAD))
    command = [sys.executable, "-m", "tests.support.store_writer", empty_url, "a", "60"]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        for change in ("ADD COLUMN next TEXT", "DROP COLUMN next") * 2:
            asyncio.run(execute(location, f"ALTER TABLE calls {change}"))
        process.communicate()

    async def spent() -> int:
        database = Database(location, SystemClock())
        async with database.running():
            return await LedgerStore(database).spent("total", "", 0, 2**62)

    assert process.returncode == 0
    assert asyncio.run(spent()) == 60 * SIZE * COST


def test_each_revision_leaves_what_the_version_before_uses(location: Location) -> None:
    """It adds tables, and columns that an insert may leave out."""

    async def columns() -> dict[tuple[str, str], Any]:
        from sqlalchemy import inspect

        from proxy.store.engines import engine_of

        def read(connection: Any) -> dict[tuple[str, str], Any]:
            found = inspect(connection)
            return {(table, row["name"]): row for table in found.get_table_names() for row in found.get_columns(table)}

        engine = engine_of(location)
        async with engine.connect() as connection:
            result = await connection.run_sync(read)
        await engine.dispose()
        return result

    lost: list[Any] = []
    before: dict[tuple[str, str], Any] = {}
    for revision in known():
        asyncio.run(migrate_to(location, revision))
        after = asyncio.run(columns())
        tables = {table for table, _ in before}
        for name, row in before.items():
            same = name in after and all(str(after[name][key]) == str(row[key]) for key in ("type", "nullable"))
            lost += [] if same else [(revision, name)]
        added = [name for name in after if name not in before and name[0] in tables]
        lost += [(revision, name) for name in added if not after[name]["nullable"] and after[name]["default"] is None]
        before = after

    assert lost == []


def test_a_newer_schema_is_used_and_left_alone(location: Location) -> None:
    async def use() -> Any:
        database = Database(location, SystemClock())
        async with database.running():
            await LedgerStore(database).write([CALL], [])
            return await LedgerStore(database).request("req_1")

    asyncio.run(migrate_to(location, None))
    asyncio.run(execute(location, "UPDATE alembic_version SET version_num = '0999'"))

    assert asyncio.run(migrate_to(location, None)) == ("0999", "0999")
    assert asyncio.run(state_of(location)) == ("0999", None)
    assert asyncio.run(use()) == (CALL, [])
    with pytest.raises(StoreUnavailable, match="only a newer version of Signalbox can change"):
        asyncio.run(migrate_to(location, OLDEST))


def test_the_command_migrates_checks_and_reports(run: Any) -> None:
    before = run("migrate", "--check")
    migrated = run("migrate")
    after = run("migrate", "--check")
    down = run("migrate", "--to", "0001")
    old = run("migrate", "--check")
    up = run("migrate", "--to", OLDEST)

    assert (before.exit_code, migrated.exit_code, after.exit_code) == (1, 0, 0)
    assert "the database has no tables" in before.output
    assert f"revision {HEAD}, was empty" in migrated.output
    assert f"revision {HEAD}, ok" in after.output
    assert (down.exit_code, old.exit_code) == (0, 1)
    assert f"revision 0001, was {HEAD}" in down.output
    assert f"the schema has revision 0001, but this version needs {OLDEST}; run `signalbox migrate`" in old.output
    assert up.exit_code == 0


def test_a_pending_migration_of_a_usable_schema_is_named() -> None:
    pending = pending_text("0003")

    assert (
        pending == f"the schema has revision 0003, which this version can use; `signalbox migrate` changes it to {HEAD}"
    )
    assert pending_text(HEAD) is None


@pytest.mark.parametrize("arguments", [["--to", "0042"], ["--to", "0001", "--check"], ["--zzz"]])
def test_invalid_arguments_exit_with_2(run: Any, arguments: list[str]) -> None:
    assert run("migrate", *arguments).exit_code == 2


def test_a_store_that_is_none_has_nothing_to_migrate(tmp_path: Path) -> None:
    config = tmp_path / "signalbox.yaml"
    config.write_text("store: none\n")

    result = CliRunner().invoke(main, ["migrate", "-c", str(config)])

    assert result.exit_code == 2
    assert "`store` is `none`" in result.output


def test_an_unreachable_database_exits_with_1_without_its_password(tmp_path: Path) -> None:
    config = tmp_path / "signalbox.yaml"
    config.write_text("store: postgresql://u:canary-password@127.0.0.1:1/db\n")

    result = CliRunner().invoke(main, ["migrate", "-c", str(config)])

    assert result.exit_code == 1
    assert "127.0.0.1:1/db is unavailable" in result.output
    assert "canary" not in result.output + repr(result.exception)


@pytest.mark.anyio
async def test_postgresql_is_not_migrated_by_its_use(postgres: Postgres) -> None:
    location = locate(postgres.url(postgres.create()), "")
    assert location is not None
    database = Database(location, SystemClock())

    async with database.running():
        with pytest.raises(StoreUnavailable, match="the database has no tables.*run `signalbox migrate`"):
            await LedgerStore(database).write([CALL], [])
