"""The ASGI application of `signalbox mock`: the mock provider on its own port, as an upstream for other programs.

Serves chat completions and a list of models only, without credentials and limits. It shares no route with the proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from proxy.core.clock import Clock
from proxy.core.failures import UpstreamFailure
from proxy.core.model import MockOptions
from proxy.core.wire import UpstreamRequest
from proxy.mock.answer import FAULTS
from proxy.mock.upstream import MockUpstream
from proxy.mock.wire import CREATED, error

_MODELS = ("small", "medium", "large", *(f"small:{fault}" for fault in FAULTS))
_MAX_BODY = 64 * 1024 * 1024


def mock_app(options: MockOptions, clock: Clock) -> Starlette:
    """Return the application. It answers for any model; the listed ones are examples."""
    chat = _Chat(MockUpstream(clock), options)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", _models),
            Route("/healthz", _healthz),
        ],
        exception_handlers={HTTPException: _http_error},
    )


class _Chat:
    """`POST /v1/chat/completions` as plain ASGI, so that a disconnect is noticed at any time."""

    def __init__(self, upstream: MockUpstream, options: MockOptions) -> None:
        self._upstream = upstream
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = await _read(receive)
        if content is None:
            return
        if len(content) > _MAX_BODY:
            too_large = error(f"The body is over {_MAX_BODY} bytes.", "invalid_request_error", "request_too_large")
            await Response(too_large, 413, media_type="application/json")(scope, receive, send)
            return
        async with asyncio.TaskGroup() as group:
            answering = group.create_task(self._answer(content, send))
            watching = group.create_task(_cancel_on_disconnect(receive, answering))
            answering.add_done_callback(lambda _: watching.cancel())

    async def _answer(self, content: bytes, send: Send) -> None:
        request = UpstreamRequest(url="", headers={}, content=content, connect_timeout=0.0, mock=self._options)
        async with aclosing(await self._upstream.send(request)) as response:
            await send(_start(response.status, response.headers))
            try:
                while chunk := await response.read():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except UpstreamFailure:
                return  # the server closes a connection whose answer was not completed
            await send({"type": "http.response.body", "body": b""})


async def _read(receive: Receive) -> bytes | None:
    """Return the request body, at most a little more than is allowed; `None` if the client has disconnected."""
    parts, size = [], 0
    while size <= _MAX_BODY:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if not message.get("more_body", False):
            break
    return b"".join(parts)


async def _cancel_on_disconnect(receive: Receive, answering: asyncio.Task[None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answering.cancel()


def _start(status: int, headers: Mapping[str, str]) -> Message:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": raw}


async def _models(request: Request) -> Response:
    models = [{"id": name, "object": "model", "created": CREATED, "owned_by": "mock"} for name in _MODELS]
    return JSONResponse({"object": "list", "data": models})


async def _healthz(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _http_error(request: Request, exc: Exception) -> Response:
    """Unknown paths and methods, in OpenAI's shape."""
    status, headers = (exc.status_code, exc.headers) if isinstance(exc, HTTPException) else (500, None)
    code = "method_not_allowed" if status == 405 else "not_found"
    body = error(f"The mock has no `{request.method} {request.url.path}`.", "invalid_request_error", code)
    return Response(body, status, headers, media_type="application/json")
