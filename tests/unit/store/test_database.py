"""The database is opened, and its libraries are imported, when it is first used."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import FakeClock

LIBRARIES = ("sqlalchemy", "alembic", "aiosqlite", "asyncpg", "sqlite3")


def test_the_service_imports_no_database_library() -> None:
    code = f"import sys, proxy.app; print([name for name in {LIBRARIES!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_creating_a_file_that_exists_keeps_its_locks(tmp_path: Path) -> None:
    from proxy.store.engines import create_file

    path = tmp_path / "signalbox.db"
    create_file(str(path))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x)")
    create_file(str(path))  # as a probe does

    other = f"import sqlite3; c = sqlite3.connect({str(path)!r}); c.execute('SELECT * FROM t'); c.close()"
    subprocess.run([sys.executable, "-c", other], check=True)

    assert Path(f"{path}-wal").exists()
    connection.close()


@pytest.mark.parametrize("attempts", [1, 3])
async def test_new_file_is_opened_when_another_process_has_created_its_tables(
    attempts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proxy.store import migrations
    from proxy.store.database import SqliteWriter

    migrate, left = migrations.migrate_if_needed, attempts

    async def locked_at_first(engine: Any) -> None:
        nonlocal left
        left -= 1
        if left:
            raise sqlite3.OperationalError("database is locked")
        await migrate(engine)

    monkeypatch.setattr(migrations, "migrate_if_needed", locked_at_first)
    writer = SqliteWriter(str(tmp_path / "signalbox.db"), FakeClock())

    engine = await writer.open()
    revision = await migrations.current(engine)
    await engine.dispose()

    assert revision == migrations.HEAD


async def test_file_that_stays_locked_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.store import migrations
    from proxy.store.database import SqliteWriter

    async def locked(engine: Any) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(migrations, "migrate_if_needed", locked)

    with pytest.raises(sqlite3.OperationalError):
        await SqliteWriter(str(tmp_path / "signalbox.db"), FakeClock()).open()
