"""`GET /v1/responses`: the handshake of a WebSocket connection, and its calls.

The request has passed the guard and its caller is identified, as for all endpoints. A request that is no handshake is a
405. A handshake is a 426, after which clients use `POST`, if a proxy has removed its `upgrade`, or without the server's
own HTTP protocol (`http/protocol.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from proxy.admission.credentials import joined
from proxy.core.errors import InvalidRequest, MethodNotAllowed, UpgradeRequired
from proxy.http.exchange import Ids, RunCall
from proxy.http.output import CYCLE, Cycle
from proxy.http.reading import Limits

if TYPE_CHECKING:
    from proxy.http.websocket.channel import Channel
    from proxy.surfaces.responses.connection import Remembered

_BETA = "responses_websockets"  # in `openai-beta`: about this connection, not about the calls
_HEAD = (
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {}\r\n\r\n"
)


class WebSocketResponses:
    """The endpoint. `now` returns seconds since 1970."""

    def __init__(self, run: RunCall, limits: Limits, ids: Ids, now: Callable[[], float]) -> None:
        self._run = run
        self._limits = limits
        self._ids = ids
        self._now = now
        self._remembered: Remembered | None = None  # by the connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. Raises `ProxyError` if there is none."""
        headers = joined(scope["headers"])
        accept = _accepted(Request(scope))
        cycle: Cycle | None = (scope.get("extensions") or {}).get(CYCLE)
        if cycle is None:
            raise _required("WebSocket is not supported by this server; send `POST /v1/responses`.")
        if cycle.disconnected:
            return  # the transport does not accept the handshake's answer

        from proxy.http.websocket.channel import Channel  # here: most processes have no such connection
        from proxy.http.websocket.session import Session
        from proxy.surfaces.responses.connection import Remembered

        self._remembered = self._remembered or Remembered()
        channel = Channel(cycle, self._limits)
        client = scope.get("client")
        session = Session(
            channel,
            self._run,
            self._ids,
            self._now,
            self._remembered,
            headers={name: value for name, value in headers.items() if name != "openai-beta" or _BETA not in value},
            address=client[0] if client else None,
            query=scope["query_string"].decode("latin-1"),
        )
        channel.open(_HEAD.format(accept).encode())
        await _serve(session.serve, channel, cycle)


def _accepted(request: Request) -> str:
    """Return the answer to the client's key. Raises `ProxyError` if the request is no valid handshake."""
    headers = request.headers
    asked = headers.get("upgrade") or headers.get("x-upgrade", "")  # see `http/protocol.py`
    if asked.strip().lower() != "websocket" and "sec-websocket-key" in headers:
        raise _required(
            "A proxy has removed `upgrade: websocket`: let it pass `upgrade` and `connection`, or use `POST`."
        )
    if asked.strip().lower() != "websocket":
        error = MethodNotAllowed("The method `GET` is not supported for this path.")
        error.headers = {"allow": "POST"}
        raise error
    if headers.get("sec-websocket-version", "").strip() != "13":
        required = _required("`sec-websocket-version` must be 13.")
        required.headers["sec-websocket-version"] = "13"
        raise required

    from proxy.http.websocket.frames import accept_key

    accept = accept_key(headers.get("sec-websocket-key", "").strip())
    if accept is None:
        raise InvalidRequest("`sec-websocket-key` must be 16 bytes in base 64.", param="sec-websocket-key")
    return accept


def _required(message: str) -> UpgradeRequired:
    error = UpgradeRequired(message, retryable=False)
    error.headers = {"upgrade": "HTTP/1.1"}
    return error


async def _serve(serve: Callable[[], Awaitable[None]], channel: Channel, cycle: Cycle) -> None:
    """Serve until the connection is closed."""
    from proxy.http.websocket.frames import Close

    cycle.on_leaving = lambda: channel.close(Close.GOING_AWAY, "the server is shutting down")
    try:
        await serve()
        channel.close(Close.NORMAL)
        await channel.closed()
    finally:
        channel.abort()
        cycle.on_leaving = None
        cycle.disconnected = True  # there is no response that could be completed
