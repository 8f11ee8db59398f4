"""What every `CounterStore` promises, whatever keeps it."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.clock import Clock
from proxy.stores.base import CounterStore, Receipt, Ticket, Wait
from proxy.stores.memory import MemoryCounters
from tests.support.fakes import FakeClock

STORES: dict[str, Callable[[Clock], CounterStore]] = {"memory": MemoryCounters}

RPM = Ticket("a:rpm", 2, 60.0, 1)
TPM = Ticket("a:tpm", 100, 60.0, 60)
ONE = Ticket("a:concurrency", 1, 0.0, 1)

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, clock: FakeClock) -> CounterStore:
    return STORES[request.param](clock)


async def taken(store: CounterStore, *tickets: Ticket) -> Receipt:
    receipt = await store.take(tickets)
    assert isinstance(receipt, Receipt)
    return receipt


async def refused(store: CounterStore, *tickets: Ticket) -> Wait:
    wait = await store.take(tickets)
    assert isinstance(wait, Wait)
    return wait


async def used(store: CounterStore) -> dict[str, int]:
    return {row.name: row.used for row in await store.read("")}


async def test_it_takes_up_to_the_limit(store: CounterStore) -> None:
    await taken(store, RPM)
    await taken(store, RPM)

    wait = await refused(store, RPM)

    assert wait.name == RPM.name
    assert 60.0 <= wait.seconds <= 60.6


async def test_it_takes_all_tickets_or_none(store: CounterStore) -> None:
    await taken(store, ONE)

    wait = await refused(store, RPM, TPM, ONE)

    assert wait.name == ONE.name
    assert await used(store) == {ONE.name: 1}


async def test_the_wait_is_that_of_the_last_to_fit(store: CounterStore, clock: FakeClock) -> None:
    await taken(store, TPM)
    clock.pass_(30)
    await taken(store, RPM)
    await taken(store, RPM)

    wait = await refused(store, TPM, RPM)

    assert wait.name == RPM.name
    assert await store.wait([TPM, RPM]) == wait.seconds
    clock.pass_(wait.seconds - 0.001)
    await refused(store, TPM, RPM)
    clock.pass_(0.001)
    await taken(store, TPM, RPM)


async def test_asking_for_the_wait_takes_nothing(store: CounterStore) -> None:
    assert await store.wait([RPM, TPM, ONE]) == 0.0

    assert await used(store) == {}


async def test_more_than_a_limit_never_fits(store: CounterStore) -> None:
    wait = await refused(store, RPM, Ticket("big", 5, 60.0, 6))

    assert wait == Wait(math.inf, "big")


async def test_a_place_is_held_until_it_is_given_back(store: CounterStore, clock: FakeClock) -> None:
    receipt = await taken(store, ONE)
    clock.pass_(5000)
    wait = await refused(store, ONE)
    assert 0 < wait.seconds < math.inf

    store.give_back(receipt, unused=False)

    await taken(store, ONE)


async def test_giving_back_twice_gives_back_once(store: CounterStore) -> None:
    two = Ticket("b:concurrency", 2, 0.0, 1)
    first = await taken(store, two, TPM)
    await taken(store, two)

    store.give_back(first, unused=True)
    store.give_back(first, unused=True)

    assert await used(store) == {two.name: 1}


async def test_what_was_sent_stays_counted_and_what_was_not_does_not(store: CounterStore) -> None:
    sent, unsent = await taken(store, RPM, TPM), await taken(store, RPM)

    store.give_back(sent, unused=False)
    store.give_back(unsent, unused=True)

    assert await used(store) == {RPM.name: 1, TPM.name: 60}


async def test_the_real_amount_takes_the_place_of_the_reserved_one(store: CounterStore) -> None:
    receipt = await taken(store, TPM)

    store.correct(receipt, TPM.name, 10)
    store.correct(receipt, TPM.name, 10)
    assert await used(store) == {TPM.name: 10}
    store.correct(receipt, TPM.name, 250)

    assert await used(store) == {TPM.name: 250}
    assert (await refused(store, TPM)).name == TPM.name


async def test_nothing_is_corrected_after_it_was_given_back(store: CounterStore) -> None:
    receipt = await taken(store, TPM)
    store.give_back(receipt, unused=False)

    store.correct(receipt, TPM.name, 1)
    store.correct(receipt, "unknown", 1)

    assert await used(store) == {TPM.name: 60}


async def test_corrected_amounts_are_what_an_unused_receipt_gives_back(store: CounterStore) -> None:
    receipt = await taken(store, TPM)
    store.correct(receipt, TPM.name, 25)

    store.give_back(receipt, unused=True)

    assert await used(store) == {}


async def test_nothing_is_taken_from_what_rests(store: CounterStore, clock: FakeClock) -> None:
    store.rest_until(RPM.name, 10)
    store.rest_until(RPM.name, 3)

    assert await refused(store, RPM) == Wait(10.0, RPM.name)
    await taken(store, TPM)
    clock.pass_(10)

    await taken(store, RPM)


async def test_a_ticket_of_nothing_waits_only_for_a_rest(store: CounterStore) -> None:
    nothing = Ticket("a:rest", 0, 0.0, 0)
    store.give_back(await taken(store, nothing), unused=False)
    assert await used(store) == {}

    store.rest_until("a:rest", 7)

    assert await refused(store, RPM, nothing) == Wait(7.0, "a:rest")


async def test_the_newest_limit_counts(store: CounterStore) -> None:
    await taken(store, RPM)

    await refused(store, Ticket(RPM.name, 1, 60.0, 1))

    await taken(store, Ticket(RPM.name, 5, 60.0, 4))


async def test_reading_tells_what_is_in_use_under_a_prefix(store: CounterStore, clock: FakeClock) -> None:
    await taken(store, RPM, TPM, Ticket("b:rpm", 9, 60.0, 1))
    store.rest_until("a:zzz", 4)

    rows = await store.read("a:")

    assert [(row.name, row.used, row.limit, row.seconds, row.rests) for row in rows] == [
        ("a:rpm", 1, 2, 60.0, 0.0),
        ("a:tpm", 60, 100, 60.0, 0.0),
        ("a:zzz", 0, None, 0.0, 4.0),
    ]
    clock.pass_(120)
    assert await store.read("") == []


async def test_a_receipt_can_be_written_down(store: CounterStore) -> None:
    receipt = await taken(store, RPM, ONE)
    fields = json.loads(json.dumps(asdict(receipt)))

    again = Receipt(fields["id"], tuple(Ticket(**ticket) for ticket in fields["tickets"]))

    assert again == receipt == pickle.loads(pickle.dumps(receipt))
    store.give_back(again, unused=True)
    assert await used(store) == {}


async def test_a_process_that_begins_anew_counts_no_less(store: CounterStore) -> None:
    await taken(store, RPM, TPM, ONE)
    counted = await used(store)

    rows = json.loads(json.dumps(store.export("a:", 5000.0)))
    store.restore(rows, 5000.0)

    assert await used(store) == counted
    assert store.export("b:", 5000.0) == []
    assert store.export("a:", 5000.0, longer_than=60.0) == []
    assert store.export("a:", 5000.0, longer_than=59.0) == store.export("a:", 5000.0)


STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "give", "unused", "correct", "pass"]), st.integers(0, 30)), max_size=60
)


@pytest.mark.parametrize("name", STORES)
@settings(max_examples=60)
@given(STEPS)
async def test_no_limit_is_passed_under_any_interleaving(name: str, steps: list[tuple[str, int]]) -> None:
    clock = FakeClock()
    store = STORES[name](clock)
    held: list[Receipt] = []
    real: dict[str, int] = {}

    for what, number in steps:
        if what == "take":
            tickets = [Ticket("t", 40, 60.0, number), Ticket("c", 3, 0.0, 1)]
            predicted = await store.wait(tickets)
            result = await store.take(tickets)
            assert isinstance(result, Wait) == (predicted > 0)
            held += [result] if isinstance(result, Receipt) else []
        elif what == "pass":
            clock.pass_(number)
        elif held and what == "correct":
            receipt = held[number % len(held)]
            before = real.get(receipt.id, receipt.tickets[0].amount)
            real[receipt.id] = number % (before + 1)  # less, and never more again
            store.correct(receipt, "t", real[receipt.id])
        elif held:
            store.give_back(held.pop(number % len(held)), unused=what == "unused")
        counts = await used(store)
        assert counts.get("c", 0) == len(held) <= 3
        assert counts.get("t", 0) <= 40
