"""How Anthropic's errors are classified."""

from __future__ import annotations

import json

import pytest

from proxy.core.failures import FailureKind
from proxy.dialects.anthropic.errors import failure, failure_in_200, is_error


def body(kind: str, message: str = "no") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}).encode()


@pytest.mark.parametrize(
    ("status", "kind", "message", "found"),
    [
        (400, "invalid_request_error", "messages: too few", FailureKind.BAD_REQUEST),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 5 maximum", FailureKind.CONTEXT_TOO_LONG),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 1 + 2 > 2",
            FailureKind.CONTEXT_TOO_LONG,
        ),
        (400, "invalid_request_error", "Output blocked by content filtering policy", FailureKind.CONTENT_FILTERED),
        (400, "invalid_request_error", "Your credit balance is too low to ...", FailureKind.KEY_REJECTED),
        (401, "authentication_error", "invalid x-api-key", FailureKind.KEY_REJECTED),
        (402, "billing_error", "pay", FailureKind.KEY_REJECTED),
        (403, "permission_error", "no", FailureKind.KEY_REJECTED),
        (404, "not_found_error", "model: nope", FailureKind.MODEL_MISSING),
        (408, "timeout_error", "slow", FailureKind.FIRST_TOKEN_TIMEOUT),
        (413, "request_too_large", "Request exceeds the maximum size", FailureKind.BAD_REQUEST),
        (429, "rate_limit_error", "slow down", FailureKind.RATE_LIMITED),
        (500, "api_error", "Internal server error", FailureKind.SERVER_ERROR),
        (500, "overloaded_error", "Overloaded", FailureKind.OVERLOADED),
        (503, "api_error", "no", FailureKind.OVERLOADED),
        (504, "timeout_error", "no", FailureKind.SERVER_ERROR),
        (529, "overloaded_error", "Overloaded", FailureKind.OVERLOADED),
    ],
)
def test_an_error_has_a_kind_and_keeps_its_message(status: int, kind: str, message: str, found: FailureKind) -> None:
    failed = failure(status, {}, body(kind, message), 0.0)

    assert (failed.kind, str(failed), failed.status, failed.native) == (found, message, status, None)


def test_a_403_of_an_intermediary_does_not_blame_the_key() -> None:
    assert failure(403, {}, b"<html>Attention Required!</html>", 0.0).kind is FailureKind.FORBIDDEN


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("overloaded_error", FailureKind.OVERLOADED),
        ("rate_limit_error", FailureKind.RATE_LIMITED),
        ("api_error", FailureKind.SERVER_ERROR),
        ("timeout_error", FailureKind.SERVER_ERROR),
        ("authentication_error", FailureKind.KEY_REJECTED),
        ("not_found_error", FailureKind.MODEL_MISSING),
        ("invalid_request_error", FailureKind.BAD_REQUEST),
        ("something_new", FailureKind.SERVER_ERROR),
    ],
)
def test_an_error_with_status_200_is_told_by_its_type(kind: str, found: FailureKind) -> None:
    failed = failure_in_200(json.loads(body(kind, "wait")))

    assert (failed.kind, str(failed)) == (found, "wait")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12.0),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "1970-01-01T00:01:40Z",
                "anthropic-ratelimit-tokens-remaining": "9",
                "anthropic-ratelimit-tokens-reset": "1970-01-01T09:00:00Z",
            },
            90.0,
        ),
        ({}, None),
    ],
)
def test_the_wait_is_read_from_the_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert failure(429, headers, body("rate_limit_error"), 10.0).retry_after == seconds


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"<html>gateway</html>", "the upstream answered with status 502"),
        (b"", "the upstream answered with status 502"),
        (b"[1]", "the upstream answered with status 502"),
        (b'{"error": "broken"}', "broken"),
        (b'{"detail": [{"loc": "body"}]}', '[{"loc": "body"}]'),
        (b"[" * 100_000, "the upstream answered with status 502"),
    ],
)
def test_a_body_of_another_kind_is_an_error_too(raw: bytes, message: str) -> None:
    failed = failure(502, {}, raw, 0.0)

    assert (failed.kind, str(failed)) == (FailureKind.SERVER_ERROR, message)


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ({"type": "error"}, True),
        ({"error": {"message": "x"}}, True),
        ({"type": "message", "error": None}, False),
        ({}, False),
    ],
)
def test_an_error_is_told_from_an_answer(value: dict[str, object], is_one: bool) -> None:
    assert is_error(value) is is_one
