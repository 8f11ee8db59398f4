"""What an OpenAI-compatible error says: its message, its kind, and when to come back.

Providers agree on `{"error": {"message", "type", "param", "code"}}` in spirit only: Mistral puts `message` at the top,
FastAPI servers send `detail`, OpenRouter and Perplexity have a number in `code`, Azure has its filter in `innererror`.
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
    r"context[ _]length|context window|available context size|prompt is too long|input is too long|too many tokens"
    r"|maximum (?:context|model|prompt|input)[ _]?(?:length|tokens)|reduce the length of"
    r"|exceeds? the maximum (?:number of tokens|allowed tokens)",
    re.I,
)
_TOO_LARGE = re.compile(r"request too large for\b.{1,400}?\blimit:? [\d,]{1,15}, requested:? \d", re.I | re.S)
_STATUS = re.compile("[45][0-9][0-9]")
_BAD_KEY = re.compile(r"^(?:incorrect|invalid) api key\b", re.I)
_FILTER_CODES = {"content_filter", "content_policy_violation", "responsibleaipolicyviolation", "moderation_blocked"}
_OWN = {498: FailureKind.OVERLOADED}  # Groq: its flex tier has no room
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
    error = _error(value)
    message = _message(error, value) or f"the upstream answered with status {status}"
    return UpstreamFailure(
        _kind(status, error, message),
        message,
        status=status,
        retry_after=retry_after(headers, text, now),
        native=body if _has_shape(value) else None,
        param=_string(error.get("param")),
        code=_string(error.get("code")),
    )


def failure_in_200(value: Mapping[str, Any], raw: bytes) -> UpstreamFailure:
    """Classify an error that came with status 200: an error event in a stream, or `error` in a JSON answer.

    One that names no status is judged by its code and its words, and is the upstream's own where these tell nothing.
    """
    error = _error(value)
    message = _message(error, value) or "the upstream sent an error without a message"
    named = _status(error)
    kind, status = _kind(named or 400, error, message), named or 400
    if named is None and kind is FailureKind.BAD_REQUEST:
        kind, status = FailureKind.SERVER_ERROR, 500
    return UpstreamFailure(
        kind,
        message,
        status=status,
        retry_after=retry_after({}, raw.decode("utf-8", "replace"), 0.0),
        native=raw if _has_shape(value) else None,
        param=_string(error.get("param")),
        code=_string(error.get("code")),
    )


def _kind(status: int, error: Mapping[str, Any], message: str) -> FailureKind:
    code = str(error.get("code") or "").lower()
    inner = error.get("innererror")
    inner_code = str(inner.get("code") or "").lower() if isinstance(inner, dict) else ""
    metadata = error.get("metadata")
    moderated = status == 403 and isinstance(metadata, dict) and "reasons" in metadata
    if status in (400, 403, 422) and ({code, inner_code} & _FILTER_CODES or moderated):
        return FailureKind.CONTENT_FILTERED
    if status in (400, 403, 413, 422) and (code == "context_length_exceeded" or _TOO_LONG.search(message)):
        return FailureKind.CONTEXT_TOO_LONG
    if status in (413, 429) and _TOO_LARGE.search(message):
        return FailureKind.TOO_LARGE  # OpenAI (429), Groq (413): for more tokens than a minute has, nobody need wait
    if status in (400, 403, 404) and code == "model_not_found":
        return FailureKind.MODEL_MISSING
    if status in (400, 413) and code == "rate_limit_exceeded":
        return FailureKind.RATE_LIMITED
    if status == 400 and _BAD_KEY.search(message):
        return FailureKind.KEY_REJECTED  # xAI
    return kind_of_status(status, error, _OWN)


def _status(error: Mapping[str, Any]) -> int | None:
    """The status that an error in a 200 names, by a number or by a word."""
    for name in ("code", "status_code", "status"):
        number = error.get(name)
        if isinstance(number, str) and _STATUS.fullmatch(number):
            number = int(number)
        if isinstance(number, int) and 400 <= number <= 599:
            return number
    words = [str(error.get(name)) for name in ("code", "type")]
    for word in words:
        if known := _BY_TYPE.get(word):
            return known
    return 400 if any(word.startswith("invalid_") for word in words) else None


def _error(value: Any) -> Mapping[str, Any]:
    if isinstance(value, list) and value:
        value = value[0]
    return error_in(value)


def _message(error: Mapping[str, Any], value: Any) -> str | None:
    for name in ("message", "detail", "error_description"):
        found = error.get(name)
        if isinstance(found, str) and found:
            return found
        if found and not isinstance(found, str):
            return json.dumps(found, ensure_ascii=False)[:1000]
    return None if not isinstance(value, str) else value[:1000]


def _has_shape(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    error = value.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return False
    return all(error.get(name) is None or isinstance(error[name], str) for name in ("type", "param", "code"))


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None
