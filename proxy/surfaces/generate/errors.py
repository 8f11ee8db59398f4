"""Errors in Google's format: `{"error": {"code", "message", "status", "details"}}`.

Gemini CLI and Google's SDKs read `status`, the delay of `RetryInfo` and the ids of `QuotaFailure`. Sources:
cloud.google.com/apis/design/errors, google/rpc/error_details.proto.
"""

from __future__ import annotations

import math
from typing import Any

from proxy.core.errors import ProxyError
from proxy.core.json_text import compact_nulled
from proxy.core.sse import data_of

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE = "type.googleapis.com/google.rpc."


def error_body(error: ProxyError) -> bytes:
    """Return the body of a response: the upstream's own bytes if it is Google's."""
    if error.native_body is not None and error.native_format == "generate":
        return error.native_body
    status = error.http_status
    members = {
        "code": status,
        "message": str(error),
        "status": _STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL"),
        "details": _details(error),
    }
    return compact_nulled({"error": members})


def stream_error(error: ProxyError) -> bytes:
    """Return the last bytes of a stream that broke off: the error's JSON text on a line, and no event.

    This is how Google's servers end such a stream. An event with an error is taken for an answer without content by
    Google's SDK for JavaScript, which reports the text.
    """
    if error.native_event and error.native_format == "generate":
        return data_of(error.native_event) or error.native_event
    return error_body(error)


def _details(error: ProxyError) -> list[dict[str, Any]]:
    code = error.error_code or error.type
    details: list[dict[str, Any]] = [{"@type": f"{_TYPE}ErrorInfo", "reason": code.upper(), "domain": "signalbox"}]
    if error.param is not None and error.http_status == 400:
        violation = {"field": error.param, "description": str(error)}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if error.error_code == "insufficient_quota":  # Gemini CLI does not retry what a quota per day refuses
        violation = {"subject": "budget", "description": str(error), "quotaId": "SignalboxBudgetPerDay"}
        details.append({"@type": f"{_TYPE}QuotaFailure", "violations": [violation]})
    elif error.http_status in (429, 503):
        seconds = math.ceil(max(0.0, 1.0 if error.retry_after is None else error.retry_after))
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{seconds}s"})
    return details
