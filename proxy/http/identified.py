"""Identifies the caller in front of an ordinary endpoint; proxied calls are identified by the pipeline."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.admission.identify import Identify, identified
from proxy.admission.permissions import PRINCIPAL


class Identified:
    """A plain ASGI wrapper: puts the `Principal` into the scope, and serves only callers that can be identified."""

    def __init__(self, app: ASGIApp, identify: Identify) -> None:
        self._app = app
        self._identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises `ProxyError` if the caller cannot be identified."""
        scope[PRINCIPAL] = await identified(self._identify, scope)
        await self._app(scope, receive, send)


class IdentifiedOrAdmin:
    """The same, and it serves the admin token too: then the scope has no principal."""

    def __init__(self, app: ASGIApp, identify: Identify, is_admin: Callable[[Request], bool]) -> None:
        self._app = app
        self._identified = Identified(app, identify)
        self._is_admin = is_admin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises `ProxyError` if the caller cannot be identified."""
        app = self._app if self._is_admin(Request(scope)) else self._identified
        await app(scope, receive, send)
