"""The budget store over a real Redis, in which time passes only as a test's clock does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.capacity.redis.budgets import RedisBudgets
from tests.support.fakes import FakeClock
from tests.support.redis_counters import TEST_TIME, TimedClient, connected


@asynccontextmanager
async def redis_budgets(url: str, clock: FakeClock) -> AsyncIterator[RedisBudgets]:
    """Yield a store of one process."""
    client = TimedClient(url, clock)
    store = RedisBudgets(client, time=TEST_TIME)
    async with connected(client):
        yield store
