"""The service that deletes old records goes on after a failure."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from proxy.store.errors import StoreUnavailable
from proxy.store.retention import INTERVAL_SECONDS, Retention
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
