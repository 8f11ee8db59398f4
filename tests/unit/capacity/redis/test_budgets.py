"""Budgets in Redis while it is unavailable, restarted empty, or its answers are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.capacity.budget_store import BudgetCharge, BudgetCounter, BudgetReservation, Granted, Spending, Unseeded
from proxy.capacity.redis.budgets import RedisBudgets
from proxy.capacity.redis.client import StateClient
from proxy.core.clock import SystemClock
from proxy.core.errors import StateUnavailable
from tests.support.redis_server import Line, RedisServer, redis_server_at
from tests.support.redis_server import shared_redis as shared_redis

LEASE = 60.0
CHARGE = BudgetCharge(BudgetCounter("user", "alice", "month", 1_764_547_200), 4_000_000_000, hard=100)
FOREVER = BudgetCharge(BudgetCounter("total", "", "total", 0), None, hard=1000)

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[StateClient, RedisBudgets]]:
    client = StateClient(url, SystemClock())
    store = RedisBudgets(client)
    await client.start()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.run())
        try:
            yield client, store
        finally:
            task.cancel()


async def available(client: StateClient, wanted: bool = True) -> None:
    async with asyncio.timeout(10):
        while client.available is not wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def state(store: RedisBudgets, charge: BudgetCharge = CHARGE) -> Spending | None:
    [row] = await store.read([charge.counter])
    return row


def reservation(nusd: int, *charges: BudgetCharge, id: str = "p-1") -> BudgetReservation:
    return BudgetReservation(id, charges or (CHARGE,), nusd)


async def test_what_is_settled_in_an_outage_is_added_after_it(tmp_path: Path) -> None:
    with redis_server_at(tmp_path) as server:
        async with Line(server.port) as line, connected(line.url) as (client, store):
            await store.seed(CHARGE, 0)
            first, second = reservation(60), reservation(30, id="p-2")
            await store.reserve(first, LEASE)
            await store.reserve(second, LEASE)

            server.freeze()
            with pytest.raises(StateUnavailable):
                await store.read([CHARGE.counter])
            for each in (first, second, first):
                store.settle(each, 7)
            server.thaw()
            await available(client)

            row = await state(store)
    assert row == Spending(14, 0)


async def test_a_settlement_whose_answer_is_lost_counts_once(tmp_path: Path) -> None:
    with redis_server_at(tmp_path) as server:
        async with Line(server.port) as line, connected(line.url) as (client, store):
            await store.seed(CHARGE, 0)
            held = reservation(60)
            await store.reserve(held, LEASE)

            line.delay = 0.4  # longer than an answer may take: the script runs, and its answer is too late
            store.settle(held, 7)
            await available(client, wanted=False)
            line.delay = 0.0
            await available(client)

            assert await state(store) == Spending(7, 0)


async def test_a_redis_restarted_empty_is_seeded_again(tmp_path: Path) -> None:
    with redis_server_at(tmp_path) as server:
        async with connected(server.url) as (client, store):
            await store.seed(CHARGE, 10)
            held = reservation(60)
            await store.reserve(held, LEASE)

            server.stop()
            await available(client, wanted=False)
            server.start()
            await available(client)

            other = reservation(30, id="p-2")
            assert await store.reserve(other, LEASE) == Unseeded((CHARGE,))
            store.renew([held], LEASE)
            await store.seed(CHARGE, 10)
            assert await store.reserve(other, LEASE) == Granted()
            assert await state(store) == Spending(10, 90)
            store.settle(held, 7)
            assert await state(store) == Spending(17, 30)


async def test_counters_end_some_days_after_their_window(shared_redis: RedisServer) -> None:
    shared_redis.command("FLUSHALL")
    async with connected(shared_redis.url) as (_, store):
        for charge in (CHARGE, FOREVER):
            await store.seed(charge, 0)
        held = reservation(0, CHARGE, FOREVER)
        await store.reserve(held, LEASE)
        store.settle(held, 0)
        await store.read([CHARGE.counter])

        ends = {
            name: shared_redis.command("EXPIRETIME", "{signalbox}:budget:" + name)
            for name in ("user:month:1764547200:alice", "total:total:0:")
        }

    assert ends == {"user:month:1764547200:alice": ":4000172800\r\n", "total:total:0:": ":-1\r\n"}


async def test_large_amounts_are_exact(shared_redis: RedisServer) -> None:
    shared_redis.command("FLUSHALL")
    large = 2**60
    async with connected(shared_redis.url) as (_, store):
        await store.seed(FOREVER._replace(hard=None), large)
        held = reservation(large + 1, FOREVER._replace(hard=None))
        await store.reserve(held, LEASE)
        assert await state(store, FOREVER) == Spending(large, large + 1)
        store.settle(held, 3)

        assert await state(store, FOREVER) == Spending(large + 3, 0)
