"""The contract of `BudgetStore`, for each implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.capacity.budget_memory import MemoryBudgets
from proxy.capacity.budget_store import (
    BudgetCharge,
    BudgetCounter,
    BudgetReservation,
    BudgetStore,
    Granted,
    Refused,
    Spending,
    Unseeded,
)
from tests.support.fakes import FakeClock
from tests.support.redis_budgets import redis_budgets
from tests.support.redis_server import RedisServer
from tests.support.redis_server import shared_redis as shared_redis

STORES = ("memory", "redis")
LEASE = 60.0
ALICE = BudgetCounter("user", "alice", "month", 1_764_547_200)
TOTAL = BudgetCounter("total", "", "day", 1_764_547_200)
END = 4_000_000_000

pytestmark = pytest.mark.anyio


def hard(limit: int, counter: BudgetCounter = ALICE) -> BudgetCharge:
    return BudgetCharge(counter, END, hard=limit)


def soft(limit: int, counter: BudgetCounter = ALICE) -> BudgetCharge:
    return BudgetCharge(counter, END, soft=limit)


def reservation(nusd: int, *charges: BudgetCharge, id: str = "a-1") -> BudgetReservation:
    return BudgetReservation(id, charges, nusd)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@asynccontextmanager
async def opened(name: str, clock: FakeClock, request: pytest.FixtureRequest) -> AsyncIterator[BudgetStore]:
    """Yield an empty store of that name."""
    if name == "memory":
        yield MemoryBudgets(clock)
        return
    server: RedisServer = request.getfixturevalue("shared_redis")
    server.command("FLUSHALL")
    async with redis_budgets(server.url, clock) as store:
        yield store


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[BudgetStore]:
    async with opened(request.param, clock, request) as store:
        await store.seed(hard(0), 0)
        await store.seed(hard(0, TOTAL), 0)
        yield store


async def state(store: BudgetStore, counter: BudgetCounter = ALICE) -> Spending | None:
    [row] = await store.read([counter])
    return row


async def test_reserved_money_is_not_available(store: BudgetStore) -> None:
    first = await store.reserve(reservation(60, hard(100)), LEASE)
    second = await store.reserve(reservation(41, hard(100), id="a-2"), LEASE)

    assert first == Granted()
    assert second == Refused(hard(100), Spending(0, 60))
    assert await store.reserve(reservation(40, hard(100), id="a-3"), LEASE) == Granted()


async def test_a_store_in_memory_reserves_without_waiting(store: BudgetStore) -> None:
    held = reservation(60, hard(100))

    assert store.reserve_at_once(held, LEASE) == (None if store.shared else Granted())

    assert await state(store) == Spending(0, 0 if store.shared else 60)
    assert await store.reserve(reservation(60, hard(100), id="a-2"), LEASE) == (
        Granted() if store.shared else Refused(hard(100), Spending(0, 60))
    )


async def test_all_counters_are_charged_or_none(store: BudgetStore) -> None:
    result = await store.reserve(reservation(60, hard(100), hard(50, TOTAL)), LEASE)

    assert result == Refused(hard(50, TOTAL), Spending())
    assert await state(store) == Spending()


async def test_settling_replaces_the_reservation_by_the_cost(store: BudgetStore) -> None:
    held = reservation(60, hard(100), hard(100, TOTAL))
    await store.reserve(held, LEASE)

    store.settle(held, 25)

    assert await state(store) == Spending(25, 0)
    assert await state(store, TOTAL) == Spending(25, 0)


async def test_settling_again_does_nothing(store: BudgetStore) -> None:
    held = reservation(60, hard(100))
    await store.reserve(held, LEASE)
    store.settle(held, 25)

    store.settle(held, 25)

    assert await state(store) == Spending(25, 0)


async def test_a_leaked_reservation_returns_with_its_lease(store: BudgetStore, clock: FakeClock) -> None:
    await store.reserve(reservation(60, hard(100)), LEASE)

    clock.pass_(LEASE)

    assert await state(store) == Spending()
    assert await store.reserve(reservation(100, hard(100), id="a-2"), LEASE) == Granted()


async def test_expired_reservations_make_room(store: BudgetStore, clock: FakeClock) -> None:
    await store.reserve(reservation(60, hard(100)), LEASE)
    clock.pass_(LEASE)

    assert await store.reserve(reservation(100, hard(100), id="a-2"), LEASE) == Granted()
    assert await state(store) == Spending(0, 100)


async def test_an_expired_reservation_still_commits_its_cost(store: BudgetStore, clock: FakeClock) -> None:
    held = reservation(60, hard(100))
    await store.reserve(held, LEASE)
    clock.pass_(LEASE)
    assert await state(store) == Spending()

    store.settle(held, 25)

    assert await state(store) == Spending(25, 0)


async def test_a_renewed_reservation_stays(store: BudgetStore, clock: FakeClock) -> None:
    held = reservation(60, hard(100))
    await store.reserve(held, LEASE)
    clock.pass_(LEASE - 1)

    store.renew([held], LEASE)
    clock.pass_(LEASE - 1)

    assert await state(store) == Spending(0, 60)


async def test_renewing_restores_an_expired_reservation(store: BudgetStore, clock: FakeClock) -> None:
    held = reservation(60, hard(100))
    await store.reserve(held, LEASE)
    clock.pass_(LEASE)
    assert await state(store) == Spending()

    store.renew([held], LEASE)

    assert await state(store) == Spending(0, 60)


async def test_a_settled_reservation_cannot_be_renewed(store: BudgetStore) -> None:
    held = reservation(60, hard(100))
    await store.reserve(held, LEASE)
    store.settle(held, 0)

    store.renew([held], LEASE)

    assert await state(store) == Spending()


async def test_soft_limits_only_report(store: BudgetStore) -> None:
    first = reservation(60, soft(50), hard(1000, TOTAL))
    assert await store.reserve(first, LEASE) == Granted()
    store.settle(first, 50)

    result = await store.reserve(reservation(60, soft(50), hard(1000, TOTAL), id="a-2"), LEASE)

    assert result == Granted((soft(50),))


async def test_a_counter_with_both_limits(store: BudgetStore) -> None:
    both = BudgetCharge(ALICE, END, hard=100, soft=10)
    first = reservation(60, both)
    await store.reserve(first, LEASE)
    store.settle(first, 20)

    assert await store.reserve(reservation(80, both, id="a-2"), LEASE) == Granted((both,))
    assert await store.reserve(reservation(1, both, id="a-3"), LEASE) == Refused(both, Spending(20, 80))


async def test_a_cost_above_the_bound_closes_hard_budgets(store: BudgetStore) -> None:
    held = reservation(10, hard(100), soft(100, TOTAL))
    await store.reserve(held, LEASE)

    store.settle(held, 11)

    assert await store.reserve(reservation(1, hard(100), id="a-2"), LEASE) == Refused(
        hard(100), Spending(11, 0, closed=True)
    )
    assert await state(store, TOTAL) == Spending(11, 0)


async def test_an_unknown_counter_must_be_seeded_first(store: BudgetStore) -> None:
    new = BudgetCharge(BudgetCounter("team", "red", "week", 1_764_547_200), END, hard=100)

    assert await store.reserve(reservation(60, new, hard(100)), LEASE) == Unseeded((new,))
    assert await state(store, new.counter) is None
    assert await state(store) == Spending()


async def test_a_seed_counts_as_spent(store: BudgetStore) -> None:
    new = BudgetCharge(BudgetCounter("team", "red", "week", 1_764_547_200), END, hard=100)

    await store.seed(new, 70)

    assert await store.reserve(reservation(31, new), LEASE) == Refused(new, Spending(70, 0))


async def test_a_counter_is_seeded_once(store: BudgetStore) -> None:
    await store.reserve(reservation(60, hard(100)), LEASE)

    await store.seed(hard(100), 70)

    assert await state(store) == Spending(0, 60)


async def test_a_window_that_does_not_end(store: BudgetStore) -> None:
    forever = BudgetCharge(BudgetCounter("key", "k_1", "total", 0), None, hard=100)
    await store.seed(forever, 1)

    assert await store.reserve(reservation(99, forever), LEASE) == Granted()


async def test_a_seed_can_be_corrected(store: BudgetStore) -> None:
    store.commit([hard(100)], 5)

    await store.seed(hard(100), 70, again=True)
    await store.seed(hard(100), 60, again=True)

    assert await state(store) == Spending(70, 0)


async def test_a_cost_without_reservation_is_added(store: BudgetStore) -> None:
    store.commit([hard(100), soft(1, TOTAL)], 5)
    store.commit([hard(100)], 5)

    assert await state(store) == Spending(10, 0)
    assert await state(store, TOTAL) == Spending(5, 0)


async def test_reading_nothing_returns_nothing(store: BudgetStore) -> None:
    assert list(await store.read([])) == []


STEP = st.one_of(
    st.tuples(st.just("reserve"), st.integers(0, 60), st.sampled_from(["user", "both"])),
    st.tuples(st.just("settle"), st.integers(0, 9), st.integers(0, 70)),
    st.tuples(st.just("renew"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("pass"), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("commit"), st.integers(0, 5), st.just(0)),
)


async def trace(store: BudgetStore, clock: FakeClock, steps: list[Any]) -> list[Any]:
    """What a store answers to these steps."""
    await store.seed(hard(0), 0)
    await store.seed(hard(0, TOTAL), 5)
    held: list[BudgetReservation] = []
    answers: list[Any] = []
    for number, (step, first, second) in enumerate(steps):
        if step == "reserve":
            charges = (hard(100),) if second == "user" else (hard(100), soft(30, TOTAL))
            held.append(reservation(first, *charges, id=f"a-{number}"))
            answers.append(await store.reserve(held[-1], LEASE))
            if not isinstance(answers[-1], Granted):
                held.pop()
        elif step == "settle" and first < len(held):
            store.settle(held[first], second)
        elif step == "renew":
            store.renew(held[:first], LEASE)
        elif step == "pass":
            clock.pass_(first)
        elif step == "commit":
            store.commit([hard(100)], first)
        answers.append(await store.read([ALICE, TOTAL]))
    return answers


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=25))
async def test_all_stores_answer_alike(steps: list[Any], request: pytest.FixtureRequest) -> None:
    traces = []
    for name in STORES:
        clock = FakeClock()
        async with opened(name, clock, request) as store:
            traces.append(await trace(store, clock, steps))

    assert traces[0] == traces[1]
