"""The counter store in Redis: several processes, lost processes, clocks that jump."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.capacity.memory import MemoryCounters
from proxy.capacity.redis.client import StateClient
from proxy.capacity.redis.counters import RENEW_SECONDS, RedisCounters
from proxy.capacity.redis.scripts import LEASE_SECONDS
from proxy.capacity.store import Charge, CounterKey, CounterStore, Reservation, Wait
from proxy.core.clock import SystemClock
from proxy.core.window import PARTS
from tests.support.fakes import FakeClock
from tests.support.redis_counters import redis_counters
from tests.support.redis_server import RedisServer, redis_server_at
from tests.support.redis_server import redis as redis
from tests.support.redis_server import shared_redis as shared_redis

pytestmark = pytest.mark.anyio

OWNER = ("openai", "gpt-4o", "main")
RPM = Charge(CounterKey(OWNER, "rpm"), 2, 60.0, 1)
TPM = Charge(CounterKey(OWNER, "tpm"), 100, 60.0, 60, estimated=True)
ONE = Charge(CounterKey(OWNER, "concurrency"), 1, 0.0, 1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(100_000.0)


@pytest.fixture
async def store(redis: RedisServer, clock: FakeClock) -> AsyncIterator[RedisCounters]:
    async with redis_counters(redis.url, clock) as store:
        yield store


@asynccontextmanager
async def on_server_time(url: str) -> AsyncIterator[RedisCounters]:
    """A store as `serve` uses it: on the clock of Redis."""
    client = StateClient(url, SystemClock())
    await client.start()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.run())
        await asyncio.sleep(0)
        yield RedisCounters(client, SystemClock())
        task.cancel()


def drop_counters(redis: RedisServer) -> None:
    """Do what an eviction or a restart does to the counters; the test's clock stays."""
    drop = "for _, key in ipairs(redis.call('KEYS', '{signalbox}:limits:*')) do redis.call('DEL', key) end"
    redis.command("EVAL", drop, "0")


async def reserved(store: RedisCounters, *charges: Charge) -> Reservation:
    reservation = await store.reserve(charges)
    assert isinstance(reservation, Reservation)
    return reservation


async def test_the_clock_of_redis_is_used(redis: RedisServer) -> None:
    async with on_server_time(redis.url) as store:
        first = await reserved(store, RPM, TPM, ONE)
        wait = await store.reserve([RPM, TPM])
        store.settle(first, 10)

        assert isinstance(wait, Wait)
        assert 0 < wait.seconds < 60.5
        assert [(row.counter.kind, row.used, row.limit) for row in await store.read()] == [
            ("rpm", 1, 2),
            ("tpm", 10, 100),
        ]


async def test_every_key_expires_and_has_a_bounded_size(redis: RedisServer) -> None:
    async with on_server_time(redis.url) as store:
        for _ in range(50):
            await store.reserve([RPM._replace(limit=1000), TPM._replace(limit=10**6), ONE._replace(limit=1000)])
        store.start_cooldown(RPM.counter, 5)
        await store.read()

        keys = redis.command("KEYS", "{signalbox}:limits:*").split("\r\n")[2::2]
        assert len(keys) == 4
        assert all(int(redis.command("PTTL", key)[1:]) > 0 for key in keys)
        windows = [key for key in keys if ":w:" in key]
        assert all(int(redis.command("STRLEN", key)[1:]) <= 8 * (5 + PARTS + 1) for key in windows)


async def test_limits_hold_over_replicas_with_skewed_clocks(redis: RedisServer) -> None:
    limit, clock = 600, FakeClock()
    charge = Charge(CounterKey(("user", "u1"), "rpm"), limit, 60.0, 1)
    admitted: list[float] = []
    skewed = [FakeClock(clock.now + skew) for skew in (-30.0, 0.0, 30.0)]
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(redis_counters(redis.url, clock, own_clock=own)) for own in skewed]
        for _ in range(2 * 3 * 60):  # three minutes at four times the limit
            for own in (clock, *skewed):
                own.pass_(0.5)
            for store in stores:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(store.reserve([charge])) for _ in range(7)]
                admitted += [clock.now for task in tasks if isinstance(task.result(), Reservation)]

    most = max(sum(1 for other in admitted if at <= other <= at + 60.0) for at in set(admitted))
    assert most == limit
    assert len(admitted) >= 0.99 * 3 * limit


