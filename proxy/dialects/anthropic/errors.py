"""Errors of Anthropic: their kind, their message, and when to retry.

Source: Anthropic's API reference, "Errors": `{"type": "error", "error": {"type", "message"}, "request_id"}`, the same
object in an answer with a status and in a stream's `error` event, where only the type determines the status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import value_of
from proxy.dialects.error_details import is_error as holds_error
from proxy.dialects.error_details import read_error, reports_error
from proxy.dialects.upstream_errors import failure_in_200 as in_200
from proxy.dialects.upstream_errors import failure_of

_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_EVENTS = ("message", "ping")  # types of objects that are not errors unless they have an `error`


def failure(status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
    """Classify an answer that is not a 2xx; `native` stays empty, because the body does not have OpenAI's shape."""
    text = body.decode("utf-8", "replace")
    details = read_error(value_of(text), body)
    failed = failure_of(status, details, headers=headers, text=text, now=now)
    if status >= 500 and "overloaded_error" in details.codes:
        failed.kind = FailureKind.OVERLOADED
    failed.param = failed.code = None  # not OpenAI's
    return failed


def failure_in_200(value: Mapping[str, Any]) -> UpstreamFailure:
    """Classify an error that came with status 200: an `error` event, or an error as the whole answer."""
    details = read_error(value)
    named = details.status or _STATUS_OF_TYPE.get(str(details.error.get("type")))
    failed = in_200(details, named=named, text=details.message or "")
    failed.param = failed.code = None
    return failed


def has_shape(body: bytes) -> bool:
    """Whether a body is an error as Anthropic's clients read it."""
    value = value_of(body)
    error = value.get("error") if isinstance(value, dict) and value.get("type") == "error" else None
    return isinstance(error, dict) and isinstance(error.get("type"), str) and isinstance(error.get("message"), str)


def is_error(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object is an error, with or without its `type`."""
    kind = value.get("type")
    if isinstance(kind, str) and (kind in _EVENTS or kind.startswith(("message_", "content_block_"))):
        return reports_error(value.get("error"))
    return holds_error(value, "content")
