"""Attempts under their caller's limits of single models: what is skipped, what counts, and what the client reads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from proxy.admission.limits import ClientLimits
from proxy.capacity.memory import MemoryCounters
from proxy.capacity.store import Charge, Reservation
from proxy.core.call import Call
from proxy.core.errors import ProxyError, RateLimited, StateUnavailable, UpstreamError
from proxy.core.model import Deployment, LimitValues
from proxy.core.policies import HedgePolicy, QueuePolicy, RetryPolicy, SlowPolicy
from proxy.core.principal import OF_MODEL, Identified, Owner
from proxy.core.record import Record
from tests.support.calls import HELLO, STREAM, call, plan, record
from tests.support.clocks import VirtualClock
from tests.support.fakes import Answer, Wait
from tests.unit.upstream.bench import (
    BODY,
    DONE,
    E500,
    OK,
    ROLE,
    STOP,
    STREAMED,
    TEXT,
    A,
    B,
    bench,
    on,
    outcomes,
    target,
)

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

ONCE = RetryPolicy(same_target=0)


class Scene:
    """Calls of one caller with limits of models."""

    def __init__(self, script: Any, **limits: LimitValues) -> None:
        self.bench = bench(script, clock=VirtualClock())
        self.store = MemoryCounters(self.bench.clock)
        self.limits = ClientLimits(self.store)
        owners: list[Owner] = [("key", "k", OF_MODEL, f"{name}/*") for name in limits]
        self.caller = Identified("k", key_id="k", limits=tuple(zip(owners, limits.values(), strict=True)))

    def call(self, *deployments: Deployment, raw: bytes = HELLO, **policies: Any) -> Call:
        return replace(call(raw, on=on(*deployments, **{"retry": ONCE, **policies})), principal=self.caller)

    async def run(self, *deployments: Deployment, **policies: Any) -> tuple[bytes | ProxyError, Record]:
        of, planned = self.call(*deployments, **policies), plan(*deployments)
        made = record(of, started=self.bench.clock.now)
        await self.limits.reserve(of, planned, made)
        return await self.bench.run(of, planned, made)

    async def used(self) -> dict[str, int]:
        return {f"{row.counter.owner[-1]} {row.counter.kind}": row.used for row in await self.store.read()}


class Unreachable(MemoryCounters):
    """Counters that do not answer."""

    def reserve_at_once(self, charges: Sequence[Charge]) -> Reservation | None:
        raise StateUnavailable


async def test_a_target_whose_limit_is_reached_is_skipped() -> None:
    scene = Scene({"a": lambda: OK, "b": lambda: OK}, a=LimitValues(rpm=2))

    made = [(await scene.run(A, B))[1] for _ in range(4)]

    assert [outcomes(each) for each in made] == [["a ok"], ["a ok"], ["b ok"], ["b ok"]]


async def test_a_fallback_counts_for_its_own_model() -> None:
    scene = Scene({"a": lambda: E500, "b": lambda: OK}, b=LimitValues(rpm=2))

    results = [await scene.run(A, B) for _ in range(3)]

    assert [outcomes(made) for _, made in results] == [["a server_error", "b ok"]] * 2 + [["a server_error"]]
    error = results[2][0]
    assert isinstance(error, RateLimited)
    assert "for `b/*` is reached" in str(error)
    assert "Also failed: `a/m`" in str(error)
    assert error.retry_after == pytest.approx(60, abs=1)


async def test_a_retry_counts_and_is_not_made_beyond_the_limit() -> None:
    scene = Scene({"a": lambda: E500}, a=LimitValues(rpm=2))

    out, made = await scene.run(A, retry=RetryPolicy(attempts=4, same_target=3))

    assert outcomes(made) == ["a server_error"] * 2
    assert isinstance(out, UpstreamError)
    assert await scene.used() == {"a/* rpm": 2}


async def test_a_call_is_429_when_no_target_is_left() -> None:
    scene = Scene({"a": lambda: OK, "b": lambda: OK}, a=LimitValues(rpm=1), b=LimitValues(rpm=1))
    await scene.run(A, B)
    await asyncio.sleep(20)
    await scene.run(A, B)

    out, made = await scene.run(A, B)

    assert (out.http_status, out.retryable) == (429, True) if isinstance(out, ProxyError) else out
    assert isinstance(out, RateLimited)
    assert out.retry_after == pytest.approx(40, abs=1)
    assert made.attempts == []
    assert await scene.used() == {"a/* rpm": 1, "b/* rpm": 1}


async def test_skipped_targets_cost_no_attempts_and_no_retry_budget() -> None:
    names = [f"t{number}" for number in range(6)]
    targets = [target(name) for name in names]
    scene = Scene(dict.fromkeys(names, lambda: OK), **dict.fromkeys(names[:5], LimitValues(rpm=1)))
    for each in targets[:5]:
        await scene.run(each)
    before = scene.bench.budget.used(scene.bench.clock.now)

    out, made = await scene.run(*targets, retry=RetryPolicy(attempts=2))

    assert (out, outcomes(made)) == (BODY, ["t5 ok"])
    assert scene.bench.budget.used(scene.bench.clock.now) == before


async def test_a_call_beyond_its_limit_does_not_wait_for_capacity() -> None:
    slow = Answer([BODY], before=[Wait(5.0)])
    one = target("a", limits=LimitValues(concurrency=1))
    scene = Scene({"a": lambda: slow}, a=LimitValues(rpm=1))

    async with asyncio.TaskGroup() as group:
        first = group.create_task(scene.run(one, queue=QueuePolicy(max_wait=60.0)))
        await asyncio.sleep(1)
        out, made = await scene.run(one, queue=QueuePolicy(max_wait=60.0))
        waited = made.timings.queue_seconds

    assert first.result()[0] == BODY
    assert isinstance(out, RateLimited)
    assert waited == 0


async def test_concurrent_attempts_are_limited_and_their_slots_return() -> None:
    slow = Answer([BODY], before=[Wait(5.0)])
    scene = Scene({"a": lambda: slow, "b": lambda: slow}, a=LimitValues(concurrency=3))

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(scene.run(A, B)) for _ in range(10)]
        await asyncio.sleep(1)
        during = await scene.used()

    names = [made.attempts[0].deployment.name for _, made in (task.result() for task in calls)]
    assert (names.count("a/m"), names.count("b/m")) == (3, 7)
    assert (during, await scene.used()) == ({"a/* concurrency": 3}, {})


async def test_a_client_that_leaves_frees_its_slot() -> None:
    scene = Scene({"a": lambda: Answer([BODY], before=[Wait(60.0)])}, a=LimitValues(concurrency=1))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(scene.run(A))
        await asyncio.sleep(1)
        during = await scene.used()
        task.cancel()

    assert (during, await scene.used()) == ({"a/* concurrency": 1}, {})


async def test_a_hedge_is_not_made_beyond_the_limit_of_its_model() -> None:
    late = Answer([ROLE, Wait(10.0), TEXT, STOP, DONE])
    scene = Scene({"a": lambda: late, "b": lambda: STREAMED}, b=LimitValues(rpm=1))
    for number in range(1, 21):
        scene.bench.slow.judge("a/m", 0.1 * number, SlowPolicy())
    hedge = HedgePolicy(enabled=True, percentile=0.95, samples=20)

    made = [(await scene.run(A, B, raw=STREAM, hedge=hedge))[1] for _ in range(2)]

    assert [outcomes(each) for each in made] == [["a hedge_lost", "b ok"], ["a ok"]]
    assert scene.bench.limits.contended is False
    assert await scene.used() == {"b/* rpm": 1}


@pytest.mark.parametrize("limit", [1, 2])
async def test_headers_report_the_limits_of_the_attempt_that_answers(limit: int) -> None:
    late = Answer([ROLE, Wait(4.0), TEXT, STOP, DONE])
    scene = Scene({"a": lambda: late, "b": lambda: late}, a=LimitValues(rpm=9), b=LimitValues(rpm=limit))
    for number in range(1, 21):
        scene.bench.slow.judge("a/m", 0.1 * number, SlowPolicy())
    await scene.run(B, raw=STREAM)

    _, made = await scene.run(A, B, raw=STREAM, hedge=HedgePolicy(enabled=True, percentile=0.95, samples=20))

    assert outcomes(made)[0] == "a ok"
    assert made.limit_headers.startswith(b"x-ratelimit-limit-requests: 9\r\nx-ratelimit-remaining-requests: 8\r\n")


async def test_a_call_is_not_hedged_while_limits_cannot_be_counted() -> None:
    late = Answer([ROLE, Wait(4.0), TEXT, STOP, DONE])
    scene = Scene({"a": lambda: late, "b": lambda: STREAMED}, b=LimitValues(rpm=9))
    for number in range(1, 21):
        scene.bench.slow.judge("a/m", 0.1 * number, SlowPolicy())
    scene.limits = ClientLimits(Unreachable(scene.bench.clock))

    _, made = await scene.run(A, B, raw=STREAM, hedge=HedgePolicy(enabled=True, percentile=0.95, samples=20))

    assert outcomes(made) == ["a ok"]


async def test_a_429_names_all_busy_targets_whose_limits_are_reached() -> None:
    slow = Answer([BODY], before=[Wait(5.0)])
    busy = [target(name, limits=LimitValues(concurrency=1)) for name in "abc"]
    limits = {name: LimitValues(rpm=1) for name in "abc"}
    scene = Scene(dict.fromkeys("abc", lambda: slow), **limits)

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(scene.run(each)) for each in busy]
        await asyncio.sleep(1)
        out, made = await scene.run(*busy, queue=QueuePolicy(max_wait=60.0))

    assert [task.result()[0] for task in calls] == [BODY] * 3
    assert isinstance(out, RateLimited)
    assert [name in str(out) for name in ("`a/*`", "`b/*`", "`c/*`")] == [True] * 3
    assert made.timings.queue_seconds == 0
