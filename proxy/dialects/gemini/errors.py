"""Errors of the Gemini API and of Vertex AI: their message, their kind, and when to retry.

The shape is Google's for all APIs, `{"error": {"code", "message", "status", "details"}}` (google.rpc.Status, AIP-193),
sometimes in an array of one. An invalid key is a 400, and a 403 may be about a file in the client's request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import value_of
from proxy.dialects.blame import RESOURCE
from proxy.dialects.error_details import ErrorDetails, details_of, read_error
from proxy.dialects.error_details import is_error as holds_error
from proxy.dialects.upstream_errors import failure_in_200 as in_200
from proxy.dialects.upstream_errors import failure_of

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
_OWN = {504: FailureKind.FIRST_TOKEN_TIMEOUT}  # of `DEADLINE_EXCEEDED`


def failure(status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
    """Classify an answer that is not a 2xx; `now` is seconds since the epoch."""
    details = read_error(value_of(body), body)
    failed = failure_of(
        status, details, own=_OWN, headers=headers, text=_retry_text(details), now=now, code=_word(details)
    )
    return _of_resource(failed, details)


def failure_in_200(value: Mapping[str, Any]) -> UpstreamFailure:
    """Classify an error that came with status 200: in a stream, or instead of an answer."""
    details = read_error(value)
    named = details.status or _STATUS.get(str(details.error.get("status")))
    failed = in_200(details, named=named, own=_OWN, text=_retry_text(details), code=_word(details))
    return _of_resource(failed, details)


def is_error(value: Mapping[str, Any]) -> bool:
    """Whether an object of an answer is an error."""
    return holds_error(value, "candidates")


def has_shape(body: bytes) -> bool:
    """Whether a body is an error as Google's clients read it."""
    value = value_of(body)
    value = value[0] if isinstance(value, list) and value else value
    error = value.get("error") if isinstance(value, dict) else None
    return isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str)


def _of_resource(failed: UpstreamFailure, details: ErrorDetails) -> UpstreamFailure:
    """Reclassify a 403 about a file or cache in the client's request as a client error."""
    failed.param = None
    if failed.status == 403 and failed.kind is FailureKind.KEY_REJECTED and RESOURCE.search(details.words):
        failed.kind = FailureKind.BAD_REQUEST
    return failed


def _word(details: ErrorDetails) -> str | None:
    word = details.error.get("status")
    return word.lower() if isinstance(word, str) and word else None


def _retry_text(details: ErrorDetails) -> str:
    """google.rpc.RetryInfo first: the message may be long, and the hints read only its beginning."""
    delays = [detail["retryDelay"] for detail in details_of(details.error) if isinstance(detail.get("retryDelay"), str)]
    return "".join(f'"retryDelay": "{delay[:40]}" ' for delay in delays) + (details.message or "")
