"""Failing fast, and recovering, with a scripted database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.store.errors import Missing, StoreUnavailable
from proxy.store.failures import Unusable
from proxy.store.pool import ATTEMPTS, LOG_SECONDS, Pool
from tests.support.fakes import FakeClock, turn

pytestmark = pytest.mark.anyio


class Engine:
    """An engine whose transactions fail with the errors in `failures`, in order."""

    def __init__(self, failures: list[Exception]) -> None:
        self.failures = failures
        self.disposed = False

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Engine]:
        if self.failures:
            raise self.failures.pop(0)
        yield self

    async def dispose(self) -> None:
        self.disposed = True


class Opener:
    """A database that may be down."""

    concurrent = False

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.down: Exception | None = None
        self.engines: list[Engine] = []

    async def open(self) -> Any:
        if self.down is not None:
            raise self.down
        self.engines.append(Engine(self.failures))
        return self.engines[-1]

    async def probe(self, engine: Any) -> None:
        pass


class Conflict(Exception):
    sqlstate = "40001"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def opener() -> Opener:
    return Opener()


@pytest.fixture
def changes() -> list[bool]:
    return []


@pytest.fixture
async def pool(opener: Opener, clock: FakeClock, changes: list[bool]) -> AsyncIterator[Pool]:
    pool = Pool("db", opener, clock, lambda: changes.append(pool.degraded))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pool.run())
        await turn()
        yield pool
        task.cancel()


async def one(connection: Any) -> int:
    return 1


async def test_a_pool_opens_once_for_all_of_its_first_users(pool: Pool, opener: Opener) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pool.use(one, 1.0, again=False)) for _ in range(5)]

    assert [task.result() for task in tasks] == [1] * 5
    assert len(opener.engines) == 1


async def test_a_lost_connection_is_replaced_for_a_read(pool: Pool, opener: Opener, changes: list[bool]) -> None:
    opener.failures.append(ConnectionResetError(104, "Connection reset by peer"))

    assert await pool.use(one, 1.0, again=True) == 1
    assert changes == []


async def test_a_lost_connection_fails_a_write_and_the_pool_recovers(
    pool: Pool, opener: Opener, changes: list[bool]
) -> None:
    opener.failures.append(ConnectionResetError(104, "Connection reset by peer"))

    with pytest.raises(StoreUnavailable, match="the store db is unavailable: Connection reset by peer"):
        await pool.use(one, 1.0, again=False)
    await turn()

    assert changes == [True, False]
    assert [engine.disposed for engine in opener.engines] == [True, False]
    assert await pool.use(one, 1.0, again=False) == 1


async def test_while_a_database_is_down_nothing_is_tried(pool: Pool, opener: Opener) -> None:
    opener.down = Unusable("the server is too old")
    with pytest.raises(StoreUnavailable, match="too old"):
        await pool.use(one, 1.0, again=True)

    call = pool.use(one, 1.0, again=True)
    with pytest.raises(StoreUnavailable, match="too old"):
        call.send(None)
    assert pool.degraded

    opener.down = None
    await turn()
    assert not pool.degraded
    assert await pool.use(one, 1.0, again=True) == 1


@pytest.mark.parametrize(("conflicts", "succeeds"), [(ATTEMPTS - 1, True), (ATTEMPTS, False)])
async def test_conflicting_transactions_are_repeated(
    pool: Pool, opener: Opener, conflicts: int, *, succeeds: bool
) -> None:
    opener.failures += [Conflict() for _ in range(conflicts)]

    if succeeds:
        assert await pool.use(one, 1.0, again=False) == 1
    else:
        with pytest.raises(StoreUnavailable, match="conflicting"):
            await pool.use(one, 1.0, again=False)
    assert not pool.degraded


@pytest.mark.parametrize("error", [Missing("no such row"), ValueError("a mistake of ours")], ids=["store", "other"])
async def test_other_errors_are_raised_as_they_are(pool: Pool, error: Exception) -> None:
    async def fail(connection: Any) -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        await pool.use(fail, 1.0, again=True)
    assert not pool.degraded


async def test_work_is_not_cut_when_its_caller_leaves(pool: Pool) -> None:
    done, proceed = [], asyncio.Event()

    async def work(connection: Any) -> None:
        await proceed.wait()
        done.append(True)

    async with asyncio.TaskGroup() as group:
        caller = group.create_task(pool.use(work, 60.0, again=False))
        await turn()
        caller.cancel()
    proceed.set()
    await turn()

    assert caller.cancelled()
    assert done == [True]


async def test_work_that_hangs_makes_the_pool_fail(pool: Pool, changes: list[bool]) -> None:
    cancelled = []

    async def hang(connection: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    with pytest.raises(StoreUnavailable, match=r"no answer within 0\.01 s"):
        await pool.use(hang, 0.01, again=False)
    await turn()

    assert changes == [True, False]
    assert cancelled == [True]


async def test_a_busy_event_loop_is_no_failure_of_the_database(pool: Pool, changes: list[bool]) -> None:
    blocked = threading.Event()

    async def work(connection: Any) -> int:
        for _ in range(12):
            blocked.wait(0.02)  # other calls, in each turn of the event loop
            await asyncio.sleep(0)
        return 1

    assert await pool.use(work, 0.1, again=False) == 1
    assert changes == []


async def test_failures_are_logged_at_most_once_a_second(
    opener: Opener, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    opener.down = ConnectionRefusedError(111, "Connection refused")
    pool = Pool("db", opener, clock, lambda: None)
    began = clock.now
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pool.run())
        with pytest.raises(StoreUnavailable):
            await pool.open()
        await turn(1000)
        task.cancel()

    errors = [record for record in caplog.records if record.message == "the store is unavailable"]
    assert 1 < len(errors) <= (clock.now - began) / LOG_SECONDS + 1


async def test_a_failure_of_replaced_connections_does_not_count(pool: Pool, opener: Opener) -> None:
    proceed = asyncio.Event()

    async def fail_late(connection: Any) -> None:
        await proceed.wait()
        raise ConnectionResetError(104, "Connection reset by peer")

    async with asyncio.TaskGroup() as group:
        late = group.create_task(caught(pool, fail_late))
        await turn()
        opener.engines[0].failures.append(ConnectionResetError(104, "Connection reset by peer"))
        assert isinstance(await caught(pool, one), StoreUnavailable)
        await turn()
        assert not pool.degraded
        proceed.set()

    assert isinstance(late.result(), StoreUnavailable)
    assert not pool.degraded


async def caught(pool: Pool, work: Any) -> Any:
    """Return the result, or the error."""
    try:
        return await pool.use(work, 60.0, again=False)
    except StoreUnavailable as exc:
        return exc


async def test_work_under_way_when_the_service_ends_is_completed(opener: Opener, clock: FakeClock) -> None:
    pool = Pool("db", opener, clock, lambda: None)
    proceed = asyncio.Event()

    async def work(connection: Any) -> str:
        await proceed.wait()
        return "done"

    async with asyncio.TaskGroup() as group:
        service = group.create_task(pool.run())
        await turn()
        user = group.create_task(pool.use(work, 60.0, again=False))
        await turn()
        service.cancel()
        await turn()
        assert not service.done()
        proceed.set()

    assert user.result() == "done"
    assert service.cancelled()


async def test_what_is_used_after_the_service_has_ended_runs_by_itself(opener: Opener) -> None:
    ended = Pool("db", opener, FakeClock(), lambda: None)
    async with asyncio.TaskGroup() as group:
        service = group.create_task(ended.run())
        await turn()
        service.cancel()

    assert await ended.use(one, 1.0, again=False) == 1
