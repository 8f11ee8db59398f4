"""Routes, and responses for unknown paths and methods."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.admission.identify import Identify
from proxy.admission.permissions import PermittedRoute
from proxy.core.errors import InternalError, InvalidRequest, MethodNotAllowed, NotFound, ProxyError, Unavailable
from proxy.http.conversations import Conversations
from proxy.http.errors import response_for
from proxy.http.exchange import Endpoint, Ids
from proxy.http.feedback import Feedback
from proxy.http.identified import Identified, IdentifiedOrAdmin
from proxy.http.meta import Meta
from proxy.http.prompts import Prompts
from proxy.http.provider_keys import OwnProviderKeys
from proxy.http.reading import ClientGone
from proxy.http.responses import StoredResponses
from proxy.http.usage import OwnUsage
from proxy.store.errors import InvalidValue, StoreUnavailable
from proxy.surfaces.headers import sane_id
from proxy.surfaces.shapes import error_for

PROBE_METHODS = ["GET", "OPTIONS"]  # some load balancers probe with `OPTIONS`

Handle = Callable[[Request], Awaitable[Response]]
Handler = Callable[[Request, Exception], Awaitable[Response]]


class AdminApp(Protocol):
    """The guarded admin API, an ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    def admits(self, request: Request) -> bool:
        """Return whether the client has the admin token."""
        ...


def routes(
    *,
    proxied: Mapping[str, Endpoint],
    websocket: ASGIApp,
    meta: Meta,
    usage: OwnUsage,
    provider_keys: OwnProviderKeys,
    responses: StoredResponses,
    conversations: Conversations,
    feedback: Feedback,
    prompts: Prompts,
    identify: Identify,
    admin: AdminApp,
) -> list[BaseRoute]:
    """Return all routes. A proxied path and `admin` are plain ASGI callables, the others are ordinary endpoints.

    Callers are identified under `/v1` (by the pipeline, or by `Identified`) and by the guard under `/admin`; the other
    paths are open.
    """

    def identified(path: str, endpoint: Handle | ASGIApp, method: str = "GET") -> Route:
        middleware = [Middleware(Identified, identify)]
        return PermittedRoute(path, endpoint, permission="identified", methods=[method], middleware=middleware)

    def organization(path: str, endpoint: Handle) -> Route:
        middleware = [Middleware(IdentifiedOrAdmin, identify, admin.admits)]
        return PermittedRoute(path, endpoint, permission="identified or token", middleware=middleware)

    def open_to_all(path: str, endpoint: Handle, methods: Sequence[str] = ("GET",)) -> Route:
        return PermittedRoute(path, endpoint, permission="open", methods=methods)

    return [
        *(
            PermittedRoute(path, endpoint, permission="identified", methods=["POST"])
            for path, endpoint in proxied.items()
        ),
        identified("/v1/responses", websocket),
        identified("/v1/models", meta.models),
        identified("/v1/models/{id:path}", meta.model),
        identified("/v1beta/models", meta.models),
        identified("/v1beta/models/{id:path}", meta.model),
        identified("/v1/route", meta.route, "POST"),
        identified("/v1/responses/{id}", responses.retrieve),
        identified("/v1/responses/{id}", responses.delete, "DELETE"),
        identified("/v1/responses/{id}/cancel", responses.cancel, "POST"),
        identified("/v1/responses/{id}/input_items", responses.input_items),
        identified("/v1/conversations", conversations.create, "POST"),
        identified("/v1/conversations/{id}", conversations.retrieve),
        identified("/v1/conversations/{id}", conversations.update, "POST"),
        identified("/v1/conversations/{id}", conversations.delete, "DELETE"),
        identified("/v1/conversations/{id}/items", conversations.add_items, "POST"),
        identified("/v1/conversations/{id}/items", conversations.items),
        identified("/v1/conversations/{id}/items/{item}", conversations.item),
        identified("/v1/conversations/{id}/items/{item}", conversations.delete_item, "DELETE"),
        identified("/v1/feedback", feedback.give, "POST"),
        identified("/v1/prompts", prompts.list),
        identified("/v1/prompts/{id}", prompts.retrieve),
        identified("/v1/prompts/{id}", prompts.delete, "DELETE"),
        identified("/v1/usage", usage.usage),
        identified("/v1/provider-keys", provider_keys.list),
        identified("/v1/provider-keys", provider_keys.put, "PUT"),
        identified("/v1/provider-keys/{id}", provider_keys.delete, "DELETE"),
        organization("/v1/organization/usage/completions", usage.completions),
        organization("/v1/organization/costs", usage.costs),
        open_to_all("/livez", meta.livez, PROBE_METHODS),
        open_to_all("/readyz", meta.readyz, PROBE_METHODS),
        open_to_all("/healthz", meta.readyz, PROBE_METHODS),
        open_to_all("/metrics", meta.metrics),
        Mount("/admin", admin),
        # responds like an unknown path below it: 401 without the token
        PermittedRoute("/admin", admin, permission="admin:read", methods=None, include_in_schema=False),
    ]


