"""The transport to the real network: `upstream/net`, or httpx for requests through a proxy."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

from msgspec import structs

from proxy.core.model import EMPTY
from proxy.core.wire import UpstreamRequest
from proxy.upstream.environment import EnvironmentProxy
from proxy.upstream.net.tls import Contexts, public_roots
from proxy.upstream.net.transport import NetTransport
from proxy.upstream.transport import Response

if TYPE_CHECKING:
    from proxy.upstream.proxied import HttpxTransport


class Network:
    """`environ` may hold `SSL_CERT_FILE`, `HTTPS_PROXY` and `NO_PROXY`. Raises `ValueError` if one cannot be used."""

    def __init__(self, environ: Mapping[str, str] = EMPTY) -> None:
        self._contexts = Contexts(public_roots(environ))
        self._environment = EnvironmentProxy(environ)
        self._direct = NetTransport(self._contexts)
        self._proxied: HttpxTransport | None = None

    def send(self, request: UpstreamRequest) -> Awaitable[Response]:
        """Send through the request's proxy, else that of the environment, else directly."""
        proxy = request.proxy
        if proxy is None and self._environment.configured:
            proxy = self._environment.proxy_for(request.url)
        if proxy is None:
            return self._direct.send(request)
        return self._by_proxy().send(structs.replace(request, proxy=proxy))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._direct.aclose()
        if self._proxied is not None:
            await self._proxied.aclose()

    def _by_proxy(self) -> HttpxTransport:
        """Return the httpx transport, imported on first use to save memory and start-up time."""
        if self._proxied is None:
            from proxy.upstream.proxied import HttpxTransport

            self._proxied = HttpxTransport(self._contexts)
        return self._proxied
