"""Errors: kinds by status and words, messages kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.failures import FailureKind
from proxy.dialects.gemini.errors import failure, failure_in_200

INFO = "type.googleapis.com/google.rpc.ErrorInfo"


def body(code: int, message: str, status: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


@pytest.mark.parametrize(
    ("code", "message", "status", "kind"),
    [
        (400, "Request contains an invalid argument.", "INVALID_ARGUMENT", FailureKind.BAD_REQUEST),
        (400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", FailureKind.KEY_REJECTED),
        (400, "API key expired. Please renew the API key.", "INVALID_ARGUMENT", FailureKind.KEY_REJECTED),
        (400, "User location is not supported for the API use.", "FAILED_PRECONDITION", FailureKind.KEY_REJECTED),
        (
            400,
            "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            "INVALID_ARGUMENT",
            FailureKind.CONTEXT_TOO_LONG,
        ),
        (400, "The prompt was blocked by our policy.", "INVALID_ARGUMENT", FailureKind.CONTENT_FILTERED),
        (401, "Request had invalid credentials.", "UNAUTHENTICATED", FailureKind.KEY_REJECTED),
        (403, "Permission denied on resource project p.", "PERMISSION_DENIED", FailureKind.KEY_REJECTED),
        (403, "You do not have permission to access the File abc.", "PERMISSION_DENIED", FailureKind.BAD_REQUEST),
        (404, "models/x is not found for API version v1beta", "NOT_FOUND", FailureKind.MODEL_MISSING),
        (404, "Not found: cached content metadata 1.", "NOT_FOUND", FailureKind.BAD_REQUEST),
        (429, "Resource has been exhausted.", "RESOURCE_EXHAUSTED", FailureKind.RATE_LIMITED),
        (499, "The operation was cancelled.", "CANCELLED", FailureKind.SERVER_ERROR),
        (500, "An internal error has occurred.", "INTERNAL", FailureKind.SERVER_ERROR),
        (503, "The model is overloaded.", "UNAVAILABLE", FailureKind.OVERLOADED),
        (
            504,
            "Deadline expired before operation could complete.",
            "DEADLINE_EXCEEDED",
            FailureKind.FIRST_TOKEN_TIMEOUT,
        ),
    ],
)
def test_an_error_has_its_kind_with_a_status_and_within_a_200(
    code: int, message: str, status: str, kind: FailureKind
) -> None:
    value = body(code, message, status)

    direct = failure(code, {}, json.dumps(value).encode(), 0.0)
    within = failure_in_200(value)
    named_only = failure_in_200({"error": {"message": message, "status": status}})

    for found in (direct, within, named_only):
        assert (found.kind, str(found), found.code, found.native) == (kind, message, status.lower(), None)
    assert (direct.status, within.status) == (code, code)


def test_a_403_of_an_intermediary_does_not_blame_the_key() -> None:
    assert failure(403, {}, b"<html>Attention Required!</html>", 0.0).kind is FailureKind.FORBIDDEN


def test_a_rejected_key_is_known_by_its_reason() -> None:
    detail = {"@type": INFO, "reason": "API_KEY_INVALID", "domain": "googleapis.com"}

    found = failure(400, {}, json.dumps(body(400, "Nope.", "INVALID_ARGUMENT", detail)).encode(), 0.0)

    assert found.kind is FailureKind.KEY_REJECTED


def test_a_rate_limit_says_when_to_come_back() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}
    value = body(429, "x" * 9000, "RESOURCE_EXHAUSTED", {"@type": INFO}, detail)

    assert failure(429, {}, json.dumps(value).encode(), 0.0).retry_after == 37.0
    assert failure(429, {"retry-after": "5"}, json.dumps(value).encode(), 0.0).retry_after == 5.0


def test_an_error_may_stand_in_an_array_of_one() -> None:
    found = failure(429, {}, json.dumps([body(429, "Slow down.", "RESOURCE_EXHAUSTED")]).encode(), 0.0)

    assert (found.kind, str(found)) == (FailureKind.RATE_LIMITED, "Slow down.")


@pytest.mark.parametrize(
    "raw", [b"", b"<html>", b"[]", b"[1]", b"{}", b'{"error":3}', b'{"error":{"message":3}}', b"\xff"]
)
def test_an_error_that_cannot_be_read_has_its_status(raw: bytes) -> None:
    found = failure(502, {}, raw, 0.0)

    assert (found.kind, str(found)) == (FailureKind.SERVER_ERROR, "the upstream answered with status 502")


@pytest.mark.parametrize("error", ["broken", {"code": "x"}, {"details": 3}, {"details": [3, {"retryDelay": 3}]}])
def test_an_odd_error_within_a_200_is_the_servers(error: Any) -> None:
    assert failure_in_200({"error": error}).kind is FailureKind.SERVER_ERROR
