"""Errors as HTTP responses: in the format of the path's surface, and in OpenAI's where the path has none."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Send

from proxy.core.errors import ProxyError
from proxy.surfaces.openai.errors import error_body

_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 414: b"URI Too Long", 431: b"Request Header Fields Too Large"}
CLOSING = frozenset({"draining", "request_timeout", "request_too_large"})  # codes after which the connection closes


def response_for(error: ProxyError, body: bytes | None = None) -> Response:
    """Return the response; `body` is the error as a surface wrote it."""
    headers = error.response_headers()
    if error.error_code in CLOSING:
        headers["connection"] = "close"
    return Response(error_body(error) if body is None else body, error.http_status, headers, "application/json")


def whole_response(error: ProxyError) -> bytes:
    """Return the bytes of a response to something that is not a valid request, after which the connection closes."""
    body = error_body(error)
    head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (error.http_status, _REASONS[error.http_status], len(body)) + body


async def send_error(error: ProxyError, send: Send, body: bytes | None = None) -> None:
    """Send the response from a plain ASGI endpoint; `body` as in `response_for`."""
    response = response_for(error, body)
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": False})
