"""All routes of the application, with endpoints that answer with the caller's name unless they are given."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from proxy.admission.permissions import PRINCIPAL
from proxy.http.routes import routes

GROUPS = (
    "websocket", "meta", "usage", "provider_keys", "responses", "conversations", "feedback", "prompts",
)  # fmt: skip


class Endpoints:
    """Answers every ordinary endpoint with the caller's name."""

    def __getattr__(self, name: str) -> Any:
        async def endpoint(request: Request) -> Response:
            principal = request.scope.get(PRINCIPAL)
            return JSONResponse(principal.name if principal else None)

        return endpoint


def routes_with(*, identify: Any, admin: Any, proxied: Any = None, **given: Any) -> list[BaseRoute]:
    """Return all routes; `given` replaces groups of endpoints."""
    endpoints: Any = Endpoints()
    groups: dict[str, Any] = dict.fromkeys(GROUPS, endpoints) | {"websocket": endpoints.websocket}
    return routes(proxied=proxied or {}, identify=identify, admin=admin, **groups | given)
