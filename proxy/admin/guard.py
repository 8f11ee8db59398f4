"""Access to `/admin`: requires the admin token, or the role admin or auditor. Without a configured token it is off."""

from __future__ import annotations

import hmac

from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from proxy.admin.api import Api
from proxy.admin.endpoint import ROLE
from proxy.admission.credentials import credential_of, joined
from proxy.admission.identify import Identify, identified
from proxy.admission.permissions import PRINCIPAL
from proxy.core.errors import NotAllowed, NotAuthenticated, ProxyError
from proxy.core.snapshot import Live


class AdminGuard:
    """A plain ASGI application: the admin API behind the check of its caller.

    The check comes before the choice of the endpoint, so that no endpoint is reached without it, and a client without
    access does not learn which paths exist. Each route then checks the role (`AdminRoute`).
    """

    def __init__(self, api: Api, live: Live, identify: Identify) -> None:
        self._api = api
        self._live = live
        self._identify = identify

    @property
    def routes(self) -> list[BaseRoute]:
        """The guarded routes."""
        return self._api.router.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises `ProxyError` without access."""
        if self._has_token(credential_of(joined(scope["headers"])) if self._live.snapshot.auth.admin_token else None):
            scope[ROLE] = "admin"
        elif self._live.snapshot.auth.mode == "none":
            raise NotAuthenticated("Send the admin token as `authorization: Bearer ...`.")
        else:
            principal = await identified(self._identify, scope)
            if principal.role not in ("admin", "auditor"):
                raise NotAllowed(
                    "The admin API needs the admin token, or the role admin or auditor.",
                    code="insufficient_permissions",
                )
            scope[ROLE], scope[PRINCIPAL] = principal.role, principal
        api = await self._api.load()
        await api(scope, receive, send)

    def admits(self, request: Request) -> bool:
        """Return whether the client has the admin token."""
        try:
            return self._has_token(credential_of(joined(request.scope["headers"])))
        except ProxyError:
            return False

    def _has_token(self, credential: str | None) -> bool:
        """Return whether it is the admin token, compared in constant time. Raises `NotAllowed` without a token."""
        token = self._live.snapshot.auth.admin_token
        if token is None:
            raise NotAllowed(
                "The admin API is off: configure `auth.admin_token` (SIGNALBOX_ADMIN_TOKEN).", code="admin_disabled"
            )
        return credential is not None and hmac.compare_digest(credential.encode(), token.encode())
