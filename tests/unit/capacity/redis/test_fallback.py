"""Limits before, during and after an outage, with `dependencies.state.fail: open`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.capacity.memory import MemoryCounters
from proxy.capacity.redis.client import StateClient
from proxy.capacity.redis.counters import RedisCounters
from proxy.capacity.redis.fallback import FallbackCounters
from proxy.capacity.store import Charge, CounterKey, Reservation, Wait
from proxy.core.clock import SystemClock
from tests.support.redis_server import RedisServer, redis_server_at
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

OWNER = ("a", "m", "k")
TWO = Charge(CounterKey(OWNER, "rpm"), 2, 60.0, 1)
SLOT = Charge(CounterKey(OWNER, "concurrency"), 1, 0.0, 1)


class Scene:
    """A store over a server that may fail."""

    def __init__(self, server: RedisServer) -> None:
        clock = SystemClock()
        self.server = server
        self.client = StateClient(server.url, clock)
        self.store = FallbackCounters(self.client, RedisCounters(self.client, clock), MemoryCounters(clock))

    async def reserved(self, *charges: Charge) -> Reservation:
        reservation = await self.store.reserve(charges)
        assert isinstance(reservation, Reservation)
        return reservation

    async def is_full(self, *charges: Charge) -> bool:
        return isinstance(await self.store.reserve(charges), Wait)

    async def fails(self) -> None:
        self.server.stop()
        await until(lambda: not self.client.available)

    async def recovers(self) -> None:
        self.server.start()
        await until(lambda: self.client.available)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110, another process changes it
            await asyncio.sleep(0.005)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    with redis_server_at(tmp_path) as server:
        scene = Scene(server)
        await scene.client.start()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(scene.client.run())
            await asyncio.sleep(0)
            yield scene
            task.cancel()


async def test_this_process_counts_from_zero_during_an_outage(scene: Scene) -> None:
    await scene.reserved(TWO)
    await scene.fails()

    await scene.reserved(TWO)
    await scene.reserved(TWO)

    assert await scene.is_full(TWO)
    assert await scene.store.wait([TWO]) > 0
    assert [row.used for row in await scene.store.read()] == [2]


async def test_a_reservation_ends_where_it_was_made(scene: Scene) -> None:
    shared = await scene.reserved(SLOT)
    await scene.fails()
    local = await scene.reserved(SLOT)
    assert await scene.is_full(SLOT)

    scene.store.release(shared)
    assert await scene.is_full(SLOT)
    scene.store.settle(local, None)

    await scene.reserved(SLOT)


async def test_slots_in_use_are_registered_after_an_outage(scene: Scene) -> None:
    held = await scene.reserved(SLOT)
    await scene.fails()
    await scene.recovers()
    assert await scene.is_full(SLOT)

    scene.store.release(held)

    await scene.reserved(SLOT)


async def test_a_slot_that_was_freed_during_the_outage_is_free_after_it(scene: Scene) -> None:
    held = await scene.reserved(SLOT)
    await scene.fails()
    scene.store.release(held)
    await scene.recovers()

    await scene.reserved(SLOT)


async def test_a_cooldown_holds_in_both(scene: Scene) -> None:
    scene.store.start_cooldown(TWO.counter, 30)
    assert await scene.is_full(TWO)

    await scene.fails()
    assert await scene.is_full(TWO)
    scene.store.end_cooldown(TWO.counter)

    await scene.reserved(TWO)


async def test_nothing_is_reserved_at_once(scene: Scene) -> None:
    assert scene.store.shared
    assert not scene.store.fits_at_once([TWO])
    assert scene.store.reserve_at_once([TWO]) is None
