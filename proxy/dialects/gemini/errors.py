"""What an error of the Gemini API or of Vertex AI says: its message, its kind, and when to come back.

The shape is Google's for all APIs, `{"error": {"code", "message", "status", "details"}}` (google.rpc.Status, AIP-193),
sometimes in an array of one. A wrong key is a 400 there, and a 403 may speak of a file that the client named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.hints import retry_after
from proxy.core.json_text import value_of
from proxy.dialects.upstream_errors import kind_of_status

_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_OWN = {499: FailureKind.SERVER_ERROR, 504: FailureKind.FIRST_TOKEN_TIMEOUT}  # of `CANCELLED` and `DEADLINE_EXCEEDED`
_KEY = re.compile(r"api key (?:not valid|not found|expired|is invalid)|location is not supported|enable billing", re.I)
_KEY_REASON = re.compile(r"API_KEY_|ACCESS_TOKEN_|SERVICE_DISABLED|BILLING_DISABLED|CONSUMER_(?:SUSPENDED|INVALID)")
_TOO_LONG = re.compile(
    r"token count.{0,40}exceeds|exceeds the maximum number of (?:input )?tokens|input (?:is )?too long"
    r"|context (?:length|window)",
    re.I | re.S,
)
_FILTERED = re.compile(
    r"usage guidelines|responsible ai|prompt (?:was|is|has been) blocked|content (?:was )?blocked", re.I
)
_RESOURCE = re.compile(r"\bfiles?\b|cached? ?content", re.I)


def failure(status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
    """Classify an answer that is not a 2xx; `now` is seconds since the epoch."""
    error = error_of(value_of(body))
    message = _message(error) or f"the upstream answered with status {status}"
    return _failure(status, error, message, headers, now)


def failure_in_200(value: Mapping[str, Any]) -> UpstreamFailure:
    """Classify an error that came with status 200: in a stream, or instead of an answer."""
    error = error_of(value)
    message = _message(error) or "the upstream sent an error without a message"
    return _failure(_status(error), error, message, {}, 0.0)


def error_of(value: Any) -> Mapping[str, Any]:
    """The `error` object of a body, which may stand in an array of one; empty if there is none."""
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}


def _failure(
    status: int, error: Mapping[str, Any], message: str, headers: Mapping[str, str], now: float
) -> UpstreamFailure:
    word = error.get("status")
    return UpstreamFailure(
        _kind(status, error, message),
        message,
        status=status,
        retry_after=retry_after(headers, _retry_text(error, message), now),
        code=word.lower() if isinstance(word, str) and word else None,
    )


def _kind(status: int, error: Mapping[str, Any], message: str) -> FailureKind:
    reasons = " ".join(str(detail.get("reason") or "") for detail in _details(error))
    if status in (400, 401, 403) and (_KEY_REASON.search(reasons) or _KEY.search(message)):
        return FailureKind.KEY_REJECTED
    if status in (400, 413) and _TOO_LONG.search(message):
        return FailureKind.CONTEXT_TOO_LONG
    if status == 400 and _FILTERED.search(message):
        return FailureKind.CONTENT_FILTERED
    if status in (403, 404) and _RESOURCE.search(message):
        return FailureKind.BAD_REQUEST  # of a file or a cache that the client named; the key and the model are fine
    return kind_of_status(status, error, _OWN)


def _status(error: Mapping[str, Any]) -> int:
    code = error.get("code")
    if isinstance(code, int) and 400 <= code <= 599:
        return code
    return _STATUS.get(str(error.get("status")), 500)


def _retry_text(error: Mapping[str, Any], message: str) -> str:
    """google.rpc.RetryInfo first: the message may be long, and the hints read only its beginning."""
    delays = [detail["retryDelay"] for detail in _details(error) if isinstance(detail.get("retryDelay"), str)]
    return "".join(f'"retryDelay": "{delay}" ' for delay in delays) + message


def _details(error: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = error.get("details")
    return [detail for detail in found if isinstance(detail, dict)] if isinstance(found, list) else []


def _message(error: Mapping[str, Any]) -> str | None:
    found = error.get("message")
    return found if isinstance(found, str) and found else None
