"""The record of a call: outcomes, the stopwatch, and the rows of attempts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import Deployment, Price, PriceTime, ProviderKey
from proxy.core.record import TRANSITIONS, AttemptOutcome, Outcome, Record, Timings
from proxy.core.usage import Usage
from tests.support.calls import attempt, deployment, provider, record

PRICE = Price(input=1_000_000_000, output=2_000_000_000, cached_input=0, cache_write=0)
PRICED = deployment(price=PRICE)


@pytest.mark.parametrize("before", list(Outcome))
@pytest.mark.parametrize("after", list(Outcome))
def test_outcome_changes_only_as_the_table_allows(before: Outcome, after: Outcome) -> None:
    made = record(outcome=before, status=200, code="before")

    allowed = made.end(after, status=503, code="after")

    assert allowed is (after in TRANSITIONS[before])
    assert (made.outcome, made.status, made.code) == ((after, 503, "after") if allowed else (before, 200, "before"))


def test_partial_answer_keeps_its_status_when_the_call_fails() -> None:
    made = record(status=200)
    made.end(Outcome.PARTIAL, code="upstream_error")

    made.end(Outcome.ERROR, status=502, code="other")

    assert (made.outcome, made.status, made.code) == ("partial", 200, "upstream_error")


def test_continued_answer_starts_again_without_a_code() -> None:
    made = record()
    made.end(Outcome.PARTIAL, code="upstream_error")

    made.end(Outcome.STARTED)

    assert (made.outcome, made.code) == ("started", None)
    assert made.end(Outcome.OK)


def test_concurrent_upstream_waits_count_once() -> None:
    timings = Timings(0.0)

    timings.upstream_begins(1.0)
    timings.upstream_begins(2.0)
    timings.upstream_ends(3.0)
    assert timings.waits_for_upstream
    timings.upstream_ends(5.0)
    timings.upstream_begins(7.0)
    timings.upstream_ends(8.0)

    assert timings.upstream_seconds == 5.0
    assert not timings.waits_for_upstream


def test_overhead_excludes_upstream_client_and_queue() -> None:
    timings = Timings(100.0)
    timings.upstream_begins(101.0)
    timings.upstream_ends(103.0)
    timings.client_seconds += 0.5
    timings.queue_seconds += 0.25

    assert timings.overhead(104.0) == 1.25
    assert timings.overhead(101.0) == 0.0


def test_attempts_are_numbered_rows_of_the_call() -> None:
    made = record()

    first, second = made.attempt(PRICED, "one", 1000.0), made.attempt(PRICED, "two", 1001.0)

    assert made.attempts == [first, second]
    assert made.chosen is PRICED
    assert [(row.id, row.key_id, row.started, row.outcome) for row in made.attempts] == [
        ("req_1-1", "one", 1000.0, "started"),
        ("req_1-2", "two", 1001.0, "started"),
    ]


def test_first_outcome_of_an_attempt_stays() -> None:
    made = attempt("started")

    made.end(AttemptOutcome.HEDGE_LOST)
    made.fail(UpstreamFailure(FailureKind.CONNECT, "refused"))
    made.close(1002.0)

    assert (made.outcome, made.ms) == ("hedge_lost", 2000.0)


def test_open_attempt_is_cancelled_when_it_closes() -> None:
    made = attempt("started")

    made.close(1000.25)
    made.close(1009.0)

    assert (made.outcome, made.ms) == ("cancelled", 250.0)


def test_failed_connection_keeps_status_cause_and_message() -> None:
    made = attempt("started")

    made.fail(UpstreamFailure(FailureKind.CONNECT, "the name is unknown", status=502, cause="dns"))

    assert (made.outcome, made.status, made.cause, made.error) == ("connect", 502, "dns", "the name is unknown")


def test_failure_after_the_commit_point_is_a_broken_stream() -> None:
    made = attempt("started", status=200, first_token=1000.5)

    made.fail(UpstreamFailure(FailureKind.CONNECT, "no data came for 60 s", status=504))

    assert (made.outcome, made.status, made.error, made.first_token_ms) == ("broken_stream", 200, None, 500.0)


def test_usage_and_cost_of_a_call_are_sums_over_its_attempts() -> None:
    lost = attempt("hedge_lost", PRICED, usage=Usage(1000, source="estimated"))
    failed = attempt("server_error", PRICED)
    won = attempt("ok", PRICED, usage=Usage(500, 250, cached=0, reasoning=50))

    made = record(attempts=[lost, failed, won])

    assert made.usage == Usage(1500, 250, reasoning=50, source="estimated")
    assert (lost.cost_nusd, failed.cost_nusd, won.cost_nusd) == (1_000_000, None, 1_000_000)
    assert made.cost_nusd == 2_000_000


def test_cost_follows_the_usage_of_the_attempt() -> None:
    made = attempt("ok", PRICED, usage=Usage(1000))
    assert made.cost_nusd == 1_000_000

    made.usage = Usage(1000, 1000)

    assert made.cost_nusd == 3_000_000


@pytest.mark.parametrize(
    "free",
    [deployment(), replace(PRICED, provider=replace(PRICED.provider, stand_in=True))],
    ids=["no price", "answered by a mock"],
)
def test_usage_that_is_not_billed_has_no_cost(free: Deployment) -> None:
    assert record(attempts=[attempt("ok", free, usage=Usage(1000, 500))]).cost_nusd is None


def test_call_without_usage_has_no_cost() -> None:
    made = record(attempts=[attempt("server_error", PRICED)])

    assert (made.usage, made.cost_nusd) == (None, None)


def test_attempt_with_the_callers_own_key_is_marked() -> None:
    own = deployment(of=replace(provider(), keys=(ProviderKey("pk_1", "sk-own-secret", own=True),)))

    assert [attempt(of=own).own_key, attempt(of=deployment()).own_key] == [True, False]
    assert attempt(of=deployment(of=provider(keyless=True))).own_key is False


@pytest.mark.parametrize(
    ("usage", "status"),
    [
        (None, "unknown"),
        (Usage(1, 1), "exact"),
        (Usage(1, 1, source="estimated"), "estimated"),
        (Usage(1, 1, source="clamped"), "estimated"),
        (Usage(1, 1, service="priority"), "estimated"),
    ],
)
def test_a_cost_is_exact_if_the_provider_counted(usage: Usage | None, status: str) -> None:
    assert attempt("ok", PRICED, usage=usage).cost_status == status


def test_a_service_tier_without_its_price_makes_the_cost_an_estimate() -> None:
    price = replace(PRICE, services=(("flex", PRICE),))
    made = [attempt("ok", deployment(price=price), usage=Usage(1, 1, service=name)) for name in ("flex", "priority")]

    assert [each.cost_status for each in made] == ["exact", "estimated"]


def test_a_cost_has_the_version_of_its_price() -> None:
    priced = deployment(price=replace(PRICE, version="book 1"))

    assert attempt("ok", priced, usage=Usage(1, 1)).bill[2] == "book 1"
    assert attempt("ok", priced).bill == (None, "unknown", None)
    assert attempt("ok", deployment(), usage=Usage(1, 1)).bill == (None, "unknown", None)


def test_the_price_is_that_of_the_start_of_the_attempt() -> None:
    dear = PriceTime(replace(PRICE, input=9_000_000_000), start=5_000_000)
    made = Record("req_1", "theirs", Timings(1000.0), 3_000_000)
    early, late = (made.attempt(deployment(price=replace(PRICE, times=(dear,))), "k", now) for now in (1001.0, 1002.5))
    early.usage = late.usage = Usage(1, 0)

    assert (early.time, late.time) == (4_000_000, 5_500_000)
    assert (early.cost_nusd, late.cost_nusd) == (1_000, 9_000)


@pytest.mark.parametrize(
    ("sources", "status"),
    [([], "unknown"), (["reported"], "exact"), (["reported", "estimated"], "estimated"), (["estimated"], "estimated")],
)
def test_the_cost_of_a_call_is_exact_if_that_of_all_attempts_is(sources: list[Any], status: str) -> None:
    rejected = attempt(FailureKind.KEY_REJECTED, PRICED)
    made = record(attempts=[rejected, *(attempt("ok", PRICED, usage=Usage(1, 1, source=each)) for each in sources)])

    assert made.cost_status == status


def test_the_cost_of_a_call_is_unknown_if_that_of_an_attempt_is() -> None:
    unpriced, priced = (attempt("ok", each, usage=Usage(1, 1)) for each in (deployment(), PRICED))

    assert record(attempts=[unpriced, priced]).cost_status == "unknown"
