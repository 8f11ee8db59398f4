"""Rate limits in the headers of answers."""

from __future__ import annotations

import pytest

from proxy.core.limit_headers import ReportedLimit, reported_limits


def test_headers_without_limits_report_nothing() -> None:
    assert reported_limits({"content-type": "application/json", "retry-after": "5"}, 0.0) == []


def test_requests_and_tokens_are_reported_separately() -> None:
    headers = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "anthropic-ratelimit-tokens-limit": "80000",
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "1970-01-01T00:01:00Z",
    }

    assert reported_limits(headers, 0.0) == [
        ReportedLimit("requests", 500, 0.12, 0.0),
        ReportedLimit("tokens", 80_000, 60.0, 1.5),  # 2000 tokens are the usual call
    ]


def test_retry_after_replaces_the_cooldown() -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "10s", "retry-after": "3"}

    assert reported_limits(headers, 0.0) == [ReportedLimit("requests", None, 10.0, 0.0)]


def test_limits_of_input_tokens_are_not_comparable() -> None:
    headers = {
        "anthropic-ratelimit-input-tokens-limit": "100",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "30",
    }

    assert reported_limits(headers, 0.0) == [ReportedLimit("tokens", None, 30.0, 30.0)]


@pytest.mark.parametrize("value", ["", "-1", "0", "1.5", "²", "9" * 16, "many"])
def test_invalid_limits_are_unknown(value: str) -> None:
    headers = {"x-ratelimit-limit-requests": value, "x-ratelimit-reset-requests": "soon"}

    assert reported_limits(headers, 0.0) == [ReportedLimit("requests", None, 0.0, 0.0)]
