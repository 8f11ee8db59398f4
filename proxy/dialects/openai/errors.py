"""Errors of OpenAI-compatible providers: their kind, their message, and whether the body may pass as it is.

Few providers keep to `{"error": {"message", "type", "param", "code"}}`; `proxy/dialects/upstream_errors.py` reads all
shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import value_of
from proxy.dialects.error_details import ErrorDetails, read_error
from proxy.dialects.upstream_errors import failure_in_200 as in_200
from proxy.dialects.upstream_errors import failure_of

_BY_TYPE = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "requests": 429,
    "tokens": 429,
    "insufficient_quota": 429,
    "overloaded_error": 529,
    "service_unavailable_error": 503,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
}


def failure(status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
    """Classify an answer that is not a 2xx."""
    text = body.decode("utf-8", "replace")
    value = value_of(text)
    native = body if _has_shape(value) else None
    return failure_of(status, read_error(value, body), headers=headers, text=text, now=now, native=native)


def failure_in_200(value: Mapping[str, Any], raw: bytes) -> UpstreamFailure:
    """Classify an error that came with status 200: in an event of a stream, or instead of an answer."""
    details = read_error(value)
    native = raw if _has_shape(value) else None
    return in_200(details, named=_named(details), text=raw[:4096].decode("utf-8", "replace"), native=native)


def refuses_usage(failure: UpstreamFailure) -> bool:
    """Whether an upstream rejected a request because of its `stream_options`, in any words."""
    if failure.kind not in (FailureKind.BAD_REQUEST, FailureKind.MODEL_MISSING, FailureKind.SERVER_ERROR):
        return False
    text = f"{str(failure)[:4096]} {failure.param} {(failure.native or b'')[:4096].decode('utf-8', 'replace')}"
    letters = "".join(filter(str.isalnum, text.lower()))
    return "streamoptions" in letters or "includeusage" in letters


def has_error_member(value: Mapping[str, Any]) -> bool:
    """Whether an event's error is where clients look for it."""
    return isinstance(value.get("error"), (dict, str)) and bool(value["error"])


def _named(details: ErrorDetails) -> int | None:
    """The status that an error in a 200 contains, as a number or as a word."""
    if details.status is not None:
        return details.status
    words = [str(details.error.get(name)) for name in ("code", "type")]
    known = next((_BY_TYPE[word] for word in words if word in _BY_TYPE), None)
    return known or (400 if any(word.startswith("invalid_") for word in words) else None)


def _has_shape(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    error = value.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return False
    return all(error.get(name) is None or isinstance(error[name], str) for name in ("type", "param", "code"))
