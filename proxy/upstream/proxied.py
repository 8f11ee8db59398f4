"""Transport for requests through an HTTP proxy, by httpx. It follows no redirects, and stores no cookies.

Each request uses a new connection: httpx cannot distinguish a stale connection from a failed upstream, and does not
detect bytes after an answer, which the next request would receive.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import cast

import httpx

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.wire import UpstreamRequest
from proxy.upstream.net.decode import is_packed, unpacked
from proxy.upstream.net.faults import connect_failure, raise_if_local
from proxy.upstream.net.request import framed, prepare
from proxy.upstream.net.tls import Contexts
from proxy.upstream.transport import Response

_UNLIMITED = httpx.Limits(max_connections=None, max_keepalive_connections=0)


class HttpxTransport:
    """One httpx client for each proxy and private CA. It can be used again after `aclose`."""

    def __init__(self, contexts: Contexts | None = None) -> None:
        self._contexts = contexts or Contexts()
        self._clients: dict[tuple[str | None, str | None], httpx.AsyncClient] = {}

    async def send(self, request: UpstreamRequest) -> Response:
        """Send, and return the response when its head has arrived; `aclose` closes the connection."""
        framed(prepare(request).head, request)  # raises `ValueError` for headers that must not be sent
        try:
            response = await self._send(request)
        except httpx.TransportError as exc:
            raise _failure(exc) from exc
        encoding = response.headers.get("content-encoding")
        body = _body(response)
        chunks = unpacked(encoding, body) if is_packed(encoding) else body
        return Response(response.status_code, _headers(response), chunks, close=response.aclose)

    async def aclose(self) -> None:
        """Close every connection."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()

    async def _send(self, request: UpstreamRequest) -> httpx.Response:
        client = self._client(request)
        outgoing = client.build_request(
            request.method,
            request.url,
            content=request.content,
            headers={**request.headers, **request.extra_headers},
            timeout=httpx.Timeout(None, connect=request.connect_timeout),
        )
        return await client.send(outgoing, stream=True)

    def _client(self, request: UpstreamRequest) -> httpx.AsyncClient:
        key = (request.proxy, request.ca)
        if key not in self._clients:
            try:
                proxy = httpx.Proxy(request.proxy) if request.proxy is not None else None
            except (ValueError, httpx.InvalidURL):
                raise UpstreamFailure(FailureKind.CONNECT, "the URL of the proxy is not valid", cause="proxy") from None
            context = self._contexts.get(request.ca)
            transport = httpx.AsyncHTTPTransport(verify=context, proxy=proxy, limits=_UNLIMITED, trust_env=False)
            self._clients[key] = httpx.AsyncClient(
                transport=transport,
                trust_env=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # takes none, so sends none
            )
        return self._clients[key]


def _headers(response: httpx.Response) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def _body(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as raw:
            async for chunk in raw:
                yield chunk
    except httpx.TransportError as exc:
        raise _failure(exc) from exc


def _failure(error: httpx.TransportError) -> UpstreamFailure:
    """Return the failure, without URL and credential. Raises `Unavailable` if this process lacks resources."""
    raise_if_local(error)
    if isinstance(error, httpx.ConnectTimeout):
        return connect_failure(TimeoutError())
    if isinstance(error, httpx.ConnectError):
        return connect_failure(_system_error(error))
    for kind, cause, words in _WORDS:
        if isinstance(error, kind):
            return UpstreamFailure(FailureKind.CONNECT, words, cause=cause)
    words = f"the connection to the upstream failed ({type(error).__name__})"
    return UpstreamFailure(FailureKind.CONNECT, words, cause="closed")


def _system_error(error: BaseException) -> OSError:
    """Return the innermost error of the system or of TLS."""
    innermost = OSError(None, "no details")
    inner: BaseException | None = error
    while inner is not None:
        innermost = inner if isinstance(inner, OSError) else innermost
        inner = inner.__cause__ or inner.__context__
    return innermost


_WORDS: tuple[tuple[type[Exception], str, str], ...] = (
    (httpx.ProxyError, "proxy", "the proxy for the upstream refused the connection"),
    (httpx.RemoteProtocolError, "protocol", "the upstream broke off its answer, or it is not valid HTTP"),
    (httpx.ReadError, "reset", "the upstream closed the connection"),
    (httpx.WriteError, "reset", "the upstream closed the connection"),
)
