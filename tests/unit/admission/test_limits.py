"""Limits of clients: reserved before a call, corrected after it, and reported in OpenAI's headers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.admission.limits import ClientLimits
from proxy.capacity.memory import MemoryCounters
from proxy.capacity.store import Charge, Reservation
from proxy.core.call import Call
from proxy.core.errors import RateLimited
from proxy.core.failures import FailureKind
from proxy.core.model import LimitValues
from proxy.core.plan import Plan
from proxy.core.principal import Identified, Owner
from proxy.core.record import AttemptOutcome, Record
from proxy.core.usage import Usage
from proxy.surfaces.headers import pairs
from tests.support.calls import call, deployment, record, snapshot
from tests.support.calls import plan as planned
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

INPUT = 8  # tokens of the call's message, as the plan counts them


class Bench:
    """Limits over a store in memory, and one caller."""

    def __init__(self, *limits: tuple[Owner, LimitValues], processes: int = 1) -> None:
        self.clock = FakeClock()
        self.store = MemoryCounters(self.clock)
        self.limits = ClientLimits(self.store, processes)
        self.principal = Identified("key_1", limits=limits)

    def call(self, **body: Any) -> tuple[Call, Plan, Record]:
        """A call of the caller, its plan and its record."""
        raw = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hello"}], **body}).encode()
        made = call(raw, on=snapshot())
        made.principal = self.principal
        plan = planned(deployment(max_output=500))
        plan.count_input = lambda: INPUT
        return made, plan, record(made)

    async def reserve(self, **body: Any) -> tuple[Reservation, Record]:
        """Reserve for a call."""
        made, plan, row = self.call(**body)
        return await self.limits.reserve(made, plan, row), row

    async def refused(self, **body: Any) -> tuple[RateLimited, dict[str, str]]:
        """The error of a call, and its headers."""
        made, plan, row = self.call(**body)
        with pytest.raises(RateLimited) as caught:
            await self.limits.reserve(made, plan, row)
        return caught.value, headers(row)

    async def used(self) -> dict[tuple[str, ...], int]:
        """What is used of each limit."""
        return {(*row.counter.owner, row.counter.kind): row.used for row in await self.store.read()}


def headers(row: Record) -> dict[str, str]:
    return {name.decode().removeprefix("x-ratelimit-"): value.decode() for name, value in pairs(row.limit_headers)}


def ended(row: Record, usage: Usage | None = None, outcome: Any = AttemptOutcome.OK, *, content: bool = True) -> Record:
    """The record with one attempt that has ended."""
    attempt = row.attempt(deployment(), "main", 1000.0)
    attempt.first_token = 1001.0 if content else None
    attempt.usage = usage
    attempt.end(outcome)
    return row


KEY: Owner = ("key", "key_1")
USER: Owner = ("user", "alice")


async def test_every_owner_is_counted_in_one_step() -> None:
    bench = Bench((KEY, LimitValues(rpm=5, tpm=1000)), (USER, LimitValues(rpd=9, concurrency=2)))

    await bench.reserve(max_tokens=50)

    assert await bench.used() == {
        ("key", "key_1", "rpm"): 1,
        ("key", "key_1", "tpm"): INPUT + 50,
        ("user", "alice", "rpd"): 1,
        ("user", "alice", "concurrency"): 1,
    }


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (LimitValues(rpm=2), "rpm", "2 requests per minute"),
        (LimitValues(rpd=2), "rpd", "2 requests in 24 hours"),
        (LimitValues(tpm=2 * (INPUT + 500)), "tpm", "1016 tokens per minute"),
        (LimitValues(tpd=2 * (INPUT + 500)), "tpd", "1016 tokens in 24 hours"),
        (LimitValues(concurrency=2), "concurrency", "2 concurrent calls"),
    ],
)
async def test_a_refusal_names_the_limit_and_its_owner(values: LimitValues, kind: str, words: str) -> None:
    bench = Bench((KEY, LimitValues(rpm=100, tpm=100_000)), (USER, values))
    for _ in range(2):
        await bench.reserve(max_tokens=500)

    error, _ = await bench.refused(max_tokens=500)

    assert (error.http_status, error.error_code, error.retryable) == (429, "rate_limit_exceeded", True)
    assert f"{words} (`{kind}`) of the user `alice` is reached" in str(error)
    assert error.retry_after is not None
    assert error.retry_after > 0


async def test_a_call_fits_again_after_retry_after() -> None:
    bench = Bench((KEY, LimitValues(rpm=1)))
    await bench.reserve()
    bench.clock.pass_(20)

    error, _ = await bench.refused()
    assert error.retry_after is not None
    assert 40 <= error.retry_after <= 41

    bench.clock.pass_(error.retry_after)
    await bench.reserve()


async def test_a_window_slides() -> None:
    bench = Bench((KEY, LimitValues(rpm=10)))
    admitted = []

    for _ in range(600):
        made, plan, row = bench.call()
        try:
            await bench.limits.reserve(made, plan, row)
            admitted.append(bench.clock.monotonic())
        except RateLimited:
            pass
        bench.clock.pass_(0.5)

    assert max(sum(1 for at in admitted if start <= at < start + 60) for start in admitted) == 10
    assert len(admitted) >= 49


async def test_the_headers_are_those_of_the_tightest_limits() -> None:
    bench = Bench((KEY, LimitValues(rpm=100, rpd=3, tpm=9000)), (USER, LimitValues(rpm=5, tpd=2000)))

    _, row = await bench.reserve(max_tokens=92)

    assert headers(row) == {
        "limit-requests": "3",
        "remaining-requests": "2",
        "reset-requests": "24h0m0s",
        "limit-tokens": "2000",
        "remaining-tokens": "1900",
        "reset-tokens": "24h0m0s",
    }


async def test_a_refusal_has_the_headers_of_its_limit() -> None:
    bench = Bench((KEY, LimitValues(rpm=2, tpm=600)))
    await bench.reserve(max_tokens=500)

    _, of_tokens = await bench.refused(max_tokens=500)
    await bench.reserve(max_tokens=10)
    _, of_requests = await bench.refused(max_tokens=1)

    assert (of_tokens["limit-tokens"], of_tokens["remaining-tokens"]) == ("600", "92")
    assert (of_requests["limit-requests"], of_requests["remaining-requests"]) == ("2", "0")
    assert of_requests["reset-requests"] == "1m1s"
    assert set(of_requests) == {"limit-requests", "remaining-requests", "reset-requests"}


async def test_only_limits_of_windows_have_headers() -> None:
    _, row = await Bench((KEY, LimitValues(concurrency=2))).reserve()

    assert headers(row) == {}


async def test_the_real_usage_replaces_the_estimate() -> None:
    bench = Bench((KEY, LimitValues(rpm=5, tpm=1000, concurrency=1)))
    reservation, row = await bench.reserve(max_tokens=500)

    bench.limits.settle(reservation, ended(row, Usage(input=10, output=20)))
    bench.limits.settle(reservation, row)

    assert await bench.used() == {("key", "key_1", "rpm"): 1, ("key", "key_1", "tpm"): 30}


@pytest.mark.parametrize(
    ("usage", "outcome", "content", "tokens"),
    [
        (None, FailureKind.RATE_LIMITED, False, 0),  # the upstream rejected it
        (None, FailureKind.FIRST_TOKEN_TIMEOUT, False, 508),  # the upstream may have computed
        (None, AttemptOutcome.CANCELLED, True, 508),
        (Usage(input=8, output=3, source="estimated"), AttemptOutcome.CANCELLED, True, 11),
    ],
)
async def test_an_attempt_without_usage_keeps_what_it_may_have_used(
    usage: Usage | None, outcome: Any, tokens: int, *, content: bool
) -> None:
    bench = Bench((KEY, LimitValues(tpm=1000)))
    reservation, row = await bench.reserve(max_tokens=500)

    bench.limits.settle(reservation, ended(row, usage, outcome, content=content))

    assert (await bench.used()).get(("key", "key_1", "tpm"), 0) == tokens


async def test_a_call_without_an_attempt_counts_nothing() -> None:
    bench = Bench((KEY, LimitValues(rpm=5, tpm=1000, concurrency=1)))
    reservation, row = await bench.reserve()

    bench.limits.settle(reservation, row)

    assert await bench.used() == {}


async def test_counts_of_tokens_have_counters_of_their_own() -> None:
    bench = Bench((KEY, LimitValues(rpm=1, tpm=10, concurrency=3)))
    counting, plan, row = bench.call()
    counting.count = lambda tokens: b""

    reservation = await bench.limits.reserve(counting, plan, row)
    bench.limits.settle(reservation, row)
    with pytest.raises(RateLimited, match=r"\(`rpm`\) of the key `key_1` for counts of tokens is reached"):
        await bench.limits.reserve(counting, plan, row)
    await bench.reserve()

    assert await bench.used() == {
        ("key", "key_1", "counting", "rpm"): 1,
        **{("key", "key_1", kind): used for kind, used in (("rpm", 1), ("tpm", 10), ("concurrency", 1))},
    }


async def test_counts_of_tokens_have_no_limit_of_tokens() -> None:
    bench = Bench((KEY, LimitValues(tpm=1)))
    counting, plan, row = bench.call()
    counting.count = lambda tokens: b""

    reservation = await bench.limits.reserve(counting, plan, row)
    bench.limits.settle(reservation, row)

    assert (await bench.used(), headers(row)) == ({}, {})


async def test_several_attempts_are_summed_up() -> None:
    bench = Bench((KEY, LimitValues(tpm=1000)))
    reservation, row = await bench.reserve()
    ended(row, None, FailureKind.OVERLOADED, content=False)
    ended(row, Usage(input=10, output=5))

    bench.limits.settle(reservation, ended(row, Usage(input=10, output=6)))

    assert await bench.used() == {("key", "key_1", "tpm"): 31}


async def test_a_long_answer_reserves_at_most_the_limit() -> None:
    bench = Bench((KEY, LimitValues(tpm=100)))

    reservation, _ = await bench.reserve(max_tokens=100_000)

    assert [charge.amount for charge in reservation.charges] == [100]


async def test_a_long_prompt_never_fits() -> None:
    bench = Bench((KEY, LimitValues(tpm=INPUT - 1)))

    error, _ = await bench.refused()

    assert (error.http_status, error.retryable) == (429, False)
    assert "lower than the 8 tokens of this request" in str(error)


async def test_processes_share_the_limits_of_a_store_in_memory() -> None:
    bench = Bench((KEY, LimitValues(rpm=7, rpd=1)), processes=3)

    reservation, _ = await bench.reserve()

    assert [charge.limit for charge in reservation.charges] == [2, 1]


async def test_a_shared_store_is_asked_once() -> None:
    class Shared(MemoryCounters):
        shared = True
        steps = 0

        async def reserve(self, charges: Any) -> Any:
            self.steps += 1
            await asyncio.sleep(0)
            return await super().reserve(charges)

        def reserve_at_once(self, charges: Any) -> Reservation | None:
            raise AssertionError("it would take a round trip")

    bench = Bench((KEY, LimitValues(rpm=7)))
    store = Shared(bench.clock)
    bench.limits = ClientLimits(store, processes=3)

    reservation, _ = await bench.reserve()

    assert store.steps == 1
    assert reservation.charges == (Charge(reservation.charges[0].counter, 7, 60.0, 1),)
