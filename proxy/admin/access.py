"""Access to `/admin`: requires the admin token. Without a configured token the admin API is off."""

from __future__ import annotations

import hmac

from starlette.requests import Request

from proxy.core.errors import NotAllowed, NotAuthenticated


class AdminAccess:
    """Checks the bearer token in constant time."""

    def __init__(self, token: str | None) -> None:
        self._token = token.encode() if token else None

    def check(self, request: Request) -> None:
        """Raise `NotAllowed` if no token is configured, `NotAuthenticated` if the client's token is wrong."""
        if self._token is None:
            raise NotAllowed(
                "The admin API is off: configure `auth.admin_token` (SIGNALBOX_ADMIN_TOKEN).", code="admin_disabled"
            )
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            raise NotAuthenticated("Send the admin token as `authorization: Bearer ...`.")
