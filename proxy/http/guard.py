"""The outermost layer: rejects requests that the HTTP parser accepts and this service does not.

httptools accepts requests without a `Host` and with several, which is how requests are smuggled past a proxy in front.
Web pages of other sites are rejected here too, before a body is read. Everything after this layer may rely on one
well-formed `Host`, except in HTTP/1.0, which has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.core.errors import InvalidRequest, OriginNotAllowed, ProxyError
from proxy.http.browsers import Browsers, is_loopback
from proxy.http.cors import VARY, Cors
from proxy.http.errors import send_error
from proxy.http.exchange import Direct, Endpoint, Ids
from proxy.http.forwarded import Forwarded
from proxy.surfaces.headers import header
from proxy.surfaces.shapes import error_for

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_MOST_HOSTS = 1000  # that are remembered
_NONE: Mapping[str, Endpoint] = {}


@dataclass(slots=True)
class _Headers:
    """The headers that decide whether a request is accepted."""

    hosts: list[bytes]
    origins: list[str]
    sites: list[str]
    preflight: bool = False
    handshake: bool = False  # of WebSocket

    @property
    def origin(self) -> str | None:
        return self.origins[0] if self.origins else None


class Guard:
    """Rejects a wrong `Host` and web pages of other sites, and adds the headers of CORS."""

    def __init__(
        self,
        app: ASGIApp,
        ids: Ids,
        browsers: Browsers,
        cors: Cors | None = None,
        forwarded: Forwarded | None = None,
        endpoints: Mapping[str, Endpoint] = _NONE,
    ) -> None:
        """`endpoints` answer POST requests, by path."""
        self._app = app
        # called without the router; they handle their errors
        self._endpoints: Mapping[tuple[str, str], ASGIApp] = {("POST", path): each for path, each in endpoints.items()}
        self.direct = Direct(
            {path.encode(): endpoint for path, endpoint in endpoints.items()},
            forwarded=forwarded,
            headers=b"" if cors is None else header(*VARY),
        )
        self._ids = ids
        self._browsers = browsers
        self._cors = cors  # `None`: off
        self._forwarded = forwarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond with 204 (a preflight), 400 or 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._forwarded is not None:
            scope = self._forwarded.apply(scope)
        headers = _read(scope)
        allowed: str | None = None
        error: ProxyError | None = None
        try:
            allowed = self._check(scope, headers)
        except ProxyError as rejection:
            error = rejection
        if self._cors is not None:
            if allowed is not None and headers.preflight and scope["method"] == "OPTIONS":
                await self._cors.preflight(scope["headers"], allowed, send)
                return
            send = self._cors.on_answers(send, allowed)
            if not headers.handshake:
                scope["extensions"] = {}  # the response must pass through this `send`
        if error is None:
            await self._endpoints.get((scope["method"], scope["path"]), self._app)(scope, receive, send)
            return
        own = self._ids.new()
        error.headers = {"x-router-id": own, "x-request-id": own}
        await send_error(error, send, error_for(error, scope["path"], scope["headers"]))

    def _check(self, scope: Scope, headers: _Headers) -> str | None:
        """Return the origin if it is one of `server.cors.origins`. Raises `ProxyError` to reject the request."""
        host = _one_host(headers.hosts, scope)
        browser = bool(headers.origins or headers.sites)
        if host is not None:
            server = scope.get("server") if browser else None
            self._browsers.check_host(host, rebindable=bool(server and is_loopback(server[0])))
        if not browser:
            if host is not None and len(self.direct.hosts) < _MOST_HOSTS:
                self.direct.hosts.add(host.decode("latin-1"))
            return None
        if len(headers.origins) > 1 or len(headers.sites) > 1:
            raise OriginNotAllowed("`origin` and `sec-fetch-site` must each be sent once.")
        site = headers.sites[0] if headers.sites else None
        name = (host or b"").decode("latin-1")
        self._browsers.check_origin(headers.origin, site, scheme=scope["scheme"], host=name)
        return headers.origin if headers.origin is not None and self._browsers.lists(headers.origin) else None


def _read(scope: Scope) -> _Headers:
    headers = _Headers([], [], [])
    for name, value in scope["headers"]:
        if name == b"host":
            headers.hosts.append(value)
        elif name == b"origin":
            headers.origins.append(value.decode("latin-1").strip())
        elif name == b"sec-fetch-site":
            headers.sites.append(value.decode("latin-1").strip().lower())
        elif name == b"sec-websocket-key":
            headers.handshake = scope["method"] == "GET"
        elif name == b"access-control-request-method":
            headers.preflight = True
    return headers


def _one_host(hosts: list[bytes], scope: Scope) -> bytes | None:
    """Return the well-formed `Host`; `None` for HTTP/1.0 without one. Raises `InvalidRequest`."""
    if not hosts and scope["http_version"] == "1.0":
        return None
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        problem = "is missing" if not hosts else "is repeated" if len(hosts) > 1 else "is malformed"
        raise InvalidRequest(f"The `Host` header {problem}; send exactly one.", param="host")
    return hosts[0]
