"""What an Anthropic error says: its kind, its message, and when to come back.

Source: Anthropic's API reference, "Errors": `{"type": "error", "error": {"type", "message"}, "request_id"}`, the same
object in an answer with a status and in a stream's `error` event, where the type alone tells the kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.hints import retry_after
from proxy.core.json_text import value_of
from proxy.dialects.upstream_errors import error_in, kind_of_status

_TOO_LONG = re.compile(
    r"prompt is too long|input is too long|exceeds? (?:the )?context (?:limit|window)|context window"
    r"|exceeds? the (?:maximum|available) (?:number of )?(?:context|input|prompt) (?:length|size|tokens)",
    re.I,
)
_FILTERED = re.compile(r"blocked by (?:our )?content filter", re.I)
_NO_CREDIT = re.compile(r"credit balance is too low", re.I)
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
_LONGEST = 1000  # characters of a body that is not JSON's error


def failure(status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
    """Classify an answer that is not a 2xx; `native` stays empty, since the body has not OpenAI's shape."""
    text = body.decode("utf-8", "replace")
    error = error_in(value_of(text))
    message = _message(error) or f"the upstream answered with status {status}"
    return UpstreamFailure(
        _kind(status, error, message), message, status=status, retry_after=retry_after(headers, text, now)
    )


def failure_in_200(value: Mapping[str, Any]) -> UpstreamFailure:
    """Classify an error that came with status 200: an `error` event, or an error as the whole answer."""
    error = error_in(value)
    status = _STATUS_OF_TYPE.get(str(error.get("type")), 500)
    message = _message(error) or "the upstream sent an error without a message"
    wait = retry_after({}, message, 0.0)
    return UpstreamFailure(_kind(status, error, message), message, status=status, retry_after=wait)


def is_error(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object is an error, with or without its `type`."""
    return value.get("type") == "error" or ("type" not in value and bool(value.get("error")))


def _kind(status: int, error: Mapping[str, Any], message: str) -> FailureKind:
    if status in (400, 413) and _TOO_LONG.search(message):
        return FailureKind.CONTEXT_TOO_LONG
    if status == 400 and _FILTERED.search(message):
        return FailureKind.CONTENT_FILTERED
    if status == 400 and _NO_CREDIT.search(message):
        return FailureKind.KEY_REJECTED  # the account is empty: nothing is wrong with the request
    if status >= 500 and error.get("type") == "overloaded_error":
        return FailureKind.OVERLOADED
    return kind_of_status(status, error)


def _message(error: Mapping[str, Any]) -> str | None:
    for name in ("message", "detail"):
        found = error.get(name)
        if isinstance(found, str) and found:
            return found
        if isinstance(found, (dict, list)) and found:
            return json.dumps(found, ensure_ascii=False)[:_LONGEST]
    return None
