"""Ledger rows made from records."""

from __future__ import annotations

import json

import msgspec
import pytest
from msgspec import structs

from proxy.core.failures import FailureKind
from proxy.core.ledger import AttemptRow
from proxy.core.model import Price
from proxy.core.record import AttemptOutcome, Outcome, Record, Timings
from proxy.core.usage import Media, Usage
from proxy.ledger.rows import attempt_rows, call_row, decision_of, intent_row, started_row
from tests.support import calls
from tests.support.calls import HELLO
from tests.support.fakes import FakeClock
from tests.support.ledgers import CALLER, answered, begun


def test_an_intent_names_the_target_and_the_caller() -> None:
    record, attempt = begun(1, FakeClock())

    row = intent_row(record, attempt, CALLER)

    assert (row.id, row.call_id, row.number, row.outcome) == ("req_1-1", "req_1", 1, "started")
    assert (row.provider, row.model, row.provider_key, row.route) == ("acme", "small", "main", "tier/low")
    assert (row.key_id, row.user, row.team) == ("key_1", "ann", "red")
    assert row.time == record.time


def test_the_row_of_a_started_call_has_what_is_known_then() -> None:
    record, _ = begun(1, FakeClock())

    row = started_row(record, CALLER)

    known = call_row(record, (), CALLER, record.timings.started, None)
    assert row == structs.replace(known, attempts=0, provider=None, upstream_model=None)


def test_an_attempt_has_its_tokens_times_and_outcome() -> None:
    clock = FakeClock()
    record, attempt = begun(1, clock)
    clock.pass_(0.25)
    attempt.first_token = clock.monotonic()
    answered(record)
    attempt.usage = Usage(10, 5, 4, 3, 2, 1, Media(input_audio=6, output_image=1))
    clock.pass_(0.75)

    (row,) = attempt_rows(record, CALLER, clock.monotonic())

    assert (row.outcome, row.status, row.ms, row.ttft_ms) == ("ok", 200, 1000.0, 250.0)
    assert (row.input_tokens, row.output_tokens, row.cached_tokens, row.reasoning_tokens) == (10, 5, 4, 2)
    assert (row.cache_write_tokens, row.cache_write_1h_tokens, row.audio_tokens, row.image_tokens) == (3, 1, 6, 1)


def test_an_intent_has_only_what_is_known_before_it_is_sent() -> None:
    record, attempt = begun(1, FakeClock())

    row = intent_row(record, attempt, CALLER)

    names = ("id", "call_id", "number", "time", "provider", "model", "provider_key", "outcome")
    owner = ("own_key", "key_id", "user", "team", "route")
    known = {name: getattr(row, name) for name in (*names, *owner)}
    assert row == AttemptRow(**known)


def test_the_time_of_a_closed_attempt_is_that_of_its_end() -> None:
    clock = FakeClock()
    record, attempt = begun(1, clock)
    clock.pass_(0.5)
    attempt.close(clock.monotonic())
    clock.pass_(5)

    (row,) = attempt_rows(record, CALLER, clock.monotonic())

    assert (row.ms, row.outcome) == (500.0, "cancelled")


def test_a_call_has_the_sums_of_its_attempts() -> None:
    clock = FakeClock()
    record, first = begun(1, clock)
    first.end(FailureKind.SERVER_ERROR)
    second = record.attempt(first.deployment, "main", clock.monotonic())
    second.end(AttemptOutcome.HEDGE_LOST)
    second.usage = Usage(10, 0, source="estimated")
    record.attempt(first.deployment, "main", clock.monotonic())
    answered(record)

    rows = attempt_rows(record, CALLER, clock.monotonic())
    row = call_row(record, rows, CALLER, clock.monotonic(), None)

    assert [row.id for row in rows] == ["req_1-1", "req_1-2", "req_1-3"]
    assert (row.attempts, row.input_tokens, row.output_tokens) == (3, 20, 5)
    assert (row.outcome, row.status, row.endpoint, row.request_id) == ("ok", 200, "chat", "theirs-1")


def test_cost_is_kept_with_its_status_and_the_version_of_its_price() -> None:
    clock = FakeClock()
    price = Price(1_000_000_000, 2_000_000_000, 0, 0, version="book 1")
    record, _ = begun(1, clock, calls.deployment(price=price))
    answered(record)

    (attempt,) = rows = attempt_rows(record, CALLER, clock.monotonic())
    row = call_row(record, rows, CALLER, clock.monotonic(), None)

    assert (attempt.cost_nusd, attempt.cost_status, attempt.price_version) == (20_000, "exact", "book 1")
    assert (row.cost_nusd, row.cost_status) == (20_000, "exact")


def test_a_call_that_was_never_read_has_a_row() -> None:
    record = Record("req_1", "theirs", Timings(1000.0), 5)
    record.end(Outcome.ERROR, status=400, code="bad")

    row = call_row(record, [], CALLER, 1000.5, None)

    assert (row.status, row.code, row.model, row.attempts, row.input_tokens) == (400, "bad", None, 0, None)
    assert (row.time, row.ms, row.user) == (5, 500.0, "ann")


@pytest.mark.parametrize("name", ["a\0b", "lone \ud800 surrogate", "long " * 100, "\U0001f600"])
def test_names_that_clients_choose_can_be_stored(name: str) -> None:
    clock = FakeClock()
    record, _ = begun(1, clock)
    assert record.call is not None
    record.call.model = name

    row = call_row(record, [], CALLER, clock.monotonic(), None)

    assert row.model is not None
    assert "\0" not in row.model
    assert len(row.model) <= 256
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(row)) != []


def test_a_routed_call_has_the_whole_decision_record() -> None:
    record, _ = begun(1, FakeClock())

    assert decision_of(record) == b'{"chosen":"acme/small"}'


def test_a_call_without_a_possible_target_has_its_decision_record() -> None:
    record = Record("req_1", "theirs", Timings(1000.0), 5)
    undecided = decision_of(record)
    record.rejection = lambda: {"chosen": None}

    assert (undecided, decision_of(record)) == (None, b'{"chosen":null}')


def test_a_call_to_a_named_model_has_what_all_such_calls_share() -> None:
    record, attempt = begun(1, FakeClock())
    record.plan = calls.plan(attempt.deployment, route="acme/small", big="x" * 1000)
    record.plan.rule = "direct"

    decision = decision_of(record)

    assert decision is not None
    assert json.loads(decision) == {
        "route": "acme/small",
        "rule": "direct",
        "reason": "because",
        "candidates": [{"provider": "acme", "model": "small", "status": "chosen", "reason": "because"}],
        "chosen": "acme/small",
        "config_version": "v1",
    }
    assert decision_of(record) is decision


def test_a_decision_record_with_invalid_unicode_is_kept() -> None:
    record, attempt = begun(1, FakeClock())
    record.plan = calls.plan(attempt.deployment, model="\ud800")

    decision = decision_of(record)

    assert decision is not None
    assert json.loads(decision) == {"model": "?"}


def test_rows_have_no_content() -> None:
    clock = FakeClock()
    record, _ = begun(1, clock)
    record.call = calls.call(HELLO.replace(b"Hello", b"canary"), on=record.call and record.call.snapshot)
    answered(record)

    rows = attempt_rows(record, CALLER, clock.monotonic())
    data = msgspec.json.encode([*rows, call_row(record, rows, CALLER, clock.monotonic(), decision_of(record))])

    assert b"canary" not in data