async def test_slots_of_a_killed_process_return_with_their_lease(redis: RedisServer, clock: FakeClock) -> None:
    async with redis_counters(redis.url, clock) as killed:
        await reserved(killed, ONE)

    async with redis_counters(redis.url, clock) as store:
        clock.pass_(LEASE_SECONDS - 1)
        assert isinstance(await store.reserve([ONE]), Wait)
        clock.pass_(1)
        await reserved(store, ONE)


async def test_slots_in_use_return_to_a_redis_that_was_restarted_empty(
    redis: RedisServer, store: RedisCounters, clock: FakeClock
) -> None:
    held = await reserved(store, ONE)
    drop_counters(redis)
    clock.pass_(RENEW_SECONDS + 0.1)
    assert isinstance(await store.reserve([ONE]), Wait)

    store.settle(held, None)

    await reserved(store, ONE)


async def test_a_cancelled_reservation_is_undone(store: RedisCounters) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(store.reserve([RPM, TPM, ONE]))
        await asyncio.sleep(0)
        task.cancel()
    await store.read()  # a round trip, in which the answer of the cancelled one arrives

    assert await store.read() == []


@pytest.mark.parametrize("back", [1.0, 30.0, 3600.0])
async def test_a_clock_set_back_opens_no_window_twice(store: RedisCounters, clock: FakeClock, back: float) -> None:
    for _ in range(2):
        await reserved(store, RPM)
        clock.pass_(20)
    clock.pass_(-back)

    wait = await store.reserve([RPM])
    assert isinstance(wait, Wait)
    assert wait.seconds <= 61

    clock.pass_(61)
    await reserved(store, RPM)


async def test_vanished_counters_do_no_harm(redis: RedisServer, store: RedisCounters) -> None:
    first = await reserved(store, RPM, TPM, ONE)
    drop_counters(redis)

    store.settle(first, 10)

    assert await store.read() == []
    await reserved(store, RPM, TPM, ONE)


async def test_eviction_loosens_limits_and_breaks_nothing(tmp_path: Path) -> None:
    with redis_server_at(tmp_path, "--maxmemory-policy", "allkeys-random") as server:
        async with on_server_time(server.url) as store:
            owners = [("key", f"k{number}") for number in range(700)]
            charges = [
                [
                    Charge(CounterKey(owner, "tpm"), 100, 60.0, 60, estimated=True),
                    Charge(CounterKey(owner, "concurrency"), 1, 0.0, 1),
                ]
                for owner in owners
            ]
            held = [await reserved(store, *each) for each in charges]
            server.command("CONFIG", "SET", "maxmemory", str(server.info("used_memory") - 100_000))
            results = [await store.reserve(each) for each in charges]

            for reservation in [*held, *(each for each in results if isinstance(each, Reservation))]:
                store.settle(reservation, 10)

            assert server.info("evicted_keys") > 0
            assert all(0 <= row.used <= row.limit for row in await store.read() if row.limit is not None)


async def test_several_slots_are_one_reservation(store: RedisCounters) -> None:
    three = ONE._replace(limit=4, amount=3)
    first = await reserved(store, three)
    assert first.used == (3,)
    assert isinstance(await store.reserve([three]), Wait)

    store.release(first)

    await reserved(store, three)


STEPS = st.lists(
    st.tuples(st.sampled_from(["reserve", "settle", "release", "pass"]), st.integers(0, 40)), min_size=5, max_size=60
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
async def test_windows_are_those_of_the_memory_store(redis: RedisServer, steps: list[tuple[str, int]]) -> None:
    redis.command("FLUSHALL")
    clock = FakeClock()
    memory = MemoryCounters(clock)
    async with redis_counters(redis.url, clock) as store:
        held: list[tuple[Reservation, Reservation]] = []
        for step, number in steps:
            if step == "reserve":
                charges = [TPM._replace(amount=number, limit=90, estimated=False), RPM._replace(limit=9)]
                one, other = await store.reserve(charges), await memory.reserve(charges)
                if isinstance(one, Reservation) and isinstance(other, Reservation):
                    assert one.used == other.used
                    held.append((one, other))
                else:
                    assert isinstance(one, Wait)
                    assert isinstance(other, Wait)
                    assert one.seconds == pytest.approx(other.seconds, abs=2e-6)
            elif step == "pass":
                clock.pass_(number / 2)
            elif held:
                one, other = held.pop(number % len(held))
                if step == "settle":
                    store.settle(one, number)
                    memory.settle(other, number)
                else:
                    store.release(one)
                    memory.release(other)
            assert await used(store) == await used(memory)


async def used(store: CounterStore) -> list[tuple[CounterKey, int]]:
    return [(row.counter, row.used) for row in await store.read()]
