"""Builds the HTTP edge: the table of paths, and the checks in front of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial

from starlette.applications import Starlette
from starlette.types import ASGIApp

from proxy.admission.identify import Identify
from proxy.admission.watermark import Watermark
from proxy.arrival import ReadCall
from proxy.config.settings.server import ServerSettings
from proxy.http.browsers import Browsers, is_loopback
from proxy.http.cors import Cors
from proxy.http.exchange import Endpoint, RunCall
from proxy.http.forwarded import Forwarded
from proxy.http.guard import Guard
from proxy.http.ids import Ids
from proxy.http.meta import Meta
from proxy.http.reading import Limits
from proxy.http.routes import error_handlers, routes
from proxy.surfaces.openai.chat import read_chat
from proxy.surfaces.openai.endpoints import PASSED, read_passed

SURFACES: Mapping[str, ReadCall] = {
    "/v1/chat/completions": read_chat,
    **{f"/v1{endpoint.path}": partial(read_passed, endpoint) for endpoint in PASSED},
}  # the reader of each proxied path

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def client_limits(server: ServerSettings, watermark: Watermark | None) -> Limits:
    """Return the limits on what one client may use."""
    return Limits(
        max_body=server.max_body,
        body_silence=server.header_timeout,
        write_stall=server.write_stall,
        keep_alive=server.stream_keep_alive,
        early_comments=server.early_comments,
        watermark=watermark,
    )


def build_http(
    pipeline: RunCall,
    meta: Meta,
    *,
    identify: Identify,
    admin: ASGIApp,
    limits: Limits,
    ids: Ids,
    server: ServerSettings,
    host: str,
    lifespan: Lifespan,
) -> Guard:
    """Build the application. `admin` is the guarded admin API, `host` the address on which the server listens."""
    proxied = {path: Endpoint(pipeline, read, limits, ids) for path, read in SURFACES.items()}
    app = Starlette(
        routes=routes(proxied=proxied, meta=meta, identify=identify, admin=admin),
        exception_handlers=error_handlers(ids, meta),
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    cors = server.cors
    return Guard(
        app,
        ids,
        Browsers(server.hosts, cors.origins, loopback=is_loopback(host)),
        Cors(cors.headers, cors.max_age) if cors.origins else None,
        Forwarded(server.trusted_proxies) if server.trusted_proxies else None,
        proxied,
    )
