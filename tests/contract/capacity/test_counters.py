"""The contract of `CounterStore`, for each implementation."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.capacity.memory import MemoryCounters
from proxy.capacity.store import Charge, CounterKey, CounterStore, Reservation, Wait
from tests.support.fakes import FakeClock
from tests.support.redis_counters import redis_counters
from tests.support.redis_server import RedisServer
from tests.support.redis_server import shared_redis as shared_redis

STORES = ("memory", "redis")


@asynccontextmanager
async def opened(name: str, clock: FakeClock, request: pytest.FixtureRequest) -> AsyncIterator[CounterStore]:
    """Yield an empty store of that name."""
    if name == "memory":
        yield MemoryCounters(clock)
        return
    server: RedisServer = request.getfixturevalue("shared_redis")
    server.command("FLUSHALL")
    async with redis_counters(server.url, clock) as store:
        yield store


def counter(kind: str, owner: str = "a") -> CounterKey:
    return CounterKey((owner,), kind)


RPM = Charge(counter("rpm"), 2, 60.0, 1)
TPM = Charge(counter("tpm"), 100, 60.0, 60, estimated=True)
ONE = Charge(counter("concurrency"), 1, 0.0, 1)
COOLDOWN = Charge(counter("cooldown"), 0, 0.0, 0)

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[CounterStore]:
    async with opened(request.param, clock, request) as store:
        yield store


async def reserved(store: CounterStore, *charges: Charge) -> Reservation:
    reservation = await store.reserve(charges)
    assert isinstance(reservation, Reservation)
    return reservation


async def refused(store: CounterStore, *charges: Charge) -> Wait:
    wait = await store.reserve(charges)
    assert isinstance(wait, Wait)
    return wait


async def used(store: CounterStore) -> dict[str, int]:
    return {row.counter.kind: row.used for row in await store.read()}


async def test_a_window_allows_up_to_its_limit(store: CounterStore) -> None:
    await reserved(store, RPM)
    await reserved(store, RPM)

    wait = await refused(store, RPM)

    assert 60.0 <= wait.seconds <= 60.6
    assert wait.exact


async def test_a_reservation_reports_what_is_used_with_it(store: CounterStore, clock: FakeClock) -> None:
    assert (await reserved(store, RPM, TPM, COOLDOWN, ONE)).used == (1, 60, 0, 1)
    assert (await reserved(store, RPM, TPM._replace(amount=30))).used == (2, 90)
    clock.pass_(61)

    assert (await reserved(store, TPM._replace(amount=40))).used == (40,)


async def test_a_wait_names_the_charge_that_takes_longest(store: CounterStore) -> None:
    await reserved(store, RPM, TPM)
    await reserved(store, RPM)

    waits = [await refused(store, ONE, RPM), await refused(store, RPM._replace(amount=0), TPM, ONE)]

    assert [(wait.charge, wait.used) for wait in waits] == [(RPM, 2), (TPM, 60)]
    assert (await refused(store, RPM, TPM._replace(amount=101))).charge == TPM._replace(amount=101)


async def test_all_charges_are_reserved_or_none(store: CounterStore) -> None:
    await reserved(store, ONE)

    await refused(store, RPM, TPM, ONE)

    assert await used(store) == {"concurrency": 1}


async def test_the_wait_is_that_of_the_last_charge_to_fit(store: CounterStore, clock: FakeClock) -> None:
    await reserved(store, TPM)
    clock.pass_(30)
    await reserved(store, RPM)
    await reserved(store, RPM)

    wait = await refused(store, TPM, RPM)

    assert await store.wait([TPM, RPM]) == wait.seconds == await store.wait([RPM])
    clock.pass_(wait.seconds - 0.001)
    await refused(store, TPM, RPM)
    clock.pass_(0.001)
    await reserved(store, TPM, RPM)


async def test_asking_for_the_wait_reserves_nothing(store: CounterStore) -> None:
    assert await store.wait([RPM, TPM, ONE]) == 0.0

    assert await used(store) == {}


async def test_more_than_a_limit_never_fits(store: CounterStore) -> None:
    wait = await refused(store, RPM, Charge(counter("tpd"), 5, 60.0, 6))

    assert wait == Wait(math.inf)


async def test_a_slot_is_used_until_its_reservation_ends(store: CounterStore, clock: FakeClock) -> None:
    reservation = await reserved(store, ONE)
    clock.pass_(5000)
    wait = await refused(store, ONE)
    assert 0 < wait.seconds < math.inf

    store.settle(reservation, None)

    await reserved(store, ONE)


@pytest.mark.parametrize("first", ["settle", "release"])
@pytest.mark.parametrize("second", ["settle", "release"])
async def test_a_reservation_ends_once(store: CounterStore, first: str, second: str) -> None:
    two = Charge(counter("concurrency"), 2, 0.0, 1)
    reservation = await reserved(store, two, TPM)
    await reserved(store, two)
    ends = {"settle": lambda: store.settle(reservation, 10), "release": lambda: store.release(reservation)}

    ends[first]()
    after = await used(store)
    ends[second]()

    assert await used(store) == after
    assert after["concurrency"] == 1


async def test_a_settled_request_stays_counted(store: CounterStore) -> None:
    sent, unsent = await reserved(store, RPM, TPM), await reserved(store, RPM)

    store.settle(sent, None)
    store.release(unsent)

    assert await used(store) == {"rpm": 1, "tpm": 60}


@pytest.mark.parametrize("amount", [0, 10, 250])
async def test_the_real_amount_replaces_the_estimate(store: CounterStore, amount: int) -> None:
    reservation = await reserved(store, TPM, RPM)

    store.settle(reservation, amount)

    assert await used(store) == {"rpm": 1} | ({"tpm": amount} if amount else {})
    assert (await store.wait([TPM]) > 0) == (amount > 40)


async def test_an_exact_amount_is_not_replaced(store: CounterStore) -> None:
    reservation = await reserved(store, TPM._replace(estimated=False))

    store.settle(reservation, 10)

    assert await used(store) == {"tpm": 60}


async def test_an_unknown_reservation_is_ignored(store: CounterStore) -> None:
    await reserved(store, TPM)

    store.settle(Reservation("unknown", (TPM,)), 1)
    store.release(Reservation("unknown", (TPM,)))

    assert await used(store) == {"tpm": 60}


async def test_a_cooldown_delays_its_counter(store: CounterStore, clock: FakeClock) -> None:
    store.start_cooldown(RPM.counter, 10)
    store.start_cooldown(RPM.counter, 3)

    assert await refused(store, RPM) == Wait(10.0)
    await reserved(store, TPM)
    clock.pass_(10)

    await reserved(store, RPM)


async def test_a_cooldown_can_be_ended(store: CounterStore) -> None:
    store.start_cooldown(RPM.counter, 10)

    store.end_cooldown(RPM.counter)
    store.end_cooldown(TPM.counter)

    await reserved(store, RPM)


async def test_a_charge_of_nothing_waits_only_for_a_cooldown(store: CounterStore) -> None:
    store.settle(await reserved(store, COOLDOWN), None)
    assert await used(store) == {}

    store.start_cooldown(COOLDOWN.counter, 7)

    assert await refused(store, RPM, COOLDOWN) == Wait(7.0)


async def test_the_newest_limit_applies(store: CounterStore) -> None:
    await reserved(store, RPM)

    await refused(store, RPM._replace(limit=1))

    await reserved(store, RPM._replace(limit=5, amount=4))


async def test_reading_returns_counters_in_use_and_cooldowns(store: CounterStore, clock: FakeClock) -> None:
    await reserved(store, RPM, TPM, Charge(counter("rpm", "b"), 9, 60.0, 1))
    store.start_cooldown(counter("zzz"), 4)

    rows = await store.read()

    assert [(row.counter, row.used, row.limit, row.seconds, row.cooldown) for row in rows] == [
        (counter("rpm"), 1, 2, 60.0, 0.0),
        (counter("tpm"), 60, 100, 60.0, 0.0),
        (counter("zzz"), 0, None, 0.0, 4.0),
        (counter("rpm", "b"), 1, 9, 60.0, 0.0),
    ]
    clock.pass_(120)
    assert await store.read() == []


async def test_a_reservation_can_be_serialised(store: CounterStore) -> None:
    reservation = await reserved(store, RPM, ONE)
    number, charges, counts = json.loads(json.dumps(reservation))

    again = Reservation(
        number, tuple(Charge(CounterKey(tuple(owner), kind), *rest) for (owner, kind), *rest in charges), tuple(counts)
    )

    assert again == reservation == pickle.loads(pickle.dumps(reservation))
    store.release(again)
    assert await used(store) == {}


STEPS = st.lists(st.tuples(st.sampled_from(["reserve", "settle", "release", "pass"]), st.integers(0, 30)), max_size=60)


@pytest.mark.parametrize("name", STORES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
@example([("reserve", 0), ("pass", 30), ("pass", 10), ("pass", 10)])
async def test_no_interleaving_exceeds_a_limit(
    name: str, request: pytest.FixtureRequest, steps: list[tuple[str, int]]
) -> None:
    clock = FakeClock()
    async with opened(name, clock, request) as store:
        await run_steps(store, clock, steps)


async def run_steps(store: CounterStore, clock: FakeClock, steps: list[tuple[str, int]]) -> None:
    held: list[Reservation] = []

    for step, number in steps:
        if step == "reserve":
            charges = [
                Charge(counter("tpm"), 40, 60.0, number, estimated=True),
                Charge(counter("concurrency"), 3, 0.0, 1),
            ]
            predicted = await store.wait(charges)
            result = await store.reserve(charges)
            assert isinstance(result, Wait) == (predicted > 0)
            held += [result] if isinstance(result, Reservation) else []
        elif step == "pass":
            clock.pass_(number)
        elif held and step == "settle":
            reservation = held.pop(number % len(held))
            store.settle(reservation, number % (reservation.charges[0].amount + 1))
        elif held:
            store.release(held.pop(number % len(held)))
        counts = await used(store)
        assert counts.get("concurrency", 0) == len(held) <= 3
        assert counts.get("tpm", 0) <= 40
