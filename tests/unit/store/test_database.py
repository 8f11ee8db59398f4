"""The database is opened, and its libraries are imported, when it is first used."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

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
