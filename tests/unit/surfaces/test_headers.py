"""The headers of every answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.model import Price
from proxy.core.record import Record
from proxy.core.usage import Usage
from proxy.surfaces.headers import answer_headers, as_text, call_headers, early_headers, header, pairs, sane_id
from tests.support.calls import attempt, deployment, plan, record

SMALL = deployment()


def shown(made: Record, now: float) -> dict[str, str]:
    """The headers of the call, each of which stands once."""
    headers = call_headers(made, now)
    found = as_text(headers)
    assert len(found) == len(pairs(headers))
    return found


@pytest.mark.parametrize("text", ["a", "req-1", "x" * 128, "~!#{}"])
def test_a_sane_id_is_echoed(text: str) -> None:
    assert sane_id(text) == text


@pytest.mark.parametrize("text", [None, "", "x" * 129, "a b", "a\n", "\x00", "é", "\x7f"])
def test_any_other_id_is_not(text: str | None) -> None:
    assert sane_id(text) is None


def test_call_without_a_plan_shows_ids_and_times() -> None:
    assert shown(record(), 1000.25) == {
        "x-router-id": "req_1",
        "x-request-id": "theirs",
        "x-router-cache": "bypass",
        "x-router-attempts": "0",
        "x-router-overhead-ms": "250.000",
        "openai-processing-ms": "250",
    }


def test_answered_call_shows_its_target_and_the_reason() -> None:
    made = record(plan=plan(SMALL), chosen=SMALL, attempts=[attempt(), attempt()], upstream_request_id="up-1")

    headers = shown(made, 1000.0)

    assert headers["x-router-provider"] == "acme"
    assert headers["x-router-model"] == "small"
    assert headers["x-router-route"] == "tier/low"
    assert headers["x-router-reason"] == "because"
    assert headers["x-router-attempts"] == "2"
    assert headers["x-router-upstream-request-id"] == "up-1"


def test_overhead_excludes_upstream_and_client_time() -> None:
    made = record(upstream_seconds=2.0, client_seconds=0.5)

    headers = shown(made, 1003.0)

    assert headers["x-router-overhead-ms"] == "500.000"
    assert headers["openai-processing-ms"] == "3000"
    assert shown(made, 1001.0)["x-router-overhead-ms"] == "0.000"


def test_names_become_one_line_of_printable_ascii() -> None:
    odd = deployment("mo\r\ndel é\ud800" + "x" * 500)
    made = record(plan=plan(odd, route="a\r\nset-cookie: b"), chosen=odd, upstream_request_id="a\nb")

    headers = shown(made, 1000.0)

    assert headers["x-router-model"].startswith("mo??del ??xx")
    assert len(headers["x-router-model"]) == 256
    assert headers["x-router-route"] == "a??set-cookie: b"
    assert headers["x-router-upstream-request-id"] == "a?b"


def test_answer_of_a_stand_in_is_marked_as_mock() -> None:
    stand_in = replace(SMALL, provider=replace(SMALL.provider, stand_in=True))

    assert shown(record(plan=plan(stand_in), chosen=stand_in), 1000.0)["x-router-mock"] == "1"
    assert "x-router-mock" not in shown(record(plan=plan(SMALL), chosen=SMALL), 1000.0)


def test_answer_has_upstream_headers_but_its_own_processing_time() -> None:
    made = record(plan=plan(SMALL), chosen=SMALL)
    upstream = {"content-type": "application/json", "openai-version": "é\u2028", "openai-processing-ms": "9"}

    headers = pairs(answer_headers(made, 1000.25, upstream, stream=False))

    assert (b"content-type", b"application/json") in headers
    assert (b"openai-version", b"\xe9?") in headers
    assert [value for name, value in headers if name == b"openai-processing-ms"] == [b"250"]
    assert len(dict(headers)) == len(headers)


@pytest.mark.parametrize(
    ("tokens", "shown_cost"), [(1, b"0.000001"), (1_500_000, b"1.5"), (2_000_000, b"2"), (0, b"0"), (None, None)]
)
def test_whole_answer_shows_its_cost(tokens: int | None, shown_cost: bytes | None) -> None:
    dear = deployment(price=Price(1_000_000_000, 0, 0, 0))
    usage = None if tokens is None else Usage(tokens)

    headers = answer_headers(record(attempts=[attempt("ok", dear, usage=usage)]), 1000.0, {}, stream=False)

    assert dict(pairs(headers)).get(b"x-router-cost-usd") == shown_cost


def test_stream_is_not_cached_or_buffered_and_shows_no_cost() -> None:
    dear = deployment(price=Price(1_000_000_000, 0, 0, 0))

    headers = pairs(answer_headers(record(attempts=[attempt("ok", dear, usage=Usage(1))]), 1000.0, {}, stream=True))

    assert headers[-2:] == [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
    assert b"x-router-cost-usd" not in dict(headers)


def test_early_stream_shows_what_is_known_before_an_attempt() -> None:
    headers = early_headers(record(plan=plan(SMALL)))

    assert as_text(headers) == {
        "x-router-id": "req_1",
        "x-request-id": "theirs",
        "x-router-cache": "bypass",
        "x-router-route": "tier/low",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
    }


@pytest.mark.parametrize(("name", "value"), [(b"a", b"b\nc"), (b"a", b"b\rc"), (b"a\n", b"b"), (b"a\r", b"b")])
def test_line_break_in_a_header_is_an_error(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match="line break"):
        header(name, value)
