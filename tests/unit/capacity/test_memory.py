"""Counters in memory: bounds, what is saved, and the estimated time until a slot is free."""

from __future__ import annotations

import msgspec
import pytest

from proxy.capacity import memory, outstanding
from proxy.capacity.memory import MemoryCounters
from proxy.capacity.store import Charge, CounterKey, Reservation, Wait
from proxy.core.model import RouteKey
from proxy.core.principal import OF_MODEL
from proxy.core.saved import SavedWindow
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio


def charge(name: str, limit: int, seconds: float, amount: int) -> Charge:
    kinds = {60.0: "rpm", 86_400.0: "rpd", 0.0: "concurrency"}
    return Charge(CounterKey(RouteKey("acme", name, "main"), kinds.get(seconds, "rpm")), limit, seconds, amount)


ONE = charge("c", 1, 0.0, 1)


def size(store: MemoryCounters) -> int:
    return len(store._counters) + len(store._cooldowns) + len(store._parts)  # noqa: SLF001


def models(saved: list[SavedWindow]) -> list[str]:
    return [window.name.removeprefix("upstream:acme/").partition(":")[0] for window in saved]


async def used(store: MemoryCounters) -> dict[str, int]:
    return {row.counter.owner[1]: row.used for row in await store.read()}


async def held(store: MemoryCounters, clock: FakeClock, charge: Charge, seconds: float) -> None:
    reservation = await store.reserve([charge])
    assert isinstance(reservation, Reservation)
    clock.pass_(seconds)
    store.settle(reservation, None)


async def test_idle_counters_are_dropped() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock)

    for number in range(20 * memory.FIRST_SWEEP):
        await held(store, clock, charge(f"n{number}", 5, 60.0, 1), 1.0)
        store.start_cooldown(CounterKey((f"r{number}",), "cooldown"), 1.0)

    assert size(store) <= 2 * memory.FIRST_SWEEP


async def test_counters_in_use_are_bounded() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock, most=100)

    for number in range(1000):
        await held(store, clock, charge(f"n{number}", 5, 86_400.0, 1), 0.0)
        store.start_cooldown(CounterKey((f"r{number}",), "cooldown"), 86_400.0)

    assert size(store) <= 200
    assert isinstance(await store.reserve([charge("n999", 5, 86_400.0, 5)]), Wait)  # the newest are kept


async def test_a_slot_of_a_dropped_counter_can_be_released() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock, most=1)
    reservation = await store.reserve([ONE])
    assert isinstance(reservation, Reservation)
    await store.reserve([charge("other", 1, 60.0, 1)])

    store.settle(reservation, None)

    assert list(await used(store)) == ["other"]


async def test_a_slot_is_expected_after_the_usual_time() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock)
    for _ in range(60):
        await held(store, clock, ONE, 8.0)

    await store.reserve([ONE])
    clock.pass_(3.0)

    assert await store.wait([ONE]) == pytest.approx(5.0, abs=0.01)


async def test_an_overdue_slot_is_expected_to_take_as_long_again() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock)
    two = charge("c", 2, 0.0, 1)
    for _ in range(60):
        await held(store, clock, two, 8.0)

    await store.reserve([two])
    await store.reserve([two])
    clock.pass_(100.0)

    assert await store.wait([two]) == 50.0  # one of two within half of that


async def test_an_unused_slot_teaches_no_duration() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock)
    reservation = await store.reserve([ONE])
    assert isinstance(reservation, Reservation)
    clock.pass_(500.0)
    store.release(reservation)

    await store.reserve([ONE])

    assert await store.wait([ONE]) == outstanding.FIRST_DURATION


async def test_several_slots_take_longer_than_one() -> None:
    clock = FakeClock()
    store = MemoryCounters(clock)
    for _ in range(3):
        await store.reserve([charge("c", 3, 0.0, 1)])
        clock.pass_(0.2)

    assert await store.wait([charge("c", 3, 0.0, 3)]) > await store.wait([charge("c", 3, 0.0, 1)])


async def test_a_changed_window_length_starts_a_new_counter() -> None:
    store = MemoryCounters(FakeClock())
    await store.reserve([charge("n", 1, 60.0, 1)])

    assert isinstance(await store.reserve([charge("n", 1, 3600.0, 1)]), Reservation)


