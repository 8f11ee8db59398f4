"""The line of a call in the request log."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.failures import FailureKind
from proxy.core.model import Price
from proxy.core.record import AttemptOutcome, Outcome, Rating, Record
from proxy.settle.request_line import COLUMNS, csv_lines, error_type, request_line
from tests.support import calls
from tests.support.fakes import FakeClock
from tests.support.ledgers import answered, begun

TIME = 1_800_000_000.5


def line_of(record: Record) -> dict[str, Any]:
    """The fields of a call that took 2 s."""
    line: dict[str, Any] = json.loads(request_line(record, TIME, 2.0).as_json())
    return line


def test_a_successful_call_has_its_names_and_numbers() -> None:
    clock = FakeClock()
    target = calls.deployment(price=Price(1_000_000_000, 2_000_000_000, 0, 0), tier="low")
    record, _ = begun(1, clock, target)
    record.timings.first_token = clock.monotonic() + 0.5
    record.finish_reason = "stop"
    answered(record)

    line = line_of(record)

    assert list(line) == list(COLUMNS)
    assert {name: value for name, value in line.items() if value not in (None, 0, False)} == {
        "time": "2027-01-15T08:00:00.500+00:00",
        "id": "req_1",
        "request_id": "theirs-1",
        "key_id": "key_1",
        "user": "ann",
        "team": "red",
        "endpoint": "chat",
        "method": "tier",
        "route": "tier/low",
        "tier": "low",
        "requested_model": "auto",
        "provider": "acme",
        "model": "small",
        "status": 200,
        "success": True,
        "outcome": "ok",
        "max_wait_ms": 10_000.0,
        "total_ms": 2000.0,
        "ttft_ms": 500.0,
        "input_tokens": 10,
        "output_tokens": 5,
        "cost_usd": 2e-5,
        "cost_status": "exact",
        "finish_reason": "stop",
        "decision_reason": "because",
        "alternatives": [],
        "cache": "bypass",
        "rating_reasons": [],
    }


def test_a_rated_answer_has_its_rating() -> None:
    record, _ = begun(1, FakeClock(), calls.deployment())
    record.rating = Rating(0.1, ("repetition", "other format"))
    answered(record)

    line = line_of(record)
    cells = dict(zip(COLUMNS, request_line(record, TIME, 2.0).cells(), strict=True))

    assert (line["rating"], line["rating_reasons"]) == (0.1, ["repetition", "other format"])
    assert (cells["rating"], cells["rating_reasons"]) == (0.1, "repetition; other format")


def test_a_fallback_names_the_alternatives_and_what_failed() -> None:
    clock = FakeClock()
    first, second = calls.deployment("one"), calls.deployment("two")
    record, attempt = begun(1, clock, first)
    attempt.status = 503
    attempt.end(FailureKind.OVERLOADED)
    other = record.attempt(second, "main", clock.monotonic())
    other.end(FailureKind.CONNECT)
    other.cause, other.error = "refused", "the connection was refused"
    record.end(Outcome.ERROR, status=502, code="upstream_error")

    line = line_of(record)

    assert (line["fallback_attempts"], line["alternatives"], line["model"]) == (1, ["acme/one"], "two")
    assert (line["error_type"], line["error_code"]) == ("server_error", "upstream_error")
    assert line["error_message"] == "the connection was refused"


def test_the_message_of_an_upstream_error_is_our_own() -> None:
    record, attempt = begun(1, FakeClock())
    attempt.status = 503
    attempt.end(FailureKind.OVERLOADED)
    record.end(Outcome.ERROR, status=503, code="overloaded")

    assert line_of(record)["error_message"] == "acme: overloaded (status 503)"


@pytest.mark.parametrize(
    ("status", "code", "outcome", "kind"),
    [
        (400, None, Outcome.ERROR, "invalid_request_error"),
        (404, "model_not_found", Outcome.ERROR, "invalid_request_error"),
        (401, "invalid_api_key", Outcome.ERROR, "authentication_error"),
        (403, "model_not_allowed", Outcome.ERROR, "permission_error"),
        (429, "rate_limit_exceeded", Outcome.ERROR, "rate_limit_error"),
        (429, "insufficient_quota", Outcome.ERROR, "insufficient_quota"),
        (504, "upstream_timeout", Outcome.ERROR, "server_error"),
        (499, "client_closed", Outcome.CLIENT_CLOSED, "client_closed"),
        (200, "upstream_error", Outcome.PARTIAL, "partial"),
    ],
)
def test_each_failed_call_has_a_type(status: int, code: str | None, outcome: Outcome, kind: str) -> None:
    record = calls.record()
    record.end(outcome, status=status, code=code)

    assert error_type(record) == kind


def test_a_call_that_was_never_read_has_a_line() -> None:
    record = calls.record()
    record.end(Outcome.ERROR, status=400, code="invalid")

    line = line_of(record)

    assert (line["status"], line["model"], line["method"], line["error_message"]) == (400, None, None, "invalid")


def test_a_named_model_has_its_provider() -> None:
    record, _ = begun(1, FakeClock())
    assert record.call is not None
    record.call = replace(record.call, model="acme/org/small")

    line = line_of(record)

    assert (line["requested_provider"], line["requested_model"]) == ("acme", "org/small")


@pytest.mark.parametrize(
    ("reason", "shown"), [("length", "length"), ("the user said hi", "other"), ("x" * 41, "other"), (None, None)]
)
def test_a_finish_reason_is_one_word(reason: str | None, shown: str | None) -> None:
    record, _ = begun(1, FakeClock())
    record.finish_reason = reason

    assert line_of(record)["finish_reason"] == shown


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "?x"),
        ("a\r\nb", "a??b"),
        ('a"b,c', 'a"b,c'),
        ("gpt-4o", "gpt-4o"),
    ],
)
def test_a_cell_is_one_line_and_no_formula(name: str, cell: str) -> None:
    record, _ = begun(1, FakeClock())
    assert record.call is not None
    record.call = replace(record.call, model=name)

    data = csv_lines([request_line(record, TIME, 1.0).cells()])
    [row] = csv.reader(io.StringIO(data.decode()))

    assert data.count(b"\n") == 1
    assert dict(zip(COLUMNS, row, strict=True))["requested_model"] == cell


def test_names_with_invalid_unicode_can_be_written() -> None:
    record, _ = begun(1, FakeClock())
    assert record.call is not None
    record.call = replace(record.call, model="\ud800")
    line = request_line(record, TIME, 1.0)

    assert json.loads(line.as_json())["requested_model"] == "\ud800"
    assert csv_lines([line.cells()]).count(b"\n") == 1


def test_a_line_has_no_content() -> None:
    record, attempt = begun(1, FakeClock())
    record.call = calls.call(calls.HELLO.replace(b"Hello", b"canary"), on=calls.snapshot(attempt.deployment))
    attempt.end(AttemptOutcome.OK)

    assert b"canary" not in request_line(record, TIME, 1.0).as_json()