def error_handlers(ids: Ids, meta: Meta) -> dict[Any, Handler]:
    """Return handlers that write the errors of ordinary endpoints in the client's shape, with the request's ids."""

    async def proxy_error(request: Request, exc: Exception) -> Response:
        error = (
            exc
            if isinstance(exc, ProxyError)
            else InternalError("Internal error of the proxy; the log has the details.")
        )
        own = ids.new()
        request_id = sane_id(request.headers.get("x-request-id")) or own
        error.headers = {"x-router-id": own, "x-request-id": request_id, **error.headers}
        return response_for(error, error_for(error, request.scope["path"], request.scope["headers"]))

    async def store_unavailable(request: Request, exc: Exception) -> Response:
        message = "The store does not answer now; try again shortly."
        return await proxy_error(request, Unavailable(message, code="store_unavailable", retry_after=1.0))

    async def invalid_value(request: Request, exc: Exception) -> Response:
        return await proxy_error(request, InvalidRequest(f"{exc}."))

    async def http_exception(request: Request, exc: Exception) -> Response:
        status = exc.status_code if isinstance(exc, HTTPException) else 404
        if request.method in ("OPTIONS", "HEAD") and request.scope["path"] in ("/", "*"):
            return await meta.readyz(request)  # the default of HAProxy's `option httpchk`, and Claude Code's probe
        if status != 405:
            return await proxy_error(request, _not_found(request))
        error = MethodNotAllowed(f"The method `{request.method[:16]}` is not supported for this path.")
        matching = _matching(request.app.routes, request.scope["path"])
        error.headers = {"allow": ", ".join(sorted({method for route in matching for method in route.methods or ()}))}
        return await proxy_error(request, error)

    async def client_gone(request: Request, exc: Exception) -> Response:
        return Response(status_code=499)  # not received: the client has disconnected

    return {
        ProxyError: proxy_error,
        HTTPException: http_exception,
        ClientGone: client_gone,
        StoreUnavailable: store_unavailable,
        InvalidValue: invalid_value,
        Exception: proxy_error,
    }


def _not_found(request: Request) -> NotFound:
    """Return the error for an unknown path, with a similar path that exists."""
    path = request.url.path
    plain = re.sub(r"/{2,}", "/", path[:256]).rstrip("/")
    bare = re.sub(r"^(?:/(?:openai|api|v1))+(?=/)", "", plain)
    for near in (plain, f"/v1{bare}"):
        if near != path and any(route.include_in_schema for route in _matching(request.app.routes, near)):
            hint = ""
            if near.startswith("/v1/messages"):
                hint = "; the base URL ends before `/v1`"
            elif near.startswith("/v1"):
                hint = "; the base URL ends in `/v1`"
            return NotFound(f"There is no path `{path[:256]}`. Did you mean `{near}`{hint}?")
    return NotFound(f"There is no path `{path[:256]}`.")


def _matching(routes: Iterable[BaseRoute], path: str, root_path: str = "") -> Iterator[Route]:
    """Yield the routes for a path, whatever their methods; also those of mounted applications."""
    for route in routes:
        match, child = route.matches({"type": "http", "path": path, "method": "", "root_path": root_path})
        if not match.value:
            continue
        if isinstance(route, Mount):
            yield from _matching(route.routes, path, child["root_path"])
        elif isinstance(route, Route):
            yield route
