"""The outermost layer: what the HTTP parser lets through and we do not.

httptools takes requests without a Host and with several; both are how requests are smuggled past a front, so both are
refused. Everything after this layer may rely on one well-formed Host.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.core.errors import InvalidRequest
from proxy.http.errors import send_error
from proxy.http.ids import Ids

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class HostGuard:
    """Refuses a missing, repeated or malformed Host."""

    def __init__(self, app: ASGIApp, ids: Ids) -> None:
        self._app = app
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 400."""
        if scope["type"] == "http":
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
                problem = "is missing" if not hosts else "is there twice" if len(hosts) > 1 else "is malformed"
                error = InvalidRequest(f"The `Host` header {problem}; send exactly one.", param="host")
                own = self._ids.new()
                error.headers = {"x-router-id": own, "x-request-id": own}
                await send_error(error, send)
                return
        await self._app(scope, receive, send)
