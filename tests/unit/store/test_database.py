"""The database is opened, and its libraries are imported, when it is first used."""

from __future__ import annotations

import subprocess
import sys

LIBRARIES = ("sqlalchemy", "alembic", "aiosqlite", "asyncpg", "sqlite3")


def test_the_service_imports_no_database_library() -> None:
    code = f"import sys, proxy.app; print([name for name in {LIBRARIES!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
