"""The database is opened, and its libraries are imported, when it is first used."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import PATIENCE

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


class Driver:
    """A connection and a cursor, whose first statements fail."""

    def __init__(self, *errors: str) -> None:
        self.errors = list(errors)
        self.ran: list[str] = []

    def execute(self, statement: str) -> None:
        if self.errors:
            raise sqlite3.OperationalError(self.errors.pop(0))
        self.ran.append(statement)

    def run_async(self, work: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        asyncio.run(work(None))


def test_journal_mode_is_set_when_another_process_has_set_it() -> None:
    from proxy.store.engines import run_pragma

    driver = Driver("database is locked", "database is locked")

    run_pragma(driver, driver, "journal_mode=WAL", PATIENCE)

    assert driver.ran == ["PRAGMA journal_mode=WAL"]


@pytest.mark.parametrize(("error", "seconds"), [("database is locked", 0.0), ("disk I/O error", PATIENCE)])
def test_pragma_that_cannot_be_run_is_an_error(error: str, seconds: float) -> None:
    from proxy.store.engines import run_pragma

    driver = Driver(error)

    with pytest.raises(sqlite3.OperationalError, match=error):
        run_pragma(driver, driver, "journal_mode=WAL", seconds)
