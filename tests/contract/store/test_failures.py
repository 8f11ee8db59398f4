"""What follows from failures of the databases: stopped, frozen, restarted, cut, full, killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.store.database import Database
from proxy.store.errors import StoreUnavailable
from proxy.store.ledger import LedgerStore
from tests.support.cut_proxy import CutProxy
from tests.support.databases import Postgres
from tests.support.store_writer import COST, SIZE, batch
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

EVER = 2**62


def opened(url: str) -> Database:
    location = locate(url, "")
    assert location is not None
    return Database(location, SystemClock())


async def eventually(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not look():
            await SystemClock().sleep(0.01)


async def spent(database: Database) -> int:
    return await LedgerStore(database).spent("total", "", 0, EVER)


async def written(database: Database, number: int) -> None:
    """Write a batch, again and again until the store has it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(StoreUnavailable):
                return await LedgerStore(database).write(*batch("a", number))
            await asyncio.sleep(0.05)


async def assert_fails_at_once(database: Database) -> None:
    """Nothing is sent to the database: the call ends in its first step."""
    for use in (database.read, database.write):
        call = use(lambda connection: connection.exec_driver_sql("SELECT 1"))
        with pytest.raises(StoreUnavailable):
            call.send(None)


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Postgres]:
    """The server, which a test may stop or freeze."""
    yield postgres
    postgres.thaw()
    if not postgres.runs():
        postgres.start()


