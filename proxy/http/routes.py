"""The table of paths, and what is answered where there is none."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from proxy.core.errors import InternalError, MethodNotAllowed, NotFound, ProxyError
from proxy.http.errors import response_for
from proxy.http.exchange import Endpoint
from proxy.http.ids import Ids
from proxy.http.meta import Meta
from proxy.http.reading import ClientGone
from proxy.surfaces.headers import sane_id

Handler = Callable[[Request, Exception], Awaitable[Response]]

PROBE_METHODS = ["GET", "OPTIONS"]  # balancers probe with `OPTIONS` too


class AdminEndpoints(Protocol):
    """What the admin API offers; `proxy.admin` has it."""

    async def providers(self, request: Request) -> Response: ...
    async def breakers(self, request: Request) -> Response: ...
    async def reset(self, request: Request) -> Response: ...
    async def limits(self, request: Request) -> Response: ...
    async def queues(self, request: Request) -> Response: ...
    async def config(self, request: Request) -> Response: ...
    def check(self, request: Request) -> None: ...


class SimulateEndpoints(Protocol):
    """What there is to simulate; `proxy.admin` has it."""

    async def failure(self, request: Request) -> Response: ...


def routes(
    *, proxied: Mapping[str, Endpoint], meta: Meta, admin: AdminEndpoints, simulate: SimulateEndpoints
) -> list[BaseRoute]:
    """Every path. A proxied one is a plain ASGI callable, the others are ordinary endpoints."""
    return [
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in proxied.items()),
        Route("/v1/models", meta.models),
        Route("/v1/models/{id:path}", meta.model),
        Route("/v1/route", meta.route, methods=["POST"]),
        Route("/livez", meta.livez, methods=PROBE_METHODS),
        Route("/readyz", meta.readyz, methods=PROBE_METHODS),
        Route("/healthz", meta.readyz, methods=PROBE_METHODS),
        Route("/metrics", meta.metrics),
        Route("/admin/providers", admin.providers),
        Route("/admin/breakers", admin.breakers),
        Route("/admin/breakers/reset", admin.reset, methods=["POST"]),
        Route("/admin/limits", admin.limits),
        Route("/admin/queues", admin.queues),
        Route("/admin/config", admin.config),
        Route("/admin/simulate/failure", simulate.failure, methods=["POST"]),
    ]


def error_handlers(ids: Ids, admin: AdminEndpoints, meta: Meta) -> dict[Any, Handler]:
    """Every error that an ordinary endpoint raises, in OpenAI's shape and with the ids of the call."""

    async def proxy_error(request: Request, exc: Exception) -> Response:
        error = exc if isinstance(exc, ProxyError) else InternalError("Something went wrong on our side.")
        own = ids.new()
        request_id = sane_id(request.headers.get("x-request-id")) or own
        error.headers = {"x-router-id": own, "x-request-id": request_id, **error.headers}
        return response_for(error)

    async def http_exception(request: Request, exc: Exception) -> Response:
        status = exc.status_code if isinstance(exc, HTTPException) else 404
        if request.method == "OPTIONS" and request.scope["path"] in ("/", "*"):
            return await meta.readyz(request)  # the default of HAProxy's `option httpchk`
        if request.url.path.startswith("/admin"):
            try:
                admin.check(request)  # without the token nobody learns which paths there are
            except ProxyError as refusal:
                return await proxy_error(request, refusal)
        if status != 405:
            return await proxy_error(request, _not_found(request))
        error = MethodNotAllowed(f"`{request.method[:16]}` is not for this path.")
        error.headers = dict(getattr(exc, "headers", None) or {})
        return await proxy_error(request, error)

    async def client_gone(request: Request, exc: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    return {
        ProxyError: proxy_error,
        HTTPException: http_exception,
        ClientGone: client_gone,
        Exception: proxy_error,
    }


def _not_found(request: Request) -> NotFound:
    """The error for an unknown path, with the path that was probably meant."""
    path = request.url.path
    plain = re.sub(r"/{2,}", "/", path[:256]).rstrip("/")
    bare = re.sub(r"^(?:/(?:openai|api|v1))+(?=/)", "", plain)
    known = [route for route in request.app.routes if isinstance(route, Route)]
    for near in (plain, f"/v1{bare}"):
        if near != path and any(
            route.matches({"type": "http", "path": near, "method": ""})[0].value for route in known
        ):
            hint = "; the base URL ends in `/v1`" if near.startswith("/v1") else ""
            return NotFound(f"There is no path `{path[:256]}`. Did you mean `{near}`{hint}?")
    return NotFound(f"There is no path `{path[:256]}`.")
