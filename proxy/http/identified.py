"""Identifies the caller in front of an ordinary endpoint; proxied calls are identified by the pipeline."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.admission.identify import Identify

PRINCIPAL = "signalbox.principal"  # the key in the scope of a request


class Identified:
    """A plain ASGI wrapper: puts the `Principal` into the scope, and serves only callers that can be identified."""

    def __init__(self, app: ASGIApp, identify: Identify) -> None:
        self._app = app
        self._identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises `ProxyError` if the caller cannot be identified."""
        scope[PRINCIPAL] = self._identify(Headers(scope=scope), address_of(scope))
        await self._app(scope, receive, send)


def address_of(scope: Scope) -> str | None:
    """Return the client's IP address if it is known."""
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else None