@pytest.mark.parametrize("failure", ["stopped", "frozen"])
async def test_while_postgresql_fails_all_uses_fail_at_once(
    server: Postgres, postgres_url: str, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = opened(postgres_url)
    changes: list[bool] = []
    database.on_change = changes.append
    async with database.running():
        await written(database, 0)
        server.stop() if failure == "stopped" else server.freeze()

        with pytest.raises(StoreUnavailable, match="127.0.0.1"):
            await database.read(lambda connection: connection.exec_driver_sql("SELECT 1"), 0.2)
        assert database.degraded
        await assert_fails_at_once(database)
        server.start() if failure == "stopped" else server.thaw()
        await eventually(lambda: not database.degraded)

        await written(database, 1)
        assert await spent(database) == 2 * SIZE * COST
    assert changes == [True, False]
    assert "the store is unavailable" in caplog.messages
    assert "wörd" not in caplog.text


async def test_a_long_write_is_cut_off_when_nothing_answers(server: Postgres, postgres_url: str) -> None:
    database = opened(postgres_url)
    async with database.running():
        await written(database, 0)
        server.freeze()

        with pytest.raises(StoreUnavailable, match="no answer within 1 s"):
            await LedgerStore(database).write(*batch("a", 1))

        assert database.degraded
        server.thaw()
        await written(database, 1)
        assert await spent(database) == 2 * SIZE * COST


async def test_a_slow_statement_does_not_make_the_store_unavailable(postgres_url: str) -> None:
    database = opened(f"{postgres_url}?statement_timeout=100")
    async with database.running():
        with pytest.raises(StoreUnavailable, match="the statement took too long"):
            await database.read(lambda connection: connection.exec_driver_sql("SELECT pg_sleep(30)"))

        assert not database.degraded


async def test_reads_are_repeated_after_a_restart(server: Postgres, postgres_url: str) -> None:
    database = opened(postgres_url)
    async with database.running():
        await written(database, 0)
        server.stop()
        server.start()

        assert await spent(database) == SIZE * COST
        assert not database.degraded


async def test_a_commit_whose_answer_is_lost_counts_once(postgres: Postgres, postgres_url: str) -> None:
    async with CutProxy(postgres.port).running() as proxy:
        database = opened(postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/"))
        async with database.running():
            await written(database, 0)
            proxy.armed = True

            with pytest.raises(StoreUnavailable):
                await LedgerStore(database).write(*batch("a", 1))
            await written(database, 1)

            assert proxy.cuts == 1
            assert await spent(database) == 2 * SIZE * COST


async def test_a_server_that_is_a_standby_is_unavailable(server: Postgres, postgres_url: str) -> None:
    database = opened(f"{postgres_url}?default_transaction_read_only=on")
    async with database.running():
        with pytest.raises(StoreUnavailable, match="read-only"):
            await LedgerStore(database).write(*batch("a", 0))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with space for 2 MiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


async def test_a_full_disk_stops_writing_only(small_disk: Path) -> None:
    database = opened(f"sqlite:///{small_disk}/signalbox.db")
    async with database.running():
        await written(database, 0)
        fill(small_disk / "filler")

        failed, error = await first_failure(database)
        assert "the disk is full" in error
        assert database.degraded
        assert await spent(database) == failed * SIZE * COST
        (small_disk / "filler").unlink()
        await eventually(lambda: not database.degraded)

        for number in range(failed + 1):
            await written(database, number)
        assert await spent(database) == (failed + 1) * SIZE * COST
    assert intact(small_disk / "signalbox.db")


@pytest.mark.parametrize("first", ["read", "write"])
async def test_a_deleted_file_is_created_again(tmp_path: Path, first: str) -> None:
    path = tmp_path / "data" / "signalbox.db"
    database = opened(f"sqlite:///{path}")
    async with database.running():
        await written(database, 0)
        assert await spent(database) == SIZE * COST
        shutil.rmtree(path.parent)

        with pytest.raises(StoreUnavailable, match="its file was deleted or replaced"):
            await (spent(database) if first == "read" else LedgerStore(database).write(*batch("a", 1)))
        await eventually(lambda: path.exists() and not database.degraded)
        await written(database, 2)

    assert path.stat().st_mode & 0o777 == 0o600
    assert intact(path)
    database = opened(f"sqlite:///{path}")
    async with database.running():
        assert await spent(database) == SIZE * COST


async def test_a_folder_that_cannot_be_written_is_named_by_its_error(tmp_path: Path) -> None:
    (tmp_path / "data").touch()  # where a folder must be
    database = opened(f"sqlite:///{tmp_path}/data/signalbox.db")
    async with database.running():
        for use in (lambda: LedgerStore(database).write(*batch("a", 0)), lambda: spent(database)):
            with pytest.raises(StoreUnavailable) as caught:
                await use()
            assert "deleted" not in str(caught.value)


async def test_two_processes_write_to_one_store(store_url: str) -> None:
    with writer(store_url, "a", 10) as first, writer(store_url, "b", 10) as second:
        first.communicate()
        second.communicate()

    assert (first.returncode, second.returncode) == (0, 0)

    database = opened(store_url)
    async with database.running():
        assert await spent(database) == 2 * 10 * SIZE * COST


async def test_a_killed_writer_leaves_whole_batches(store_url: str) -> None:
    with writer(store_url, "a", 10_000) as process:
        assert process.stdout is not None
        committed = [int(process.stdout.readline()) for _ in range(5)][-1] + 1
        process.send_signal(signal.SIGKILL)

    database = opened(store_url)
    async with database.running():
        before = await spent(database)
        assert before % (SIZE * COST) == 0
        assert before >= committed * SIZE * COST
        batches = before // (SIZE * COST)
        for number in range(batches + 1):
            await LedgerStore(database).write(*batch("a", number))
        assert await spent(database) == before + SIZE * COST
    if store_url.startswith("sqlite"):
        assert intact(Path(store_url.removeprefix("sqlite:///")))


async def first_failure(database: Database) -> tuple[int, str]:
    """Write batches until one fails; return its number and the error."""
    for number in range(1, 1000):
        try:
            await LedgerStore(database).write(*batch("a", number))
        except StoreUnavailable as exc:
            return number, str(exc)
    raise AssertionError("the disk was never full")


def writer(store: str, prefix: str, batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.store_writer", store, prefix, str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def intact(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert os.statvfs(path.parent).f_bfree == 0
