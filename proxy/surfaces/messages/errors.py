"""Errors in the format of Anthropic's API, and the events that end a broken stream.

Source: Anthropic's API reference, "Errors".
"""

from __future__ import annotations

from proxy.core.errors import ProxyError
from proxy.core.json_text import compact

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_body(error: ProxyError) -> bytes:
    """Return the body of a response: the upstream's own bytes if it speaks this format."""
    if error.native_body is not None and error.native_format == "messages":
        return error.native_body
    return _body(error)


def error_event(error: ProxyError) -> bytes:
    """Return the last event of a stream: the upstream's own bytes if it speaks this format."""
    if error.native_event and error.native_format == "messages":
        return error.native_event
    return b"event: error\ndata: " + _body(error) + b"\n\n"


def error_type(status: int) -> str:
    """Return the type of error for an HTTP status."""
    return _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def _body(error: ProxyError) -> bytes:
    members = {"type": error_type(error.http_status), "message": str(error)}
    return compact({"type": "error", "error": members, "request_id": error.headers.get("x-router-id")})
