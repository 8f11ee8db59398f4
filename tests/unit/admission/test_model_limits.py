"""Limits of clients for single models: each attempt reserves under those of its own model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.admission.limits import ClientLimits
from proxy.capacity.memory import MemoryCounters
from proxy.core.call import Call
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.limited import ModelLimits, ModelReservation
from proxy.core.model import Deployment, LimitValues
from proxy.core.plan import Plan
from proxy.core.principal import OF_MODEL, Identified, Owner
from proxy.core.record import AttemptOutcome, AttemptRecord, Record
from proxy.core.usage import Usage
from proxy.surfaces.headers import pairs
from tests.support.calls import call, deployment, provider, record, snapshot
from tests.support.calls import plan as planned
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

INPUT = 8  # tokens of the call's message, as the plan counts them
KEY: Owner = ("key", "key_1")
OF_SMALL: Owner = (*KEY, OF_MODEL, "acme/small")
SMALL, OTHER = deployment(max_output=500), deployment("other", provider("far"))


class Bench:
    """Limits over a store in memory, and calls of one caller."""

    def __init__(self, *limits: tuple[Owner, LimitValues]) -> None:
        self.clock = FakeClock()
        self.store = MemoryCounters(self.clock)
        self.limits = ClientLimits(self.store)
        self.principal = Identified("key_1", limits=limits)

    async def call(self, model: str = "auto", route: str = "auto", **body: Any) -> tuple[ModelLimits, Record]:
        """The limits of models of a call that was admitted, and its record."""
        made, plan, row = self.made(model, route, **body)
        await self.limits.reserve(made, plan, row)
        assert row.model_limits is not None
        return row.model_limits, row

    def made(self, model: str = "auto", route: str = "auto", **body: Any) -> tuple[Call, Plan, Record]:
        raw = b'{"model":"%s","messages":[{"role":"user","content":"Hello"}]}' % model.encode()
        made = call(raw, on=snapshot())
        made.body = {**made.body, **body}
        made.principal = self.principal
        plan = replace(planned(SMALL, OTHER), route=route)
        plan.count_input = lambda: INPUT
        return made, plan, record(made)

    async def used(self) -> dict[tuple[str, ...], int]:
        """What is used of each limit."""
        return {(*row.counter.owner, row.counter.kind): row.used for row in await self.store.read()}


async def reserved(limits: ModelLimits, of: Deployment = SMALL) -> ModelReservation:
    result = await limits.reserve(of)
    assert not isinstance(result, UpstreamFailure)
    return result


async def refused(limits: ModelLimits, of: Deployment = SMALL) -> UpstreamFailure:
    result = await limits.reserve(of)
    assert isinstance(result, UpstreamFailure)
    return result


def attempt(row: Record, usage: Usage | None) -> AttemptRecord:
    made = row.attempt(SMALL, "main", 1000.0)
    made.first_token, made.usage = 1001.0, usage
    made.end(AttemptOutcome.OK)
    return made


@pytest.mark.parametrize(
    ("pattern", "model", "route"),
    [
        ("acme/small", "auto", "auto"),
        ("acme/*", "acme/small", "acme/small"),
        ("gpt-4", "gpt-4", "acme/small"),
        ("tier/*", "auto", "tier/low"),
    ],
)
async def test_a_limit_counts_the_attempts_that_it_matches(pattern: str, model: str, route: str) -> None:
    bench = Bench((KEY, LimitValues(rpm=9)), ((*KEY, OF_MODEL, pattern), LimitValues(rpm=1)))
    elsewhere, _ = await bench.call("far/other", "far/other")
    await reserved(elsewhere, OTHER)
    limits, row = await bench.call(model, route)
    await reserved(limits)

    refusal = await limits.refusal(SMALL)
    failure = await refused(limits)

    words = f"The limit of 1 requests per minute (`rpm`) of the key `key_1` for `{pattern}` is reached"
    assert failure.kind is FailureKind.OVER_LIMIT
    assert words in str(failure)
    assert (str(refusal), failure.retry_after) == (str(failure), pytest.approx(60, abs=1))
    assert (b"x-ratelimit-limit-requests", b"1") in pairs(row.limit_headers)
    assert await bench.used() == {("key", "key_1", "rpm"): 2, ("key", "key_1", OF_MODEL, pattern, "rpm"): 1}


async def test_every_attempt_of_a_call_counts_for_its_own_model() -> None:
    far = (*KEY, OF_MODEL, "far/*")
    bench = Bench((OF_SMALL, LimitValues(rpm=2)), (far, LimitValues(rpd=2)))
    limits, _ = await bench.call()

    for _ in range(2):
        await reserved(limits)
    await reserved(limits, OTHER)

    assert await limits.refusal(OTHER) is None
    await refused(limits)
    assert await bench.used() == {(*OF_SMALL, "rpm"): 2, (*far, "rpd"): 1}


async def test_tokens_and_slots_of_an_attempt_are_settled() -> None:
    bench = Bench((OF_SMALL, LimitValues(tpm=1000, concurrency=1)))
    limits, row = await bench.call(max_tokens=50)

    reservation = await reserved(limits)
    before = await bench.used()
    reservation.end(attempt(row, Usage(7, 5)))

    assert before == {(*OF_SMALL, "tpm"): INPUT + 50, (*OF_SMALL, "concurrency"): 1}
    assert await bench.used() == {(*OF_SMALL, "tpm"): 12}


async def test_an_attempt_reserves_the_longest_answer_of_its_own_model() -> None:
    bench = Bench(((*KEY, OF_MODEL, "*"), LimitValues(tpm=100_000)))
    limits, _ = await bench.call()

    await reserved(limits)
    short = await bench.used()

    assert short == {(*KEY, OF_MODEL, "*", "tpm"): INPUT + 500}


async def test_what_was_not_sent_counts_nothing() -> None:
    bench = Bench((OF_SMALL, LimitValues(rpm=1, tpm=1000, concurrency=1)))
    limits, _ = await bench.call()

    (await reserved(limits)).end(None)

    assert await bench.used() == {}
    await reserved(limits)


async def test_a_request_longer_than_a_limit_needs_no_retry() -> None:
    bench = Bench((OF_SMALL, LimitValues(tpm=INPUT - 1)))
    limits, _ = await bench.call()

    failure = await refused(limits)

    assert failure.retry_after is None
    assert "is lower than the 8 tokens of this request" in str(failure)


async def test_the_headers_are_those_of_the_call_and_its_attempt() -> None:
    bench = Bench((KEY, LimitValues(rpm=5)), (OF_SMALL, LimitValues(rpm=2)))
    limits, row = await bench.call()
    await reserved(limits)
    of_small = row.limit_headers
    await reserved(limits)
    await refused(limits)

    await reserved(limits, OTHER)

    assert dict(pairs(of_small))[b"x-ratelimit-remaining-requests"] == b"1"
    assert dict(pairs(row.limit_headers))[b"x-ratelimit-remaining-requests"] == b"4"


async def test_counts_of_tokens_have_no_limits_of_models() -> None:
    bench = Bench((OF_SMALL, LimitValues(rpm=1)))
    made, plan, row = bench.made()
    made.count = lambda tokens: b"%d" % tokens

    await bench.limits.reserve(made, plan, row)

    assert row.model_limits is None
