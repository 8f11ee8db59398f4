"""Calls that wait for room at their targets: in which order, for how long, and who is sent away."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest, RateLimited
from proxy.core.model import LimitValues
from proxy.core.policies import QueuePolicy
from proxy.core.principal import Principal
from proxy.core.record import Record
from tests.support.calls import HELLO, call, plan, record
from tests.support.clocks import VirtualClock
from tests.support.fakes import Answer, Wait
from tests.unit.upstream.bench import BODY, OK, A, Bench, bench, on, refusal, target

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

TEN = target("a", limits=LimitValues(concurrency=10))
SECOND = Answer([BODY], before=[Wait(1.0)])


@dataclass
class Came:
    """One call: who made it, what it got, and when."""

    caller: str
    number: int
    out: Any
    made: Record
    ended: float


class Scene:
    """Ten places, a second for each answer, and at most two seconds of waiting."""

    def __init__(self) -> None:
        self.bench: Bench = bench({"a": lambda: SECOND}, clock=VirtualClock())
        self.ended: list[Came] = []
        self._of = call(HELLO, on=on(TEN, queue=QueuePolicy(max_wait=2.0)))

    async def come(self, caller: str, number: int) -> None:
        of = replace(self._of, principal=Principal(caller))
        out, made = await self.bench.run(of, plan(TEN), record(of, started=self.bench.clock.now))
        self.ended.append(Came(caller, number, out, made, self.bench.clock.now - 1000.0))

    def served_at(self, caller: str) -> dict[float, list[int]]:
        """The numbers of those who were served, by the second in which their answers ended."""
        found: dict[float, list[int]] = {}
        for each in self.served:
            if each.caller == caller:
                found.setdefault(each.ended, []).append(each.number)
        return {second: sorted(numbers) for second, numbers in sorted(found.items())}

    @property
    def served(self) -> list[Came]:
        return [each for each in self.ended if each.out == BODY]

    @property
    def refused(self) -> list[Came]:
        return [each for each in self.ended if each.out != BODY]


async def test_a_hundred_calls_for_ten_slots_are_served_in_order() -> None:
    scene = Scene()

    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(scene.come("one", number))

    assert scene.served_at("one") == {
        1.0: list(range(10)),
        2.0: list(range(10, 20)),
        3.0: list(range(20, 30)),
    }
    assert Counter(each.made.timings.queue_seconds for each in scene.served) == {0.0: 10, 1.0: 10, 2.0: 10}
    assert len(scene.refused) == 70
    assert {each.made.timings.queue_seconds for each in scene.refused} == {2.0}
    for each in scene.refused:
        assert isinstance(each.out, RateLimited)
        assert each.out.error_code == "rate_limit_exceeded"
        assert int(each.out.response_headers()["retry-after"]) >= 1
    assert scene.bench.queue.depth == 0


async def test_a_greedy_caller_cannot_starve_another() -> None:
    scene = Scene()

    async with asyncio.TaskGroup() as group:
        for number in range(90):
            group.create_task(scene.come("greedy", number))
        for number in range(10):
            group.create_task(scene.come("modest", number))

    assert scene.served_at("modest") == {2.0: [0, 1, 2, 3, 4], 3.0: [5, 6, 7, 8, 9]}
    assert {second: len(numbers) for second, numbers in scene.served_at("greedy").items()} == {1.0: 10, 2.0: 5, 3.0: 5}


async def test_those_who_leave_while_they_wait_make_room_at_once() -> None:
    scene = Scene()

    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(scene.come("one", number))
        await asyncio.sleep(0.25)
        leaving = [group.create_task(scene.come("one", 10 + number)) for number in range(20)]
        await asyncio.sleep(0.25)
        staying = [group.create_task(scene.come("one", 30 + number)) for number in range(10)]
        await asyncio.sleep(0)
        before = scene.bench.queue.depth
        for task in leaving:
            task.cancel()
        await asyncio.sleep(0.001)
        after = scene.bench.queue.depth

    assert (before, after) == (30, 10)
    assert all(task.done() for task in staying)
    assert scene.served_at("one") == {1.0: list(range(10)), 2.0: list(range(30, 40))}


async def test_a_wait_that_cannot_end_in_time_is_not_begun() -> None:
    minute = target("a", limits=LimitValues(rpm=1))
    b = bench({"a": [OK]}, clock=VirtualClock())
    configured = on(minute, queue=QueuePolicy(max_wait=30.0))

    await b.run(call(HELLO, on=configured), plan(minute))
    out, made = await b.run(call(HELLO, on=configured), plan(minute))

    assert isinstance(out, RateLimited)
    assert made.timings.queue_seconds == 0.0
    assert 60 <= int(out.response_headers()["retry-after"]) <= 61


async def test_a_call_over_every_limit_is_rejected_for_good() -> None:
    small = target("a", limits=LimitValues(concurrency=0))
    b = bench({"a": []}, clock=VirtualClock())

    out, made = await b.run(call(HELLO, on=on(small)), plan(small))

    assert isinstance(out, InvalidRequest)
    assert out.error_code == "no_candidate_available"
    assert out.response_headers()["x-should-retry"] == "false"
    assert made.timings.queue_seconds == 0.0


async def test_the_foreseen_wait_and_the_real_one_are_in_the_record() -> None:
    b = bench({"a": [refusal(429, headers={"retry_after": "4"}), OK]}, clock=VirtualClock())

    _, made = await b.run(call(HELLO, on=on(A)), plan(A))

    assert (made.timings.predicted_queue_seconds, made.timings.queue_seconds) == (4.0, 4.0)
