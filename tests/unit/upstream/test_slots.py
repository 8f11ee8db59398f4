"""Leases with room: which key, when, and for whom; and what is left to a probe."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from proxy.capacity.limits import Limits
from proxy.capacity.memory import MemoryCounters
from proxy.capacity.store import Charge, Reservation
from proxy.capacity.store import Wait as Waits
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import ProxyError, RateLimited
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.messages import MessageFacts
from proxy.core.model import Deployment, Kind, LimitValues, ProviderKey
from proxy.core.plan import Target
from proxy.core.policies import BreakerPolicy, QueuePolicy, RetryPolicy
from proxy.core.principal import Principal
from proxy.core.record import Record
from proxy.upstream.health import Lease
from proxy.upstream.slots import Slots
from tests.support.calls import HELLO, call, deployment, plan, provider
from tests.support.clocks import VirtualClock
from tests.support.fakes import Answer, Wait
from tests.unit.upstream.bench import BODY, E500, OK, A, B, Bench, bench, on, outcomes, target

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

ONE_PLACE = LimitValues(concurrency=1)
ONCE = RetryPolicy(attempts=1)
K = FailureKind


def scene(script: Any = None, **policy: Any) -> Bench:
    return bench(script or {}, BreakerPolicy(**policy), clock=VirtualClock())


def calling(of: Deployment, raw: bytes = HELLO, caller: str = "-") -> Call:
    return replace(call(raw, on=on(of)), principal=Principal(caller))


async def take(b: Bench, of: Deployment, raw: bytes = HELLO, **options: Any) -> Lease | Waits | None:
    return await b.slots.take(calling(of, raw), of, 1, **options)


def amounts(lease: Lease, *kinds: str) -> list[int]:
    assert lease.reservation
    return [charge.amount for charge in lease.reservation.charges if charge.counter.kind in kinds]


def fail(b: Bench, of: Deployment, kind: FailureKind, **fields: Any) -> None:
    key_id = fields.pop("key_id", None)
    lease = b.health.lease(of, key_id=key_id)
    assert lease
    lease.fail(UpstreamFailure(kind, "x", **fields))


# which key


async def test_keys_are_used_by_their_weight() -> None:
    keys = (ProviderKey("heavy", "1", weight=3), ProviderKey("light", "2"))
    of, b = deployment("m", replace(provider("a"), keys=keys)), scene()
    seen: Counter[str] = Counter()

    for _ in range(40):
        lease = await take(b, of)
        assert isinstance(lease, Lease)
        seen[lease.key_id] += 1
        b.slots.release(lease)

    assert seen == {"heavy": 30, "light": 10}


# a lease at once


def at_once(b: Bench, of: Deployment, raw: bytes = HELLO) -> Lease | None:
    picked = b.slots.take_at_once(calling(of, raw), [Target(of)], plan(of))
    return picked[1] if picked else None


async def test_a_lease_at_once_has_no_reservation() -> None:
    b = scene()

    lease = at_once(b, A)

    assert lease
    assert (lease.deployment, lease.key_id, lease.reservation) == (A, "main", None)
    lease.succeed(0.5)
    assert b.health.latencies() == {"a/m": 0.5}


async def test_a_lease_at_once_reserves_capacity_under_a_limit() -> None:
    of, b = target("a", limits=ONE_PLACE), scene()

    lease = at_once(b, of)

    assert lease
    assert lease.reservation
    assert at_once(b, of) is None
    b.slots.release(lease)
    assert at_once(b, of)


class SharedCounters(MemoryCounters):
    """A store that others share: it reserves only after a round trip, which ends when `answered` is set."""

    shared = True

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.answered = asyncio.Event()

    async def reserve(self, charges: Sequence[Charge]) -> Reservation | Waits:
        await self.answered.wait()
        return await super().reserve(charges)


async def test_a_shared_limit_is_not_reserved_at_once() -> None:
    of, b = target("a", limits=ONE_PLACE), scene()
    slots = Slots(b.health, Limits(SharedCounters(b.clock), b.clock, b.live), b.queue, b.clock)

    assert slots.take_at_once(calling(of), [Target(of)], plan(of)) is None
    assert slots.take_at_once(calling(A), [Target(A)], plan(A))


async def test_a_cancelled_reservation_returns_its_lease() -> None:
    of, b = target("a", limits=ONE_PLACE), scene(consecutive=1, open=1.0)
    counters = SharedCounters(b.clock)
    slots = Slots(b.health, Limits(counters, b.clock, b.live), b.queue, b.clock)
    fail(b, of, K.SERVER_ERROR)
    await b.clock.sleep(1.0)  # the breaker admits one probe

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(slots.take(calling(of), of, 1))
        await asyncio.sleep(0)
        assert b.health.lease(of) is None
        waiting.cancel()

    counters.answered.set()
    assert isinstance(await slots.take(calling(of), of, 1), Lease)


async def test_a_lease_at_once_reserves_the_tokens_of_the_call() -> None:
    of, b = target("a", limits=LimitValues(tpm=1000)), scene()

    assert at_once(b, of, HELLO[:-1] + b',"max_tokens":600}')
    assert at_once(b, of, HELLO[:-1] + b',"max_tokens":600}') is None
    assert [(row["kind"], row["used"] >= 600) for row in await b.limits.rows()] == [("tpm", True)]


@pytest.mark.parametrize(("limit", "rough"), [(10**9, True), (100_000, False)])
async def test_large_texts_are_counted_roughly_far_from_the_limit(limit: int, rough: bool) -> None:
    of, b = target("a", limits=LimitValues(tpm=limit)), scene()
    raw = json.dumps({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x" * 20_000}]}).encode()
    text = replace(calling(of, raw), messages=MessageFacts(parts=False))
    exact = replace(plan(of), count_input=lambda: 7)
    assert b.slots.take_at_once(text, [Target(of)], exact)  # the counter exists from here on

    assert b.slots.take_at_once(text, [Target(of)], exact)

    [row] = await b.limits.rows()
    assert row["used"] == 8 + (len(raw) // 4 + 1 if rough else 8)


async def test_the_limits_in_force_decide_about_a_lease_at_once() -> None:
    b = scene()
    b.live.snapshot = on(target("a", limits=ONE_PLACE))  # the call began before a reload

    assert at_once(b, A)
    assert at_once(b, A) is None


async def test_a_learned_limit_holds_for_leases_at_once() -> None:
    b = scene()
    b.limits.learn(A, "main", {"x-ratelimit-limit-requests": "1", "x-ratelimit-reset-requests": "20s"}, 0.0)

    assert at_once(b, A)
    assert at_once(b, A) is None
    assert at_once(b, B)


@pytest.mark.parametrize("kind", [K.RATE_LIMITED, K.KEY_REJECTED, K.CONNECT])
async def test_no_lease_at_once_from_an_unavailable_target(kind: FailureKind) -> None:
    b = scene(consecutive=1)
    fail(b, A, kind)

    assert at_once(b, A) is None
    assert at_once(b, B)


async def test_no_lease_at_once_while_a_call_waits() -> None:
    of, b = target("a", limits=ONE_PLACE), scene()
    held = await take(b, of)
    assert isinstance(held, Lease)

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(
            b.slots.first(calling(of), [Target(of)], 1, max_wait=5.0, predicted=lambda seconds: None)
        )
        await asyncio.sleep(0.1)
        assert at_once(b, B) is None
        b.slots.release(held)

    assert waiting.result()


async def test_a_lease_at_once_respects_the_pinned_key() -> None:
    of, b = target("a", "one", "two"), scene()

    lease = at_once(b, of, HELLO[:-1] + b',"router":{"key_id":"two"}}')

    assert lease
    assert lease.key_id == "two"


async def test_a_key_without_room_is_passed_over() -> None:
    of, b = target("a", "one", "two", limits=ONE_PLACE), scene()

    leases = [await take(b, of), await take(b, of)]

    assert {lease.key_id for lease in leases if isinstance(lease, Lease)} == {"one", "two"}
    assert isinstance(await take(b, of), Waits)


async def test_if_no_key_has_room_the_soonest_is_told() -> None:
    keys = (
        ProviderKey("slow", "1", limits=LimitValues(rpm=1)),
        ProviderKey("quick", "2", limits=LimitValues(concurrency=1)),
    )
    of, b = deployment("m", replace(provider("a"), keys=keys)), scene()
    leases = [await take(b, of), await take(b, of)]

    wait = await take(b, of)

    assert [isinstance(lease, Lease) for lease in leases] == [True, True]
    assert wait == Waits(1.0, exact=False)


@pytest.mark.parametrize(
    ("kind", "fields", "seconds"),
    [
        (K.RATE_LIMITED, {"retry_after": 7.0}, 7.0),
        (K.RATE_LIMITED, {}, 5.0),
        (K.KEY_REJECTED, {"status": 401}, None),  # nobody mends a key by waiting
        (K.CONNECT, {}, None),  # its breaker is open
    ],
)
async def test_only_the_rest_of_a_rate_limit_is_worth_a_wait(
    kind: FailureKind, fields: dict[str, Any], seconds: float | None
) -> None:
    b = scene(consecutive=1)
    fail(b, A, kind, **fields)

    got = await take(b, A)

    assert got == (None if seconds is None else Waits(seconds))


async def test_another_key_is_used_while_one_rests() -> None:
    of, b = target("a", "one", "two"), scene()
    fail(b, of, K.RATE_LIMITED, key_id="one", retry_after=60.0)

    leases = [await take(b, of) for _ in range(3)]

    assert [lease.key_id for lease in leases if isinstance(lease, Lease)] == ["two"] * 3


async def test_keys_that_were_tried_are_avoided() -> None:
    of, b = target("a", "one", "two"), scene()

    lease = await take(b, of, avoid=frozenset({"one"}))

    assert isinstance(lease, Lease)
    assert lease.key_id == "two"
    assert await take(b, of, avoid=frozenset({"one", "two"})) is None


async def test_a_half_open_breaker_keeps_its_permit_without_capacity() -> None:
    of = target("a", limits=LimitValues(rpm=1))
    b = bench({"a": [E500, OK]}, BreakerPolicy(consecutive=1, open=10), clock=VirtualClock())
    await b.run(call(HELLO, on=on(of, retry=ONCE)), plan(of))
    await asyncio.sleep(55.0)  # half-open for long, and full for some seconds more

    out, made = await b.run(call(HELLO, on=on(of)), plan(of))

    assert out == BODY
    assert 5.0 <= made.timings.queue_seconds < 5.5
    assert [row["state"] for row in b.health.breaker_rows()] == ["closed"]


# how much


@pytest.mark.parametrize("asked", [-5000, 0, "many", None, 1.5])
async def test_no_reservation_releases_nothing(asked: Any) -> None:
    of, b = target("a", limits=LimitValues(tpm=10_000)), scene()

    lease = await b.slots.take(replace(calling(of), body={"max_tokens": asked}), of, 101)

    assert isinstance(lease, Lease)
    assert set(amounts(lease, "tpm")) == {101 + 1024}


@pytest.mark.parametrize(
    ("asked", "limits", "reserved"),
    [
        ("", LimitValues(tpm=10_000), 101 + 1024),
        (',"max_tokens":50', LimitValues(tpm=10_000), 101 + 50),
        (',"max_completion_tokens":60,"max_tokens":50', LimitValues(tpm=10_000), 101 + 60),
        (',"max_tokens":50000', LimitValues(tpm=10_000), 10_000),  # more could never be had
        (',"max_tokens":50000', LimitValues(tpm=10_000, tpd=4_000), 4_000),
    ],
)
async def test_tokens_are_reserved_for_input_and_longest_answer(asked: str, limits: LimitValues, reserved: int) -> None:
    of, b = target("a", limits=limits), scene()

    lease = await b.slots.take(calling(of, HELLO[:-1] + asked.encode() + b"}"), of, 101)

    assert isinstance(lease, Lease)
    assert set(amounts(lease, "tpm", "tpd")) == {reserved}


@pytest.mark.parametrize(
    ("fields", "reserved"),
    [
        ({"max_tokens": -5_000}, 101 + 1024),  # only chat bodies are checked for it
        ({"max_tokens": 0}, 101 + 1024),
        ({"max_tokens": True}, 101 + 1024),
        ({"max_tokens": 50, "n": 3}, 101 + 150),
        ({"max_tokens": 50, "n": -3}, 101 + 50),
    ],
)
async def test_no_number_of_a_client_takes_less_than_the_call_may_use(fields: dict[str, Any], reserved: int) -> None:
    of, b = target("a", limits=LimitValues(tpm=10_000)), scene()
    asked = calling(of)
    asked = replace(asked, endpoint="completions", kind="completion", body={**asked.body, **fields})

    lease = await b.slots.take(asked, of, 101)

    assert isinstance(lease, Lease)
    assert amounts(lease, "tpm") == [reserved]


@pytest.mark.parametrize("kind", ["embedding", "moderation"])
async def test_nothing_is_reserved_for_the_answer_of_what_writes_none(kind: Kind) -> None:
    of, b = target("a", limits=LimitValues(tpm=10_000)), scene()

    lease = await b.slots.take(replace(calling(of), kind=kind), of, 101)

    assert isinstance(lease, Lease)
    assert amounts(lease, "tpm") == [101]


async def test_a_call_over_a_learned_limit_is_left_to_the_provider() -> None:
    of, b = target("a"), scene()
    told = {"x-ratelimit-limit-tokens": "500", "x-ratelimit-remaining-tokens": "500"}
    b.limits.learn(of, "main", told, 0.0)

    lease = await b.slots.take(calling(of), of, 101)

    assert isinstance(lease, Lease)


async def test_a_model_that_answers_shortly_reserves_less() -> None:
    of, b = target("a", limits=LimitValues(tpm=10_000), max_output=100), scene()

    lease = await b.slots.take(calling(of), of, 1)

    assert isinstance(lease, Lease)
    assert amounts(lease, "tpm", "tpd")[0] == 101


async def test_what_is_released_leaves_no_trace() -> None:
    of, b = target("a", limits=LimitValues(rpm=1, tpm=10_000, concurrency=1)), scene()
    lease = await take(b, of)
    assert isinstance(lease, Lease)

    b.slots.release(lease)
    b.slots.release(lease)

    assert await b.limits.wait(of, "main", 10_000) == 0.0
    assert isinstance(await b.limits.reserve(of, "main", 10_000), Reservation)


# whose turn


async def first(b: Bench, *targets: Deployment, caller: str = "-", max_wait: float = 10.0) -> tuple[str, float, float]:
    """Whom a call gets and at what time, and the wait that was foreseen."""
    told = [0.0]
    of = calling(targets[0], caller=caller)
    picked = await b.slots.first(
        of, [Target(each) for each in targets], 1, max_wait=max_wait, predicted=lambda seconds: told.append(seconds)
    )
    assert picked
    return picked[0].deployment.provider.name, b.clock.now - 1000.0, told[-1]


async def test_the_first_target_with_room_is_taken_without_a_wait() -> None:
    full, b = target("a", limits=ONE_PLACE), scene()
    await take(b, full)

    assert await first(b, full, B) == ("b", 0.0, 0.0)


async def test_if_none_has_room_the_earliest_is_waited_for() -> None:
    b = scene()
    fail(b, A, K.RATE_LIMITED, retry_after=8.0)
    fail(b, B, K.RATE_LIMITED, retry_after=3.0)

    assert await first(b, A, B) == ("b", 3.0, 3.0)


async def test_a_wait_that_does_not_fit_is_refused_at_once() -> None:
    b = scene()
    fail(b, A, K.RATE_LIMITED, retry_after=8.0)

    with pytest.raises(RateLimited) as found:
        await first(b, A, max_wait=7.9)

    assert found.value.retry_after == 8.0
    assert b.clock.now == 1000.0


async def test_room_that_is_given_back_early_ends_the_wait() -> None:
    full, b = target("a", limits=ONE_PLACE), scene()
    lease = await take(b, full)
    assert isinstance(lease, Lease)

    async with asyncio.TaskGroup() as group:
        waiter = group.create_task(first(b, full))
        await asyncio.sleep(0.25)
        b.slots.give_back(lease, None, unused=False)

    assert waiter.result() == ("a", 0.25, 1.0)


async def test_time_alone_does_not_open_a_breaker_or_mend_a_key() -> None:
    b = scene(consecutive=1)
    fail(b, A, K.CONNECT)
    fail(b, B, K.KEY_REJECTED, status=401)

    picked = await b.slots.first(calling(A), [Target(A), Target(B)], 1, max_wait=100.0, predicted=lambda seconds: None)

    assert picked is None


async def test_a_target_that_somebody_waits_for_is_left_to_them() -> None:
    full, b = target("a", limits=ONE_PLACE), scene()
    lease = await take(b, full)
    assert isinstance(lease, Lease)
    got: list[str] = []

    async def come(name: str, *targets: Deployment) -> None:
        where, _, _ = await first(b, *targets, caller=name)
        got.append(f"{name} {where}")

    async with asyncio.TaskGroup() as group:
        group.create_task(come("early", full))
        await asyncio.sleep(0.125)
        group.create_task(come("late", full, B))
        await asyncio.sleep(0.125)
        assert got == ["late b"]  # not before the early one, but there is something else
        b.slots.give_back(lease, None, unused=False)

    assert got == ["late b", "early a"]


async def test_a_flexible_call_waits_behind_an_inflexible_one() -> None:
    full, other, b = target("a", limits=ONE_PLACE), target("b", limits=ONE_PLACE), scene()
    held = [await take(b, full), await take(b, other)]
    got: list[tuple[str, str]] = []

    async def come(name: str, *targets: Deployment) -> None:
        where, _, _ = await first(b, *targets, caller=name)
        got.append((name, where))

    async with asyncio.TaskGroup() as group:
        group.create_task(come("early", full))
        await asyncio.sleep(0.125)
        group.create_task(come("late", full, other))
        await asyncio.sleep(0.125)
        for lease in held:
            assert isinstance(lease, Lease)
            b.slots.give_back(lease, None, unused=False)
            await asyncio.sleep(0.125)

    assert got == [("early", "a"), ("late", "b")]


async def test_a_call_that_yields_a_target_does_not_poll_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full, other, b = target("a", limits=ONE_PLACE), target("b", limits=ONE_PLACE), scene()
    for each in (full, other):
        await take(b, each)
    tries, of_slots = 0, b.slots.take

    async def counted(*of: Any, **options: Any) -> Any:
        nonlocal tries
        tries += 1
        return await of_slots(*of, **options)

    monkeypatch.setattr(b.slots, "take", counted)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(first(b, full, max_wait=100.0))]
        await asyncio.sleep(0.125)
        waiting += [group.create_task(first(b, full, other, max_wait=100.0)) for _ in range(20)]
        await asyncio.sleep(30.0)
        for task in waiting:
            task.cancel()

    assert tries < 100  # about once for each second of each place


async def test_a_flexible_call_is_judged_by_its_shorter_wait() -> None:
    place, minute, b = target("a", limits=ONE_PLACE), target("b", limits=LimitValues(rpm=1)), scene()
    for each in (place, minute):
        await take(b, each)
    told: list[float] = []
    late = b.slots.first(
        calling(place, caller="late"), [Target(place), Target(minute)], 1, max_wait=10.0, predicted=told.append
    )

    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(first(b, place, caller="early"))]
        await asyncio.sleep(0.125)
        waiting.append(group.create_task(late))
        await asyncio.sleep(0.125)
        for task in waiting:
            task.cancel()

    assert told == [0.875]  # a place is held for about a second, and `b` has none for a minute


# what is left to a probe


async def crowd(b: Bench, *targets: Deployment, size: int = 200, **policies: Any) -> list[tuple[Any, Record]]:
    """So many calls at the same time."""
    of = call(HELLO, on=on(*targets, retry=ONCE, **policies))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(b.run(of, plan(*targets))) for _ in range(size)]
    return [task.result() for task in tasks]


async def half_open(answer: Answer, half_open: int = 1, **hosts: Any) -> Bench:
    """A breaker of `a` whose open time is just over; then `a` gives this answer, and well ones after it."""
    answers = [E500, *[answer] * half_open, *[OK] * 200]
    b = scene({"a": answers, **hosts}, consecutive=1, open=60, half_open=half_open)
    await b.run(call(HELLO, on=on(A, retry=ONCE)), plan(A))
    await asyncio.sleep(60.0)
    b.transport.requests.clear()
    return b


def told(results: list[tuple[Any, Record]]) -> Counter[tuple[int, str | None]]:
    return Counter(
        (out.http_status, out.error_code) if isinstance(out, ProxyError) else (200, None) for out, _ in results
    )


@pytest.mark.parametrize("permits", [1, 3])
async def test_of_many_waiters_only_probes_are_sent(permits: int) -> None:
    b = await half_open(Answer([], 500, before=[Wait(2.0)]), permits)

    results = await crowd(b, A)

    assert len(b.transport.requests) == permits
    assert told(results) == {(502, "upstream_error"): permits, (503, "no_candidate_available"): 200 - permits}
    assert {made.timings.queue_seconds for out, made in results if out.http_status == 503} == {2.0}
    [row] = b.health.breaker_rows()
    assert (row["state"], row["open_seconds_left"], row["openings"]) == ("open", 120.0, 2)


@pytest.mark.parametrize("permits", [1, 3])
async def test_if_the_probes_succeed_the_rest_follows(permits: int) -> None:
    b = await half_open(Answer([BODY], before=[Wait(2.0)]), permits)
    seen: list[int] = []

    async def look() -> None:
        await asyncio.sleep(1.0)
        seen.append(len(b.transport.requests))

    async with asyncio.TaskGroup() as group:
        group.create_task(look())
        results = await crowd(b, A)

    assert seen == [permits]
    assert told(results) == {(200, None): 200}
    assert b.clock.now == 1062.0
    assert [row["state"] for row in b.health.breaker_rows()] == ["closed"]


async def test_after_a_successful_probe_waiters_take_turns() -> None:
    narrow = target("a", limits=LimitValues(concurrency=10))
    b = scene({"a": [E500, *[Answer([BODY], before=[Wait(2.0)])] * 50]}, consecutive=1, open=60)
    await b.run(call(HELLO, on=on(narrow, retry=ONCE)), plan(narrow))
    await asyncio.sleep(60.0)

    results = await crowd(b, narrow, size=50, queue=QueuePolicy(max_wait=30.0))

    assert told(results) == {(200, None): 50}
    assert b.clock.now == 1060.0 + 2.0 + 5 * 2.0


@pytest.mark.parametrize("permits", [1, 3])
async def test_calls_without_a_permit_use_another_target(permits: int) -> None:
    b = await half_open(Answer([], 500, before=[Wait(2.0)]), permits, b=lambda: OK)

    results = await crowd(b, A, B)

    assert Counter(b.transport.hosts) == {"a": permits, "b": 200 - permits}
    assert sum(outcomes(made) == ["b ok"] and made.timings.queue_seconds == 0.0 for _, made in results) == 200 - permits


async def test_a_disconnect_during_a_probe_frees_its_permit() -> None:
    slow = Answer([BODY], before=[Wait(2.0)])
    b = scene({"a": [E500, *[slow] * 7]}, consecutive=1, open=60)
    await b.run(call(HELLO, on=on(A, retry=ONCE)), plan(A))
    await asyncio.sleep(60.0)
    b.transport.requests.clear()
    of = call(HELLO, on=on(A))

    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(b.run(of, plan(A)))
        await asyncio.sleep(1.0)
        staying = [group.create_task(b.run(of, plan(A))) for _ in range(5)]
        await asyncio.sleep(0.5)
        assert len(b.transport.requests) == 1
        leaving.cancel()
        await asyncio.sleep(0.25)
        assert len(b.transport.requests) == 2

    assert {task.result()[0] for task in staying} == {BODY}


@pytest.mark.parametrize(("patience", "waited"), [(0.0, 0.0), (1.5, 1.5)])
async def test_nobody_waits_for_a_probe_for_longer_than_it_may(patience: float, waited: float) -> None:
    b = await half_open(Answer([BODY], before=[Wait(2.0)]), 1)

    results = await crowd(b, A, size=10, queue=QueuePolicy(max_wait=patience))

    assert told(results) == {(200, None): 1, (503, "no_candidate_available"): 9}
    assert {made.timings.queue_seconds for out, made in results if isinstance(out, ProxyError)} == {waited}


async def test_the_last_target_is_forced_while_its_breaker_is_open() -> None:
    b = scene({"a": [E500, *[OK] * 9]}, consecutive=1)
    await b.run(call(HELLO, on=on(A, retry=ONCE)), plan(A))

    results = await crowd(b, A, size=9)

    assert told(results) == {(200, None): 9}


async def test_of_several_open_breakers_the_first_target_s_is_forced() -> None:
    b = scene({"a": [E500, OK], "b": [E500]}, consecutive=1)
    for each in (A, B):
        await b.run(call(HELLO, on=on(each, retry=ONCE)), plan(each))

    out, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    assert out == BODY
    assert outcomes(made) == ["a ok"]
