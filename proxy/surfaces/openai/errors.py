"""Errors in OpenAI's format, which is also the format of paths that belong to no surface."""

from __future__ import annotations

import json

from proxy.core.errors import ProxyError


def error_body(error: ProxyError) -> bytes:
    """Return the body of a response: the upstream's own bytes if the error has them."""
    if error.native_body is not None and error.native_format == "chat":
        return error.native_body
    members = {"message": str(error), "type": error.type, "param": error.param, "code": error.error_code}
    return json.dumps({"error": members}, ensure_ascii=False).encode("utf-8", "replace")


def error_event(error: ProxyError) -> bytes:
    """Return the last event of a stream: the upstream's own bytes if the error has them."""
    if error.native_event and error.native_format == "chat":
        return error.native_event
    return b"data: " + error_body(error) + b"\n\n"
