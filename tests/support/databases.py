"""Databases for tests: a SQLite file, and a real PostgreSQL server that is started once for each test process."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.store.database import Database
from tests.support.waiting import until

OLDEST = 15
USER, PASSWORD = "signalbox", "p@ss/wörd"  # must be encoded in a URL
ENCODED = "p%40ss%2Fw%C3%B6rd"


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs; `None` if it is not installed."""
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()]
    versions = [path for path in versions if int(path.parent.name) >= OLDEST and (path / "initdb").exists()]
    if versions:
        return max(versions, key=lambda path: int(path.parent.name))
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


class Postgres:
    """A server on a free port of loopback, without durability. It refuses to run as root, so root becomes another."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._user = _other_user() if os.getuid() == 0 else None
        self._home = Path(tempfile.mkdtemp(prefix="signalbox-pg-"))
        self._data = self._home / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        secret = self._home / "password"
        secret.write_text(PASSWORD)
        if self._user:
            shutil.chown(self._home, self._user)
            shutil.chown(secret, self._user)
        self._call(
            "initdb", "-D", str(self._data), "-U", USER, "--pwfile", str(secret), "-A", "scram-sha-256", "-E", "UTF8",
            "--locale=C.UTF-8", "-N",
        )  # fmt: skip

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{USER}:{ENCODED}@127.0.0.1:{self.port}/{database}"

    @property
    def socket_folder(self) -> Path:
        """The folder of the server's unix socket."""
        return self._home

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._home),
            "fsync": "off",  # the system keeps what a killed server has written
            "full_page_writes": "off",
            "max_connections": "60",
            "shared_buffers": "32MB",
            "autovacuum": "off",
            "logging_collector": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [str(self._programs / "postgres"), "-D", str(self._data), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd="/",
        )
        until(self._accepts)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the server without waiting for its clients."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def runs(self) -> bool:
        """Return whether the server has been started."""
        return self._process is not None

    def freeze(self) -> None:
        """Suspend all processes of the server: connections are accepted by the system, and never answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue them."""
        self._signal(signal.SIGCONT)

    def create(self) -> str:
        """Create a database without tables, and return its name."""
        name = f"db{next(self._numbers)}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return name

    def execute(self, database: str, statement: str) -> list[str]:
        """Run a statement in a database; return its rows, with the columns separated by `|`."""
        done = self._call("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database))
        return done.splitlines()

    def remove(self) -> None:
        """Stop the server, and delete its files."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        parent = self._process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for pid in [parent, *map(int, children)]:
            os.kill(pid, number)

    def _accepts(self) -> bool:
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    def _call(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            user=self._user,
            cwd="/",
            capture_output=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


def _other_user() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL server."""
    programs = binaries()
    if programs is None:
        pytest.skip(f"PostgreSQL {OLDEST} or newer is not installed; `bash tests/setup.sh` installs it")
    server = Postgres(programs)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_database(postgres: Postgres) -> str:
    """The name of a database with all tables, which tests use one after another: a new one takes 7 MiB."""
    from proxy.store.migrate import migrate_to

    name = postgres.create()
    location = locate(postgres.url(name), "")
    assert location is not None
    asyncio.run(migrate_to(location, None))
    return name


@pytest.fixture
def postgres_url(postgres: Postgres, postgres_database: str) -> str:
    """The URL of a PostgreSQL database with empty tables."""
    from proxy.store.schema import meta, metadata

    tables = [table.name for table in metadata.sorted_tables if table is not meta]
    postgres.execute(postgres_database, "; ".join(f"DELETE FROM {name}" for name in tables))
    return postgres.url(postgres_database)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The setting `store` of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/signalbox.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The setting `store` of an empty store, for each database."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    """An empty store, for each database, with its service running."""
    location = locate(store_url, "")
    assert location is not None
    database = Database(location, SystemClock())
    async with database.running():
        yield database
