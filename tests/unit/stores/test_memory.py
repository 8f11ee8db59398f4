"""Counters in memory: what is bounded, forgotten or written down, and how long a place is expected to be held."""

from __future__ import annotations

import json

import pytest

from proxy.stores import holds, memory
from proxy.stores.base import Receipt, Ticket, Wait
from proxy.stores.memory import MemoryCounters
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

ONE = Ticket("c", 1, 0.0, 1)


def names(store: MemoryCounters) -> int:
    return len(store._counters) + len(store._rests) + len(store._taken)  # noqa: SLF001


async def held(store: MemoryCounters, clock: FakeClock, ticket: Ticket, seconds: float) -> None:
    receipt = await store.take([ticket])
    assert isinstance(receipt, Receipt)
    clock.pass_(seconds)
    store.give_back(receipt, unused=False)


async def test_names_that_count_nothing_any_more_are_dropped() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock)

    for number in range(20 * memory.SWEEP):
        await held(store, clock, Ticket(f"n{number}", 5, 60.0, 1), 1.0)
        store.rest_until(f"r{number}", 1.0)

    assert names(store) <= 2 * memory.SWEEP


async def test_even_names_in_use_are_bounded() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock, most=100)

    for number in range(1000):
        await held(store, clock, Ticket(f"n{number}", 5, 86_400.0, 1), 0.0)
        store.rest_until(f"r{number}", 86_400.0)

    assert names(store) <= 200
    assert isinstance(await store.take([Ticket("n999", 5, 86_400.0, 5)]), Wait)  # the newest are kept


async def test_a_place_of_a_forgotten_counter_can_still_be_given_back() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock, most=1)
    receipt = await store.take([ONE])
    assert isinstance(receipt, Receipt)
    await store.take([Ticket("other", 1, 60.0, 1)])

    store.give_back(receipt, unused=False)

    assert [row.name for row in await store.read("")] == ["other"]


async def test_a_place_is_expected_back_after_the_usual_time() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock)
    for _ in range(60):
        await held(store, clock, ONE, 8.0)

    await store.take([ONE])
    clock.pass_(3.0)

    assert await store.wait([ONE]) == pytest.approx(5.0, abs=0.01)


async def test_an_overdue_place_is_expected_to_take_as_long_again() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock)
    two = Ticket("c", 2, 0.0, 1)
    for _ in range(60):
        await held(store, clock, two, 8.0)

    await store.take([two])
    await store.take([two])
    clock.pass_(100.0)

    assert await store.wait([two]) == 50.0  # one of two within half of that


async def test_a_place_that_was_not_used_teaches_nothing() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock)
    receipt = await store.take([ONE])
    assert isinstance(receipt, Receipt)
    clock.pass_(500.0)
    store.give_back(receipt, unused=True)

    await store.take([ONE])

    assert await store.wait([ONE]) == holds.HOLD


async def test_several_places_are_waited_for_until_all_are_there() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock)
    for _ in range(3):
        await store.take([Ticket("c", 3, 0.0, 1)])
        clock.pass_(0.2)

    assert await store.wait([Ticket("c", 3, 0.0, 3)]) > await store.wait([Ticket("c", 3, 0.0, 1)])


async def test_a_window_of_another_length_begins_anew() -> None:
    store = MemoryCounters(FakeClock())
    await store.take([Ticket("n", 1, 60.0, 1)])

    assert isinstance(await store.take([Ticket("n", 1, 3600.0, 1)]), Receipt)


# what is written down for another process


async def test_another_process_counts_on_what_this_one_counted() -> None:
    clock, later = FakeClock(1000.0), FakeClock(20.0)
    store, other = MemoryCounters(clock), MemoryCounters(later)
    day = Ticket("a:rpd", 3, 86_400.0, 3)
    await store.take([day, Ticket("b:rpm", 3, 60.0, 2), ONE])

    other.restore(json.loads(json.dumps(store.export("a:", 5000.0))), 5000.0 + 1000.0 - 20.0)

    assert [(row.name, row.used, row.limit, row.seconds) for row in await other.read("")] == [("a:rpd", 3, 3, 86_400.0)]
    assert await other.wait([day]) == await store.wait([day])


async def test_places_are_given_up_with_the_process() -> None:
    store = MemoryCounters(FakeClock())
    await store.take([ONE])

    assert store.export("", 0.0) == []


async def test_what_counts_no_longer_is_not_taken_over() -> None:
    clock = FakeClock()
    store, other = MemoryCounters(clock), MemoryCounters(clock)
    await store.take([Ticket("n", 1, 60.0, 1)])
    rows = store.export("", 0.0)
    clock.pass_(100.0)

    other.restore(rows, 0.0)

    assert names(other) == 0


async def test_only_the_windows_used_last_are_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_SAVED", 2)
    store = MemoryCounters(FakeClock())
    for name in ("a", "b", "c", "a"):
        await store.take([Ticket(name, 9, 60.0, 1)])

    assert [row["name"] for row in store.export("", 0.0)] == ["c", "a"]


async def test_of_too_many_windows_the_last_are_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    store, other = MemoryCounters(clock), MemoryCounters(clock)
    for name in ("a", "b", "c"):
        await store.take([Ticket(name, 9, 60.0, 1)])
    rows = store.export("", 0.0)
    monkeypatch.setattr(memory, "MOST_SAVED", 2)

    other.restore(rows, 0.0)

    assert [row.name for row in await other.read("")] == ["b", "c"]


async def test_of_broken_rows_none_is_taken_over() -> None:
    clock = FakeClock()
    store, other = MemoryCounters(clock), MemoryCounters(clock)
    await store.take([Ticket("n", 1, 60.0, 1)])
    [row] = store.export("", 0.0)

    with pytest.raises(ValueError, match="a name"):
        other.restore([row, row | {"name": 7}], 0.0)

    assert names(other) == 0


async def test_what_is_counted_here_already_stands() -> None:
    store = MemoryCounters(FakeClock())
    await store.take([Ticket("n", 9, 60.0, 1)])
    rows = store.export("", 0.0)
    await store.take([Ticket("n", 9, 60.0, 4)])

    store.restore(rows, 0.0)

    assert [row.used for row in await store.read("")] == [5]
