"""Error responses in OpenAI's shape."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Send

from proxy.core.errors import ProxyError

CLOSING = frozenset({"draining", "request_timeout", "request_too_large"})  # codes after which the connection is closed


def response_for(error: ProxyError) -> Response:
    """Return the response to a request that failed with `error`."""
    headers = error.response_headers()
    if error.error_code in CLOSING:
        headers["connection"] = "close"
    return Response(error.body(), error.http_status, headers, "application/json")


async def send_error(error: ProxyError, send: Send) -> None:
    """Send the response to `error` from a plain ASGI endpoint."""
    response = response_for(error)
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": False})
