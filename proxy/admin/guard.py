"""Access to `/admin`: requires the admin token. Without a configured token the admin API is off."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import BaseRoute, Router
from starlette.types import Receive, Scope, Send

from proxy.core.errors import NotAllowed, NotAuthenticated, ProxyError


class AdminGuard:
    """A plain ASGI application: the admin API behind the check of its token.

    The check comes before the choice of the endpoint, so that no endpoint is reached without it, and a client without
    the token does not learn which paths exist.
    """

    def __init__(self, api: Router, token: str | None) -> None:
        self._api = api
        self._token = token.encode() if token else None

    @property
    def routes(self) -> list[BaseRoute]:
        """The guarded routes."""
        return self._api.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises `ProxyError` without access."""
        self.check(Headers(scope=scope).get("authorization", ""))
        await self._api(scope, receive, send)

    def check(self, authorization: str) -> None:
        """Raise `NotAllowed` if no token is configured, `NotAuthenticated` if the header does not contain the token.

        The token is compared in constant time.
        """
        if self._token is None:
            raise NotAllowed(
                "The admin API is off: configure `auth.admin_token` (SIGNALBOX_ADMIN_TOKEN).", code="admin_disabled"
            )
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
            raise NotAuthenticated("Send the admin token as `authorization: Bearer ...`.")

    def admits(self, request: Request) -> bool:
        """Return whether the client has access."""
        try:
            self.check(request.headers.get("authorization", ""))
        except ProxyError:
            return False
        return True
