"""Errors as HTTP answers, all in OpenAI's shape."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Send

from proxy.core.errors import ProxyError

CLOSING = frozenset({"draining", "request_timeout", "request_too_large"})  # the connection is of no more use


def response_for(error: ProxyError) -> Response:
    """The whole answer."""
    headers = error.response_headers()
    if error.error_code in CLOSING:
        headers["connection"] = "close"
    return Response(error.body(), error.http_status, headers, "application/json")


async def send_error(error: ProxyError, send: Send) -> None:
    """Send the answer from a plain ASGI endpoint."""
    response = response_for(error)
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": False})
