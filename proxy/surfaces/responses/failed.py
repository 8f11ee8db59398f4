"""Failed responses: the last event of a stream that broke off."""

from __future__ import annotations

from typing import Any

from proxy.core.errors import ProxyError
from proxy.core.json_text import compact_nulled
from proxy.surfaces.responses.document import ResponseDocument
from proxy.surfaces.responses.events import EventWriter

# Codes that clients know. They send the call again after any other, and must not after all of these but the first.
_CODES = frozenset(("rate_limit_exceeded", "insufficient_quota", "context_length_exceeded", "invalid_prompt"))


def error_of(error: ProxyError) -> dict[str, Any]:
    """Return the `error` of a failed response."""
    code = error.error_code if error.error_code in _CODES else "server_error"
    return {"code": code, "message": str(error)}


def failed_event(error: ProxyError) -> bytes:
    """Return the only events of a stream that was opened, and failed before anything of its answer was known."""
    id = error.headers.get("x-router-id", "").removeprefix("req_")
    document = ResponseDocument(f"resp_{id}", 0, "", {})
    events = EventWriter()
    events.encoded("response.created", b'"response":' + document.encoded())
    document.status, document.error = "failed", error_of(error)
    events.encoded("response.failed", b'"response":' + document.encoded())
    return events.take()


def failed_after(response: dict[str, Any], number: int, error: ProxyError) -> bytes:
    """Return the last event of a native stream: `response` is the object so far, `number` that of the event."""
    events = EventWriter()
    events.number = number
    failed = {**response, "status": "failed", "error": error_of(error)}
    events.encoded("response.failed", b'"response":' + compact_nulled(failed))
    return events.take()
