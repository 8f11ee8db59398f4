"""The service that deletes old records goes on after a failure."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from proxy.store.errors import StoreUnavailable
from proxy.store.retention import (
    FEWEST,
    INTERVAL_SECONDS,
    PAUSE_SECONDS,
    PAUSE_SHARE,
    SLICE,
    SLICE_SECONDS,
    Retention,
    next_size,
)
from tests.support.fakes import FakeClock, turn

pytestmark = pytest.mark.anyio


class Failing:
    """A database whose transactions fail."""

    opened = True

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.writes = 0

    async def write(self, work: Any) -> int:
        self.writes += 1
        await asyncio.sleep(0)
        raise self.error


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (StoreUnavailable("away"), set[str]()),
        (RuntimeError("a column is missing"), {"old records could not be deleted"}),
    ],
)
async def test_a_failure_does_not_end_the_service(
    error: Exception, lines: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    database, clock = Failing(error), FakeClock()
    retention = Retention(database, lambda: 1.0, lambda: None, clock, random.Random(1))  # type: ignore[arg-type]

    async with asyncio.TaskGroup() as group:
        task = group.create_task(retention.run())
        await turn()
        task.cancel()

    assert database.writes > 1
    assert min(clock.slept) >= INTERVAL_SECONDS / 2
    assert set(caplog.messages) == lines


class Slow:
    """A database whose transactions take so many seconds each, and which has that many slices to delete."""

    opened = True

    def __init__(self, clock: FakeClock, seconds: list[float]) -> None:
        self._clock = clock
        self._seconds = seconds

    async def write(self, work: Any) -> int:
        if not self._seconds:
            return 0
        self._clock.pass_(self._seconds.pop(0))
        return 1


async def test_pauses_are_as_long_as_the_database_is_slow() -> None:
    clock = FakeClock()
    database = Slow(clock, [0.001, 1.0, 0.001])
    retention = Retention(database, lambda: 1.0, lambda: None, clock, random.Random(1))  # type: ignore[arg-type]

    assert await retention.delete_old() == 3

    assert clock.slept == pytest.approx([PAUSE_SECONDS, PAUSE_SHARE * 1.0, PAUSE_SECONDS])


def test_slices_shrink_while_they_take_long_and_grow_again() -> None:
    sizes = [SLICE]
    for _ in range(10):
        sizes.append(next_size(sizes[-1], 10 * SLICE_SECONDS))
    for _ in range(40):
        sizes.append(next_size(sizes[-1], SLICE_SECONDS / 2))

    assert sizes[1] == SLICE // 4
    assert sizes[10] == FEWEST
    assert sizes[11:] == sorted(sizes[11:])
    assert sizes[-1] == SLICE
