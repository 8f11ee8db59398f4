"""Who waits for what: nobody keeps others from what it cannot use itself, and nothing is foreseen that is not so."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest, ProxyError, RateLimited
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import Deployment, LimitValues
from proxy.core.policies import BreakerPolicy, DeadlinePolicy, QueuePolicy, RetryPolicy
from proxy.core.principal import Principal
from proxy.core.record import Record
from tests.support.calls import STREAM, call, plan, record
from tests.support.clocks import VirtualClock
from tests.support.fakes import Answer, Wait
from tests.unit.upstream.bench import (
    BODY,
    DONE,
    E500,
    OK,
    STOP,
    TEXT,
    Bench,
    bench,
    on,
    outcomes,
    refusal,
    target,
)

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

SECOND = Answer([BODY], before=[Wait(1.0)])
TWO_KEYS = target("a", "one", "two")


def scene(script: Any, **policy: Any) -> Bench:
    return bench(script, BreakerPolicy(**policy), clock=VirtualClock())


def asking(of: Deployment, caller: str = "-", *, tokens: int | None = None, key: str | None = None, **on_: Any) -> Call:
    body: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
    if tokens is not None:
        body["max_tokens"] = tokens
    if key is not None:
        body["router"] = {"key_id": key}
    return replace(call(json.dumps(body).encode(), on=on(of, **on_)), principal=Principal(caller))


async def made_of(b: Bench, of: Call, *targets: Deployment) -> tuple[Any, Record]:
    return await b.run(of, plan(*targets), record(of, started=b.clock.now))


async def test_who_waits_for_one_key_is_in_nobodys_way_at_another() -> None:
    b = scene({"a": [OK]})
    lease = b.health.lease(TWO_KEYS, key_id="one")
    assert lease
    lease.fail(UpstreamFailure(FailureKind.RATE_LIMITED, "x", retry_after=40.0))
    patient = asking(TWO_KEYS, "patient", key="one", queue=QueuePolicy(max_wait=60.0))

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(made_of(b, patient, TWO_KEYS))
        await asyncio.sleep(1.0)
        out, made = await made_of(b, asking(TWO_KEYS, "other"), TWO_KEYS)
        waiting.cancel()

    assert out == BODY
    assert (made.timings.queue_seconds, made.attempts[0].key_id) == (0.0, "two")


async def test_one_large_wish_does_not_starve_small_ones_of_others() -> None:
    tight = target("a", limits=LimitValues(tpm=1000))
    b = scene({"a": lambda: OK})
    queue = QueuePolicy(max_wait=120.0)
    await b.limits.reserve(tight, "main", 300)  # and never less

    async with asyncio.TaskGroup() as group:
        large = group.create_task(made_of(b, asking(tight, "large", tokens=990, queue=queue), tight))
        await asyncio.sleep(1.0)
        depth = b.queue.depth
        small = [await made_of(b, asking(tight, "small", tokens=5, queue=queue), tight) for _ in range(3)]
        large.cancel()

    assert depth == 1
    assert [(out, made.timings.queue_seconds) for out, made in small] == [(BODY, 0.0)] * 3


async def test_a_large_call_is_not_starved_by_small_ones() -> None:
    tight = target("a", limits=LimitValues(tpm=1000))
    b = scene({"a": lambda: OK})
    queue = QueuePolicy(max_wait=120.0)
    await b.limits.reserve(tight, "main", 700)  # and never less

    async with asyncio.TaskGroup() as group:
        fair = group.create_task(made_of(b, asking(tight, "fair", tokens=400, queue=queue), tight))
        await asyncio.sleep(1.0)
        small = group.create_task(made_of(b, asking(tight, "small", tokens=5, queue=queue), tight))
        await asyncio.sleep(1.0)
        waiting = b.queue.depth
        (one, first), (other, second) = await fair, await small

    assert waiting == 2
    assert one == other == BODY
    assert first.timings.queue_seconds > 59.0
    assert second.timings.queue_seconds == pytest.approx(first.timings.queue_seconds - 1.0, abs=0.1)


async def test_what_is_only_reserved_is_expected_back_soon() -> None:
    tight = target("a", limits=LimitValues(tpm=2000))
    b = scene({"a": lambda: SECOND})

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(made_of(b, asking(tight), tight)) for _ in range(4)]

    ended = [task.result() for task in calls]
    assert [out for out, _ in ended] == [BODY] * 4
    assert [made.timings.queue_seconds for _, made in ended] == [
        pytest.approx(each, abs=0.01) for each in (0.0, 1.0, 2.0, 3.0)
    ]


async def test_a_wait_ends_when_a_reservation_is_settled() -> None:
    tight = target("a", limits=LimitValues(tpm=1000))
    used = Answer([json.dumps({**json.loads(BODY), "usage": {"prompt_tokens": 8, "completion_tokens": 900}}).encode()])
    b = scene({"a": [replace(used, before=[Wait(1.0)])]})

    async with asyncio.TaskGroup() as group:
        group.create_task(made_of(b, asking(tight, tokens=900), tight))
        await asyncio.sleep(0.0)
        out, made = await made_of(b, asking(tight, tokens=900), tight)

    assert isinstance(out, RateLimited)
    assert made.timings.queue_seconds == pytest.approx(1.0, abs=0.01)
    assert out.retry_after == pytest.approx(59.5, abs=1.0)


async def test_a_short_rest_does_not_hide_a_full_window() -> None:
    minute = target("a", limits=LimitValues(rpm=2))
    b = scene({"a": [OK, refusal(429, headers={"retry-after": "1"})]})
    for _ in range(2):
        await made_of(b, asking(minute, queue=QueuePolicy(max_wait=0.0)), minute)

    out, made = await made_of(b, asking(minute), minute)

    assert isinstance(out, RateLimited)
    assert made.timings.queue_seconds == 0.0
    assert out.retry_after == pytest.approx(60.0, abs=0.6)


async def test_a_prompt_over_a_targets_limit_goes_elsewhere_or_fails() -> None:
    small, large = target("a", limits=LimitValues(tpm=100)), target("b", limits=LimitValues(tpm=10_000))
    b = scene({"a": [], "b": [OK]})
    of = asking(small, tokens=5)

    out, made = await b.run(of, replace(plan(small, large), count_input=lambda: 500))
    alone, _ = await b.run(of, replace(plan(small), count_input=lambda: 500))

    assert (out, outcomes(made)) == (BODY, ["b ok"])
    assert isinstance(alone, InvalidRequest)
    assert (alone.status, alone.error_code, alone.retryable) == (400, "no_candidate_available", False)


async def test_a_retry_whose_place_was_taken_waits_for_it() -> None:
    narrow = target("a", limits=LimitValues(concurrency=1))
    b = scene({"a": [replace(E500, before=[Wait(1.0)]), SECOND, SECOND]})

    async with asyncio.TaskGroup() as group:
        first = group.create_task(made_of(b, asking(narrow, "one"), narrow))
        await asyncio.sleep(0.5)
        second = group.create_task(made_of(b, asking(narrow, "two"), narrow))

    (one, made), (other, _) = first.result(), second.result()
    assert one == other == BODY
    assert outcomes(made) == ["a server_error", "a ok"]
    assert made.timings.queue_seconds > 0.5


async def test_a_lost_slot_does_not_add_attempts() -> None:
    narrow = target("a", limits=LimitValues(concurrency=1))
    failing = replace(E500, before=[Wait(1.0)])
    b = scene({"a": [failing, SECOND, failing]}, consecutive=9)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(made_of(b, asking(narrow, "one", retry=RetryPolicy(attempts=4)), narrow))
        await asyncio.sleep(0.5)
        group.create_task(made_of(b, asking(narrow, "two"), narrow))

    _, made = first.result()
    assert outcomes(made) == ["a server_error"] * 2


async def test_a_rejecting_target_is_last_despite_other_keys() -> None:
    other = target("b")
    b = scene({"a": [refusal(429, headers={"retry-after": "0"}), OK], "b": [OK]})
    lease = b.health.lease(TWO_KEYS, key_id="two")
    assert lease
    lease.fail(UpstreamFailure(FailureKind.RATE_LIMITED, "x", retry_after=40.0))

    out, made = await made_of(b, asking(TWO_KEYS), TWO_KEYS, other)

    assert (out, outcomes(made)) == (BODY, ["a rate_limited", "b ok"])


async def test_of_several_rate_limits_the_earliest_end_is_told() -> None:
    soon, late = target("a"), target("b")
    b = scene({"a": [refusal(429, headers={"retry-after": "3"})], "b": [refusal(429, headers={"retry-after": "90"})]})

    out, _ = await made_of(b, asking(soon, queue=QueuePolicy(max_wait=0.0)), soon, late)

    assert isinstance(out, RateLimited)
    assert out.retry_after == pytest.approx(3.0)


async def test_the_hard_deadline_ends_a_wait_as_itself() -> None:
    narrow = target("a", limits=LimitValues(concurrency=1))
    b = scene({"a": [Answer([BODY], before=[Wait(8.0)])]})

    async with asyncio.TaskGroup() as group:
        group.create_task(made_of(b, asking(narrow, "one"), narrow))
        await asyncio.sleep(0.0)
        out, made = await made_of(b, asking(narrow, "two", deadline=DeadlinePolicy(soft=3.0, hard=3.0)), narrow)

    assert isinstance(out, ProxyError)
    assert (out.status, out.error_code) == (504, "deadline_exceeded")
    assert made.timings.queue_seconds == pytest.approx(3.0)


async def test_of_open_breakers_one_opened_by_slowness_is_tried_first() -> None:
    dead, slow = target("a"), target("b")
    b = scene({"a": [], "b": [OK]}, consecutive=1)
    for of in (dead, slow):
        lease = b.health.lease(of)
        assert lease
        if of is dead:
            lease.fail(UpstreamFailure(FailureKind.CONNECT, "x"))
        else:
            lease.succeed(9.0, slow=True)

    out, made = await made_of(b, asking(dead), dead, slow)

    assert (out, outcomes(made)) == (BODY, ["b ok"])


@pytest.mark.parametrize(("before", "after", "at_once"), [(1, 3, 3), (3, 1, 1)])
async def test_changed_limits_apply_to_waiting_calls(before: int, after: int, at_once: int) -> None:
    old, new = (target("a", limits=LimitValues(concurrency=limit)) for limit in (before, after))
    seen: list[int] = []

    def answer() -> Answer:
        seen.append(b.transport.open)
        return SECOND

    b = scene({"a": answer})
    async with asyncio.TaskGroup() as group:
        for _ in range(9):
            group.create_task(made_of(b, asking(old), old))
        await asyncio.sleep(0.5)
        seen.clear()
        b.live.snapshot = on(new)
        b.queue.notify()

    assert len(seen) == 9 - before
    assert max(seen) <= max(at_once, 1)


async def test_streams_give_back_what_they_did_not_use() -> None:
    tight = target("a", limits=LimitValues(tpm=2000))
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1}}\n\n'
    b = scene({"a": lambda: Answer([TEXT, Wait(1.0), STOP, usage, DONE])})

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(made_of(b, call(STREAM, on=on(tight)), tight)) for _ in range(3)]

    outs = [task.result() for task in calls]
    assert all(isinstance(out, bytes) for out, _ in outs)
    assert max(made.timings.queue_seconds for _, made in outs) == pytest.approx(2.0, abs=0.1)
