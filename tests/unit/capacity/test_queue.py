"""The queue: whose turn it is, how long it takes, and who is sent away. Time is the test's."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Collection
from typing import Any

import anyio
import pytest

from proxy.capacity.memory import MemoryCounters
from proxy.capacity.queue import Attempt, FairQueue
from proxy.capacity.store import Charge, CounterKey, Reservation, Wait
from proxy.capacity.waiters import QueueRow, Resource
from proxy.core.errors import InvalidRequest, ProxyError, RateLimited
from proxy.core.policies import QueuePolicy
from tests.support.calls import live
from tests.support.clocks import VirtualClock, idle
from tests.support.fakes import turn

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


RESULT = tuple[str, float]


class Slots:
    """So many places, given back by hand; `seconds` is what those who find none are told."""

    def __init__(self, free: int = 0, seconds: float = 5.0, *, exact: bool = True) -> None:
        self.free = free
        self.seconds = seconds
        self.exact = exact
        self.tries: list[str] = []

    def attempt(self, name: str, *, slow: bool = False) -> Attempt[str]:
        async def attempt(claimed: Collection[Resource]) -> str | Wait:
            self.tries.append(name)
            if slow:
                await asyncio.sleep(0)
            if not self.free:
                return Wait(self.seconds, exact=self.exact)
            self.free -= 1
            return name

        return attempt


class Scene:
    """A queue, a clock, and whoever waits."""

    def __init__(self, group: anyio.abc.TaskGroup, size: int = 1000) -> None:
        self.clock = VirtualClock(0.0)
        self.queue = FairQueue(self.clock, live(queue=QueuePolicy(size=size)))
        self.slots = Slots()
        self.served: list[RESULT] = []
        self.refused: dict[str, ProxyError] = {}
        self.times: dict[str, float] = {}
        self.predicted: dict[str, float] = {}
        self._group = group

    async def come(self, caller: str, name: str = "", max_wait: float = 100.0, **options: Any) -> anyio.CancelScope:
        """One more call; it has been tried, and waits or not, when this returns."""
        name = name or caller
        scope = anyio.CancelScope()
        attempt = options.pop("attempt", None) or self.slots.attempt(name)
        if "resources" in options:
            names = options.pop("resources")
            options["resources"] = lambda: names

        async def run() -> None:
            with scope:
                try:
                    got = await self.queue.wait(
                        caller,
                        attempt,
                        max_wait,
                        predicted=lambda seconds: self.predicted.update({name: seconds}),
                        **options,
                    )
                    self.served.append((got, self.clock.now))
                except (InvalidRequest, RateLimited) as exc:
                    self.refused[name] = exc
                    self.times[name] = self.clock.now

        self._group.start_soon(run)
        await idle()
        return scope

    async def free(self, places: int = 1) -> None:
        """Places are given back."""
        self.slots.free += places
        self.queue.notify()
        await idle()

    @property
    def order(self) -> list[str]:
        return [name for name, _ in self.served]


@pytest.fixture
async def scene() -> Any:
    async with anyio.create_task_group() as group:
        yield Scene(group)
        group.cancel_scope.cancel()


async def test_with_room_nobody_waits(scene: Scene) -> None:
    scene.slots.free = 1

    await scene.come("a")

    assert scene.served == [("a", 0.0)]
    assert scene.queue.depth == 0
    assert scene.predicted == {}


async def test_first_in_first_out_within_a_caller(scene: Scene) -> None:
    for number in range(5):
        await scene.come("a", f"a{number}")

    for _ in range(5):
        await scene.free()

    assert scene.order == ["a0", "a1", "a2", "a3", "a4"]


async def test_callers_take_turns(scene: Scene) -> None:
    for number in range(4):
        await scene.come("a", f"a{number}")
    for name in ("b0", "b1", "c0"):
        await scene.come(name[0], name)

    await scene.free(7)

    assert scene.order == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


async def test_a_greedy_caller_cannot_starve_another(scene: Scene) -> None:
    for number in range(50):
        await scene.come("greedy", f"g{number}")
    await scene.come("modest")

    for _ in range(40):
        await scene.free()
        await scene.come("modest")  # comes back as soon as it was served, one at a time
        await scene.come("greedy", "more")

    shares = Counter("modest" if name == "modest" else "greedy" for name in scene.order)
    assert 18 <= shares["modest"] <= 22


async def test_nobody_is_overtaken_by_one_who_comes_later(scene: Scene) -> None:
    await scene.come("a")
    scene.slots.free = 1  # nobody was told

    await scene.come("b")

    assert scene.order == []
    scene.queue.notify()
    await idle()
    assert scene.order == ["a"]


async def test_who_waits_for_something_else_is_not_in_the_way(scene: Scene) -> None:
    other = Slots(free=1)
    await scene.come("a", resources=frozenset({"x"}))

    await scene.come("a", "a2", attempt=other.attempt("a2"), resources=frozenset({"y"}))

    assert scene.order == ["a2"]


async def test_a_callers_calls_for_other_targets_do_not_wait(scene: Scene) -> None:
    other = Slots()
    await scene.come("a", "a0", resources=frozenset({"x"}))
    await scene.come("a", "a1", resources=frozenset({"x"}))
    await scene.come("a", "a2", attempt=other.attempt("a2"), resources=frozenset({"y"}))
    await scene.come("b", "b0", resources=frozenset({"x"}))

    other.free = 1
    await scene.free(0)

    assert scene.order == ["a2"]
    await scene.free(3)
    assert scene.order == ["a2", "b0", "a0", "a1"]


async def test_only_those_whom_news_concern_try_again(scene: Scene) -> None:
    for number in range(300):
        await scene.come(f"c{number}", resources=frozenset({f"m{number}"}))
    scene.slots.tries.clear()

    scene.queue.notify("m7")
    await idle()

    assert "c7" in scene.slots.tries
    assert len(scene.slots.tries) < 20  # what shares its counter by chance


async def test_news_of_one_of_its_resources_is_enough(scene: Scene) -> None:
    await scene.come("a", resources=frozenset({"x", "y"}))
    scene.slots.free = 1

    scene.queue.notify("y")
    await idle()

    assert scene.order == ["a"]


async def test_who_leaves_makes_way_for_those_who_want_the_same(scene: Scene) -> None:
    first = await scene.come("a", resources=frozenset({"x"}))
    await scene.come("b", resources=frozenset({"x"}))
    scene.slots.free = 1  # nobody was told

    first.cancel()
    await idle()

    assert scene.order == ["b"]


async def test_a_call_ahead_in_the_queue_tries_a_claimed_slot(scene: Scene) -> None:
    seen: list[set[Resource]] = []

    async def choosy(claimed: Collection[Resource]) -> str | Wait:
        seen.append(set(claimed))
        return Wait(5.0) if "y" in claimed else Wait(1.0)

    other = Slots()
    await scene.come("d", "d1", resources=frozenset({"q"}))
    await scene.come("d", "d2", resources=frozenset({"y"}))
    await scene.come("e", "e1", attempt=other.attempt("e1"), resources=frozenset({"p"}))
    await scene.come("e", "e2", attempt=choosy, resources=frozenset({"x", "y"}))
    assert "y" in seen[-1]

    other.free = 1
    scene.queue.notify("p")
    await idle()

    assert scene.order == ["e1"]
    assert "y" not in seen[-1]  # its caller's second is its first now, before the other's second


def of_limit(scene: Scene, room: dict[str, int], names: list[str], amount: int) -> Attempt[str]:
    """An attempt that wants so much of a limit of 600 under one of these names."""

    async def attempt(claimed: Collection[Resource]) -> str | Wait:
        for name in names:
            if name not in claimed and amount <= room[name]:
                room[name] -= amount
                return f"{amount} of {name}"
        return Wait(30.0, exact=not claimed, portion=amount / 600)

    return attempt


async def test_a_callers_small_wish_does_not_pass_its_own_large_one(scene: Scene) -> None:
    room = {"r": 100}
    for caller, amount in (("w", 500), ("c", 600), ("c", 80)):
        attempt = of_limit(scene, room, ["r"], amount)
        await scene.come(caller, f"{caller}{amount}", attempt=attempt, resources=frozenset("r"), size=amount)

    await scene.come("d", "d80", attempt=of_limit(scene, room, ["r"], 80), resources=frozenset("r"), size=80)

    assert scene.order == ["80 of r"]
    assert [row.waiting for row in scene.queue.rows()] == [1, 2]  # those of `w` and `c`


async def test_a_callers_later_call_retries_after_the_earlier_one_left(scene: Scene) -> None:
    room = {"r": 100, "s": 0}
    await scene.come("w", attempt=of_limit(scene, room, ["r"], 500), resources=frozenset("r"), size=500)
    first = await scene.come("c", "c1", attempt=of_limit(scene, room, ["r"], 600), resources=frozenset("r"), size=600)
    await scene.come("c", "c2", attempt=of_limit(scene, room, ["r", "s"], 80), resources=frozenset("rs"), size=80)
    before = list(scene.order)

    first.cancel()
    await idle()

    assert before == []
    assert scene.order == ["80 of r"]


async def test_a_small_call_may_pass_a_large_one(scene: Scene) -> None:
    room = {"r": 100, "s": 0}
    large, small = of_limit(scene, room, ["r"], 500), of_limit(scene, room, ["r", "s"], 50)
    await scene.come("w", attempt=large, resources=frozenset("r"), size=500)

    await scene.come("n", attempt=small, resources=frozenset("rs"), size=50)

    assert scene.order == ["50 of r"]


async def test_an_estimated_wait_rejects_only_if_half_is_too_long(scene: Scene) -> None:
    async def attempt(claimed: Collection[Resource]) -> str | Wait:
        return Wait(8.0, pace=8.0, at_once=2, exact=False)

    for caller in "ab":
        await scene.come(caller, max_wait=6.0, attempt=attempt)

    assert scene.refused == {}
    assert scene.queue.depth == 2


async def test_a_call_without_a_target_is_answered_at_once(scene: Scene) -> None:
    async def attempt(claimed: Collection[Resource]) -> str | Wait:
        return "nothing"

    await scene.come("a", resources=frozenset({"x"}))

    await scene.come("b", attempt=attempt, resources=frozenset())

    assert scene.order == ["nothing"]


async def test_without_a_queue_nobody_waits() -> None:
    async with anyio.create_task_group() as group:
        scene = Scene(group, size=0)

        await scene.come("a")

        assert scene.refused["a"].error_code == "queue_full"
        assert scene.refused["a"].retry_after == 5.0


async def test_an_attempt_may_leave_out_what_others_wait_for(scene: Scene) -> None:
    seen: list[set[Resource]] = []

    async def attempt(claimed: Collection[Resource]) -> str | Wait:
        seen.append(set(claimed))
        return Wait(5.0)

    await scene.come("a", resources=frozenset({"x"}))
    await scene.come("b", attempt=attempt, resources=frozenset({"x", "y"}))
    await scene.free(0)

    assert {frozenset(claimed) for claimed in seen} == {frozenset("x")}


async def test_one_failure_a_round_is_enough_for_all_behind_it(scene: Scene) -> None:
    for number in range(50):
        await scene.come(f"caller{number}")
    scene.slots.tries.clear()

    await scene.free()

    assert scene.slots.tries == ["caller0", "caller1"]


async def test_a_wait_that_is_too_long_is_rejected_at_once(scene: Scene) -> None:
    scene.slots.seconds = 12.5

    await scene.come("a", max_wait=12.0)

    assert scene.times["a"] == 0.0
    assert scene.refused["a"].retry_after == 12.5
    assert scene.refused["a"].error_code == "rate_limit_exceeded"
    assert scene.queue.depth == 0


async def test_one_behind_others_waits_at_least_as_long_as_they_do(scene: Scene) -> None:
    scene.slots.seconds = 12.5
    await scene.come("a", max_wait=20.0)
    scene.clock.pass_(2.0)

    await scene.come("b", max_wait=10.0)

    assert scene.refused["b"].retry_after == 10.5
    assert scene.times["b"] == 2.0
    assert scene.queue.depth == 1


async def test_no_waiting_at_all_may_be_asked_for(scene: Scene) -> None:
    await scene.come("a", max_wait=0.0)
    await scene.come("b")

    await scene.come("c", max_wait=0.0)

    assert set(scene.refused) == {"a", "c"}


async def test_what_never_fits_is_refused_at_once(scene: Scene) -> None:
    scene.slots.seconds = math.inf

    await scene.come("a", max_wait=math.inf)

    assert not scene.refused["a"].retryable


async def test_what_will_never_fit_any_more_is_refused_when_it_is_seen(scene: Scene) -> None:
    await scene.come("a", "first")
    await scene.come("a", "second")
    scene.slots.seconds = math.inf

    await scene.free(0)

    assert set(scene.refused) == {"first", "second"}
    assert scene.queue.depth == 0


async def test_who_learns_that_its_time_will_not_do_is_told_at_once(scene: Scene) -> None:
    await scene.come("a", max_wait=8.0)  # predicted: 5 s, then exactly 5 s again
    await scene.come("b", max_wait=6.0)

    await scene.clock.advance(9.0)

    assert scene.times == {"a": 5.0, "b": 5.0}
    assert {exc.retry_after for exc in scene.refused.values()} == {5.0}
    assert scene.queue.depth == 0


async def test_a_waiter_whose_time_is_over_is_told_the_time_left(scene: Scene) -> None:
    scene.slots.exact = False
    await scene.come("a", max_wait=8.0)  # predicted: 5 s, then 5 s again
    await scene.come("b", max_wait=6.0)

    await scene.clock.advance(9.0)

    assert scene.times == {"a": 8.0, "b": 6.0}
    assert scene.refused["a"].retry_after == pytest.approx(2.0)
    assert scene.refused["b"].retry_after == pytest.approx(4.0)
    assert scene.queue.depth == 0
    assert scene.clock.waits == 0


async def test_room_at_the_last_moment_is_taken(scene: Scene) -> None:
    scene.slots.seconds = 8.0
    await scene.come("a", max_wait=8.0)

    scene.slots.free = 1
    await scene.clock.advance(8.0)

    assert scene.served == [("a", 8.0)]


async def test_there_is_one_timer_and_no_polling(scene: Scene) -> None:
    for number in range(20):
        await scene.come(f"caller{number}", max_wait=30.0 + number)
    scene.slots.tries.clear()
    assert scene.clock.waits == 1

    await scene.clock.advance(4.9)

    assert scene.slots.tries == []
    await scene.clock.advance(0.2)
    assert scene.slots.tries == ["caller0"]
    assert scene.clock.waits == 1


async def test_a_cancelled_waiter_leaves_at_once_and_wakes_the_next(scene: Scene) -> None:
    scopes = [await scene.come("a", f"a{number}") for number in range(3)]
    scopes[0].cancel()
    scopes[1].cancel()
    await idle()
    assert scene.queue.depth == 1
    assert [row.waiting for row in scene.queue.rows()] == [1]

    await scene.free()

    assert scene.order == ["a2"]


async def test_a_waiter_cancelled_at_its_turn_passes_it_on(scene: Scene) -> None:
    first = asyncio.get_running_loop().create_task(scene.queue.wait("a", scene.slots.attempt("first"), 100.0))
    await idle()
    await scene.come("b", "second")

    scene.slots.free = 1
    scene.queue.notify()
    first.cancel()  # before it could run
    await idle()

    assert scene.order == ["second"]


async def test_one_who_is_cancelled_in_its_attempt_passes_the_turn_on(scene: Scene) -> None:
    async def stuck(claimed: Collection[Resource]) -> str | Wait:
        if not stuck_now:
            return Wait(5.0)
        await asyncio.Event().wait()
        raise AssertionError

    stuck_now: list[bool] = []
    first = await scene.come("a", "first", attempt=stuck)
    await scene.come("b", "second")
    stuck_now.append(True)
    await scene.free()
    assert scene.order == []

    first.cancel()
    await idle()

    assert scene.order == ["second"]


async def test_when_the_keeper_of_the_timer_leaves_another_keeps_it(scene: Scene) -> None:
    scopes = [await scene.come(f"caller{number}") for number in range(6)]

    for scope in scopes[:0:-1]:
        scope.cancel()
        await idle()
        assert scene.clock.waits == 1
    scene.slots.free = 1
    await scene.clock.advance(5.0)

    assert scene.served == [("caller0", 5.0)]
    assert scene.clock.waits == 0


async def test_an_attempt_that_fails_does_not_hold_up_the_line(scene: Scene) -> None:
    async def broken(claimed: Collection[Resource]) -> str | Wait:
        if scene.slots.tries:
            raise RateLimited("broken")
        scene.slots.tries.append("broken")
        return Wait(1.0)

    await scene.come("a", "first", attempt=broken)
    await scene.come("b", "second")

    await scene.free()

    assert str(scene.refused["first"]) == "broken"
    assert scene.order == ["second"]


async def test_room_that_comes_during_an_attempt_is_not_missed(scene: Scene) -> None:
    async def attempt(claimed: Collection[Resource]) -> str | Wait:
        found = scene.slots.free
        await turn(10)
        return "a" if found else Wait(50.0)

    await scene.come("a", attempt=attempt)
    scene.queue.notify()
    await turn(3)  # the attempt has looked, and found nothing
    scene.slots.free = 1
    scene.queue.notify()
    await idle()

    assert scene.served == [("a", 0.0)]


async def test_a_slow_attempt_keeps_the_timer_quiet(scene: Scene) -> None:
    gate = asyncio.Event()

    async def slow(claimed: Collection[Resource]) -> str | Wait:
        if gate_used:
            await gate.wait()
        gate_used.append(True)
        return Wait(2.0)

    gate_used: list[bool] = []
    await scene.come("a", "slow", attempt=slow, max_wait=10.0)
    await scene.come("b", max_wait=3.0)
    await scene.clock.advance(5.0)  # the attempt of 2.0 is still under way

    assert scene.refused == {}
    gate.set()
    await idle()

    assert set(scene.refused) == {"b"}


async def test_a_full_queue_refuses_the_caller_that_fills_it() -> None:
    async with anyio.create_task_group() as group:
        scene = Scene(group, size=3)
        for number in range(3):
            await scene.come("a", f"a{number}")

        await scene.come("a", "a3")

        assert scene.refused["a3"].error_code == "queue_full"
        assert scene.refused["a3"].retry_after == 5.0
        assert scene.queue.depth == 3
        group.cancel_scope.cancel()


async def test_a_full_queue_sends_nobody_away_to_be_back_at_once() -> None:
    async with anyio.create_task_group() as group:
        scene = Scene(group, size=1)
        scene.slots.seconds = 0.0
        await scene.come("a", "a0")

        await scene.come("b")

        assert scene.refused["b"].error_code == "queue_full"
        assert scene.refused["b"].retry_after == 1.0
        group.cancel_scope.cancel()


async def test_a_full_queue_has_a_place_for_another_caller() -> None:
    async with anyio.create_task_group() as group:
        scene = Scene(group, size=3)
        for number in range(3):
            await scene.come("a", f"a{number}")

        await scene.come("b", "b0")
        await scene.come("b", "b1")

        assert scene.refused["a2"].error_code == "queue_full"
        assert set(scene.refused) == {"a2", "b1"}  # two of `a` against one of `b`: now it is fair
        await scene.free(3)
        assert scene.order == ["a0", "b0", "a1"]
        group.cancel_scope.cancel()


async def test_the_rows_say_who_waits_and_since_when(scene: Scene) -> None:
    await scene.come("a", "a0")
    await scene.come("b", "b0")
    scene.clock.pass_(2.5)
    await scene.come("a", "a1")

    assert scene.queue.rows() == [QueueRow("a", 2, 2.5), QueueRow("b", 1, 2.5)]
    assert scene.queue.depth == 3


async def test_ten_places_of_one_second_serve_a_hundred_in_order() -> None:
    async with anyio.create_task_group() as group:
        scene = Scene(group)
        store = MemoryCounters(scene.clock)
        ticket = Charge(CounterKey(("a",), "concurrency"), 10, 0.0, 1)
        ends: list[tuple[float, Reservation]] = []

        def attempt(name: str) -> Attempt[str]:
            async def attempt(claimed: Collection[Resource]) -> str | Wait:
                result = await store.reserve([ticket])
                if isinstance(result, Wait):
                    return result
                ends.append((scene.clock.now + 1.0, result))
                return name

            return attempt

        for number in range(100):
            await scene.come(f"caller{number % 4}", f"n{number}", max_wait=2.02, attempt=attempt(f"n{number}"))
        for _ in range(60):
            for end, reservation in list(ends):
                if end <= scene.clock.now + 1e-9:
                    ends.remove((end, reservation))
                    store.settle(reservation, None)
                    scene.queue.notify()
            await scene.clock.advance(0.05)

        assert scene.order == [f"n{number}" for number in range(30)]
        assert len(scene.refused) == 70
        assert max(at for _, at in scene.served) <= 2.05
        assert {round(at, 2) for at in scene.times.values()} == {2.02}
        assert all((exc.retry_after or 0) > 0 for exc in scene.refused.values())
        group.cancel_scope.cancel()


async def test_the_predicted_wait_is_the_real_one(scene: Scene) -> None:
    store = MemoryCounters(scene.clock)
    window = Charge(CounterKey(("a",), "rpm"), 2, 60.0, 1)

    async def attempt(claimed: Collection[Resource]) -> str | Wait:
        result = await store.reserve([window])
        return result if isinstance(result, Wait) else "in"

    began = {}
    for at, name in ((0.0, "a"), (10.0, "b"), (20.0, "c"), (25.0, "d"), (30.0, "e")):
        await scene.clock.advance(at - scene.clock.now)
        began[name] = at
        await scene.come("one", name, max_wait=46.0, attempt=attempt)
    await scene.clock.advance(100.0)

    assert scene.predicted["c"] == pytest.approx(40.5, abs=0.5)
    assert scene.served[2][1] == pytest.approx(began["c"] + scene.predicted["c"], abs=1e-9)
    assert scene.served[3][1] == pytest.approx(70.3, abs=0.4)
    assert set(scene.refused) == {"e"}
    assert scene.times["e"] == scene.served[3][1]  # as soon as it is seen that its time will not do
    assert scene.refused["e"].retry_after == pytest.approx(121.0 - scene.times["e"], abs=0.6)


async def test_a_hopeless_wait_is_rejected_at_once() -> None:
    async with anyio.create_task_group() as group:
        scene = Scene(group)
        taken = Wait(1.0, pace=1.0, at_once=2)

        async def attempt(claimed: Collection[Resource]) -> str | Wait:
            return taken

        for number in range(12):
            await scene.come("caller", f"n{number}", max_wait=2.5, attempt=attempt)
        refused = {name: exc.retry_after for name, exc in scene.refused.items()}
        group.cancel_scope.cancel()

    # two at once from the first second on: the ninth begins after 5 s as estimated, and after 3 s if they are quick
    assert refused == {f"n{number}": pytest.approx(5.0, abs=0.01) for number in range(8, 12)}
