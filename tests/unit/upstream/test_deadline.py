"""Deadlines of calls, which share one timer of the event loop."""

from __future__ import annotations

import asyncio
from math import inf

from proxy.upstream.deadline import Deadline, Deadlines

LONG = 600.0
SHORT = 0.001


async def ends(deadline: Deadline) -> bool:
    """Wait for a cancellation, and return whether the deadline caused it."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return deadline.expired()
    raise AssertionError("an event that nothing sets was set")


async def passed(seconds: float, deadlines: Deadlines | None = None) -> bool:
    """Run a deadline in this task."""
    return await ends(Deadline(seconds, deadlines or Deadlines()))


async def test_passed_deadline_cancels_its_task_and_takes_that_back() -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(passed(SHORT))

    assert task.result() is True
    assert task.cancelling() == 0


async def test_other_cancellation_is_not_that_of_the_deadline() -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(passed(LONG))
        await asyncio.sleep(0)
        task.cancel()

    assert task.result() is False


async def test_each_deadline_ends_its_own_task() -> None:
    shared, seconds = Deadlines(), (LONG, SHORT, LONG, 5 * SHORT)
    async with asyncio.TaskGroup() as group:
        long, short, other, later = [group.create_task(passed(each, shared)) for each in seconds]
        assert await short is True
        assert await later is True
        assert not long.done()
        assert not other.done()
        long.cancel()
        other.cancel()

    assert [long.result(), other.result()] == [False, False]


async def test_moved_and_stopped_deadlines_do_not_pass() -> None:
    shared = Deadlines()
    moved, stopped = Deadline(SHORT, shared), Deadline(SHORT, shared)
    moved.end = inf
    stopped.stop()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(passed(5 * SHORT, shared))

    assert task.result() is True
    assert [moved.expired(), stopped.expired()] == [False, False]
    moved.stop()


async def test_deadline_that_was_moved_passes_at_its_new_end() -> None:
    async def started_again() -> bool:
        deadline = Deadline(LONG, Deadlines())
        deadline.stop()
        deadline.start(SHORT)
        return await ends(deadline)

    async def moved() -> bool:
        deadline = Deadline(SHORT, Deadlines())
        deadline.end += 5 * SHORT
        return await ends(deadline)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(started_again()), group.create_task(moved())]

    assert [task.result() for task in tasks] == [True, True]


async def test_bound_deadline_ends_the_task_that_it_is_bound_to() -> None:
    async def made() -> Deadline:
        return Deadline(LONG, Deadlines())

    async def bound() -> bool:
        async with asyncio.TaskGroup() as inner:
            making = inner.create_task(made())
        deadline = making.result()
        deadline.bind()
        deadline.start(SHORT)
        return await ends(deadline)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(bound())

    assert task.result() is True


async def test_timer_is_set_for_running_deadlines_only() -> None:
    shared = Deadlines()
    first = Deadline(LONG, shared)
    due = shared.due
    second = Deadline(2 * LONG, shared)

    assert shared.due == due == first.end
    third = Deadline(LONG / 2, shared)
    assert shared.due == third.end
    for deadline in (first, second, third):
        deadline.stop()
    assert not shared.running


def test_deadlines_can_be_used_in_one_event_loop_after_another() -> None:
    shared = Deadlines()

    async def left() -> None:
        Deadline(LONG, shared)

    asyncio.run(left())

    assert asyncio.run(passed(SHORT, shared)) is True
    assert not shared.running