# saved for another process


async def test_another_process_continues_the_counts() -> None:
    clock, later = FakeClock(1000.0), FakeClock(20.0)
    store, other = MemoryCounters(clock), MemoryCounters(later)
    day = charge("a", 3, 86_400.0, 3)
    await store.reserve([day, charge("b", 3, 60.0, 2), ONE])

    other.restore(store.export(5000.0), 5000.0 + 1000.0 - 20.0)

    assert [(row.counter, row.used, row.limit, row.seconds) for row in await other.read()] == [
        (day.counter, 3, 3, 86_400.0),
        (CounterKey(RouteKey("acme", "b", "main"), "rpm"), 2, 3, 60.0),
    ]
    assert await other.wait([day]) == await store.wait([day])


async def test_short_windows_can_be_left_out() -> None:
    store = MemoryCounters(FakeClock())
    await store.reserve([charge("a", 3, 86_400.0, 3), charge("b", 3, 60.0, 2)])

    assert models(store.export(0.0, longer_than=60.0)) == ["a"]
    assert models(store.export(0.0, longer_than=59.0)) == ["a", "b"]


async def test_counts_of_clients_are_continued_too() -> None:
    store, other = MemoryCounters(FakeClock()), MemoryCounters(FakeClock())
    owners = [(what, "a/b:c", *model) for what in ("key", "user", "team") for model in ((), (OF_MODEL, "x/y:z*"))]
    charges = [Charge(CounterKey(owner, "rpd"), 3, 86_400.0, 2) for owner in owners]
    await store.reserve(charges)

    other.restore(store.export(0.0), 0.0)

    assert [row.counter for row in await other.read()] == sorted(charge.counter for charge in charges)
    assert [row.used for row in await other.read()] == [2] * len(owners)


async def test_slots_end_with_the_process() -> None:
    store = MemoryCounters(FakeClock())
    await store.reserve([ONE])

    assert store.export(0.0) == []


async def test_counters_of_other_owners_are_not_saved() -> None:
    store = MemoryCounters(FakeClock())
    await store.reserve([Charge(CounterKey(("somebody",), "rpm"), 3, 60.0, 1)])

    assert store.export(0.0) == []


async def test_expired_windows_are_not_restored() -> None:
    clock = FakeClock()
    store, other = MemoryCounters(clock), MemoryCounters(clock)
    await store.reserve([charge("n", 1, 60.0, 1)])
    saved = store.export(0.0)
    clock.pass_(100.0)

    other.restore(saved, 0.0)

    assert size(other) == 0


async def test_only_the_most_recently_used_windows_are_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_SAVED", 2)
    store = MemoryCounters(FakeClock())
    for name in ("a", "b", "c", "a"):
        await store.reserve([charge(name, 9, 60.0, 1)])

    assert models(store.export(0.0)) == ["c", "a"]


async def test_of_too_many_windows_the_last_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    store, other = MemoryCounters(clock), MemoryCounters(clock)
    for name in ("a", "b", "c"):
        await store.reserve([charge(name, 9, 60.0, 1)])
    saved = store.export(0.0)
    monkeypatch.setattr(memory, "MAX_SAVED", 2)

    other.restore(saved, 0.0)

    assert list(await used(other)) == ["b", "c"]


@pytest.mark.parametrize("changed", [{"seconds": 61.0}, {"name": "upstream:acme/n:main:rpd"}, {"parts": [1, 2]}])
async def test_invalid_windows_restore_nothing(changed: dict[str, object]) -> None:
    clock = FakeClock()
    store, other = MemoryCounters(clock), MemoryCounters(clock)
    await store.reserve([charge("n", 1, 60.0, 1)])
    [window] = store.export(0.0)

    with pytest.raises(ValueError, match=r"window|zip"):
        other.restore([window, msgspec.structs.replace(window, **changed)], 0.0)

    assert size(other) == 0


async def test_existing_counters_stay() -> None:
    store = MemoryCounters(FakeClock())
    await store.reserve([charge("n", 9, 60.0, 1)])
    saved = store.export(0.0)
    await store.reserve([charge("n", 9, 60.0, 4)])

    store.restore(saved, 0.0)

    assert await used(store) == {"n": 5}
