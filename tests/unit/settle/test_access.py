"""The access line: the same text as `json.dumps` would give, for any values."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.core.record import Rating
from proxy.settle.access import AccessLine, AccessLineEncoder, log_access
from tests.support.calls import attempt, deployment, provider

FAILED = attempt("connect", deployment("large"), ms=1.26, cause="tls", error='the certificate is for "other"\n')


def access_line(**fields: Any) -> AccessLine:
    """A line of a call that was answered at the second attempt."""
    values: dict[str, Any] = {
        "time": 1_800_000_000.25,
        "id": "req_1",
        "request_id": "theirs",
        "client_id": None,
        "model": "auto",
        "route": "tier/low",
        "chosen": deployment(),
        "stream": True,
        "status": 200,
        "outcome": "ok",
        "code": None,
        "attempts": [FAILED, attempt("ok", key_id="two", ms=20.04, status=200)],
        "input_tokens": 1000,
        "output_tokens": 0,
        "cost_nusd": 21_000,
        "seconds": 1.23456,
        "first_token_seconds": 0.5,
        "queue_seconds": 0.0,
        "predicted_queue_seconds": 0.2,
        "overhead_seconds": 0.0012,
        "continued_after": None,
        "rating": None,
    }
    return AccessLine(**{**values, **fields})


def dumped(line: AccessLine) -> str:
    """The line as the formatter of other log lines would show it."""
    time = datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": time, "level": "info", "event": "call", **line.fields()})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"client_id": "team-a", "stream": False, "code": "upstream_error", "status": 502, "outcome": "error"},
        {"model": None, "route": None, "chosen": None, "stream": None, "attempts": []},
        {"input_tokens": None, "output_tokens": None, "cost_nusd": None, "first_token_seconds": None},
        {"cost_nusd": 1_234_567_890, "seconds": 600.0, "queue_seconds": 0.30004, "overhead_seconds": 0.0},
        {"overhead_seconds": 12.0, "predicted_queue_seconds": 1e-9, "continued_after": 5},
        {"continued_after": 5, "rating": Rating(0.2, ("repetition", "cut"))},
        {"rating": Rating(1.0, ())},
        {"request_id": 'a"b\\c', "client_id": 'x\nb\r{"level":"error"}', "model": "\u2028\u2029\x85\x1b[31m\x00"},
        {"model": "é😀\ud800", "route": "\ud800", "code": '"'},
        {"chosen": deployment("é\ud800", provider("acme", stand_in=True)), "attempts": [attempt(of=deployment('"'))]},
        {"chosen": deployment("y" * 1000), "attempts": [attempt(of=deployment("z" * 1000), key_id='"')]},
    ],
)
def test_encoded_line_is_what_json_dumps_returns(fields: dict[str, Any]) -> None:
    line = access_line(**fields)

    text = AccessLineEncoder().encode(line)

    assert text == dumped(line)
    assert text.isascii()
    assert "\n" not in text


def test_encoder_separates_names_times_and_keys_of_lines() -> None:
    lines = [
        access_line(),
        access_line(time=1_800_000_001.0, model="other"),
        access_line(time=1_800_000_001.9999, chosen=deployment(of=provider(stand_in=True))),
        access_line(attempts=[attempt("ok", key_id="three")], chosen=None),
        access_line(),
    ]
    encoder = AccessLineEncoder()

    assert [encoder.encode(line) for line in lines] == [dumped(line) for line in lines]


def test_encoder_bounds_the_names_that_it_keeps() -> None:
    encoder = AccessLineEncoder()

    for number in range(3000):
        line = access_line(model=f"m{number}", attempts=[attempt(of=deployment(f"m{number}"))])
        assert json.loads(encoder.encode(line))["model"] == f"m{number}"

    assert len(encoder._names) <= 1024  # noqa: SLF001
    assert len(encoder._attempts) <= 1024  # noqa: SLF001


def test_line_goes_through_logging_without_a_log_writer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "proxy.access")
    line = access_line()

    log_access(line)

    [logged] = caplog.records
    assert (logged.getMessage(), logged.__dict__["fields"]) == ("call", line.fields())
