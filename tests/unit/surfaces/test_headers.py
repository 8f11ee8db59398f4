"""The headers of every answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.surfaces.headers import call_headers, sane_id
from tests.support.calls import attempt, deployment, plan, record

SMALL = deployment()


@pytest.mark.parametrize("text", ["a", "req-1", "x" * 128, "~!#{}"])
def test_a_sane_id_is_echoed(text: str) -> None:
    assert sane_id(text) == text


@pytest.mark.parametrize("text", [None, "", "x" * 129, "a b", "a\n", "\x00", "é", "\x7f"])
def test_any_other_id_is_not(text: str | None) -> None:
    assert sane_id(text) is None


def test_a_call_that_never_got_anywhere_has_its_ids() -> None:
    assert call_headers(record(), 1000.25) == {
        "x-router-id": "req_1",
        "x-request-id": "theirs",
        "x-router-cache": "bypass",
        "x-router-attempts": "0",
        "x-router-overhead-ms": "250.000",
        "openai-processing-ms": "250",
    }


def test_a_call_that_was_answered_says_by_whom_and_why() -> None:
    made = record(plan=plan(SMALL), chosen=SMALL, attempts=[attempt(), attempt()], upstream_request_id="up-1")

    headers = call_headers(made, 1000.0)

    assert headers["x-router-provider"] == "acme"
    assert headers["x-router-model"] == "small"
    assert headers["x-router-route"] == "tier/low"
    assert headers["x-router-reason"] == "because"
    assert headers["x-router-attempts"] == "2"
    assert headers["x-router-upstream-request-id"] == "up-1"


def test_overhead_excludes_upstream_and_client_time() -> None:
    made = record(upstream_seconds=2.0, client_seconds=0.5)

    headers = call_headers(made, 1003.0)

    assert headers["x-router-overhead-ms"] == "500.000"
    assert headers["openai-processing-ms"] == "3000"
    assert call_headers(made, 1001.0)["x-router-overhead-ms"] == "0.000"


def test_names_from_outside_are_one_visible_line() -> None:
    odd = deployment("mo\r\ndel é\ud800" + "x" * 500)
    made = record(plan=plan(odd, route="a\r\nset-cookie: b"), chosen=odd, upstream_request_id="a\nb")

    headers = call_headers(made, 1000.0)

    assert headers["x-router-model"].startswith("mo??del ??xx")
    assert len(headers["x-router-model"]) == 256
    assert headers["x-router-route"] == "a??set-cookie: b"
    assert headers["x-router-upstream-request-id"] == "a?b"


def test_an_answer_of_a_stand_in_says_so() -> None:
    stand_in = replace(SMALL, provider=replace(SMALL.provider, stand_in=True))

    assert call_headers(record(plan=plan(stand_in), chosen=stand_in), 1000.0)["x-router-mock"] == "1"
    assert "x-router-mock" not in call_headers(record(plan=plan(SMALL), chosen=SMALL), 1000.0)
