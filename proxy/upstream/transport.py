"""The network, behind one protocol: httpx for now, and its exceptions turned into `UpstreamFailure`.

No timeouts but the connection's live here: how long an answer may take is the attempt loop's to say. Connections are
pooled per proxy; redirects are not followed, cookies not kept, and the environment's proxy settings not read.

Only here can be known that a request met a pooled connection which the far side had just closed: that is a failure of
its own kind, after which the attempt may send it once more, `fresh`, on a connection of its own.
"""

from __future__ import annotations

import errno
import ssl
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Protocol, cast
from urllib.parse import urlsplit

import httpcore
import httpx

from proxy.core.errors import Unavailable
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.types import UpstreamRequest, UpstreamResponse
from proxy.upstream.pool import Pool
from proxy.upstream.stale import KnowingBackend, Stale

KEEP_ALIVE = 30.0  # seconds; below the 60 of most fronts
KEEP_ALIVE_PLAIN = 4.0  # local servers, uvicorn and vLLM among them, close after 5
MOST_KEPT = 256  # idle connections to one place
_PIECE = 1024 * 1024


class Transport(Protocol):
    """Sends one request and gives its answer, head first."""

    def send(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamResponse]:
        """Raises `UpstreamFailure` where the network fails, on entering or while the body is read."""
        ...


class HttpTransport:
    """httpx, one client for each proxy and scheme; closed by `aclose`."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str | None, bool, bool], httpx.AsyncClient] = {}
        self._context = httpx.create_ssl_context()

    @asynccontextmanager
    async def send(self, request: UpstreamRequest) -> AsyncIterator[UpstreamResponse]:
        """Send, and yield the answer when its head is there; leaving closes or returns the connection."""
        try:
            client = self._client(request)
        except ValueError as exc:
            raise UpstreamFailure(FailureKind.CONNECT, "the URL of the upstream or of its proxy is not valid") from exc
        try:
            response = await self._send(client, request)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
            if _is_ours(exc):
                raise Unavailable("The server has no free descriptors.", code="overloaded", retry_after=1.0) from exc
            stale = isinstance(exc.__cause__, Stale)
            raise UpstreamFailure(
                FailureKind.STALE_CONNECTION if stale else FailureKind.CONNECT, _explain(exc)
            ) from exc
        try:
            headers = {name.lower(): value for name, value in response.headers.items()}
            yield UpstreamResponse(response.status_code, headers, _chunks(response))
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()

    async def _send(self, client: httpx.AsyncClient, request: UpstreamRequest) -> httpx.Response:
        outgoing = client.build_request(
            request.method,
            request.url,
            content=request.content,
            headers=dict(request.headers),
            timeout=httpx.Timeout(None, connect=request.connect_timeout),
        )
        return await client.send(outgoing, stream=True)

    def _client(self, request: UpstreamRequest) -> httpx.AsyncClient:
        plain = urlsplit(request.url).scheme == "http"
        key = (request.proxy, plain, request.fresh)
        if key not in self._clients:
            self._clients[key] = httpx.AsyncClient(
                transport=_Network(
                    self._context,
                    httpx.Proxy(request.proxy) if request.proxy is not None else None,
                    keep=0 if request.fresh else MOST_KEPT,
                    expiry=KEEP_ALIVE_PLAIN if plain else KEEP_ALIVE,
                ),
                trust_env=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # takes none, so sends none
            )
        return self._clients[key]


class _Network(httpx.AsyncHTTPTransport):
    """httpx's own transport over a pool of ours, whose connections know whether they were stale."""

    def __init__(self, context: ssl.SSLContext, proxy: httpx.Proxy | None, *, keep: int, expiry: float) -> None:
        super().__init__(verify=context, trust_env=False)
        self._pool = cast("httpcore.AsyncConnectionPool", Pool(_maker(context, proxy, expiry), keep=keep))


def _maker(context: ssl.SSLContext, proxy: httpx.Proxy | None, expiry: float) -> httpcore.AsyncConnectionPool:
    """What makes connections, directly or by way of a proxy."""
    if proxy is None:
        return httpcore.AsyncConnectionPool(
            ssl_context=context, keepalive_expiry=expiry, network_backend=KnowingBackend()
        )
    url = proxy.url
    return httpcore.AsyncHTTPProxy(
        proxy_url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        proxy_auth=proxy.raw_auth,
        proxy_headers=proxy.headers.raw,
        ssl_context=context,
        keepalive_expiry=expiry,
        network_backend=KnowingBackend(),
    )


async def _chunks(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    try:
        async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as raw:
            if encoding in ("", "identity"):
                async for chunk in raw:
                    yield chunk
                return
            inflate = _inflater(encoding)
            async for chunk in raw:
                while chunk:
                    yield inflate.decompress(chunk, _PIECE)  # in pieces, so that no bomb unfolds at once
                    chunk = inflate.unconsumed_tail
                    if inflate.eof and inflate.unused_data:  # gzip may have several members
                        chunk, inflate = inflate.unused_data, _inflater(encoding)
            yield inflate.flush()
    except (httpx.HTTPError, httpx.StreamError) as exc:
        raise UpstreamFailure(FailureKind.CONNECT, _explain(exc)) from exc
    except zlib.error as exc:
        raise UpstreamFailure(FailureKind.MALFORMED, "the upstream's compressed answer cannot be read") from exc


def _inflater(encoding: str) -> zlib._Decompress:
    """We ask for `identity`; some upstreams compress all the same."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UpstreamFailure(FailureKind.MALFORMED, f"the upstream's content-encoding {encoding[:32]!r} is not known")
    return zlib.decompressobj(32 + zlib.MAX_WBITS)


def _is_ours(exc: BaseException | None) -> bool:
    """Whether it was this process that ran out of something: no reason to blame the upstream."""
    while exc is not None:
        if isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


def _explain(exc: Exception) -> str:
    """What went wrong, in words that hold neither URL nor credential."""
    for kind, words in _WORDS:
        if isinstance(exc, kind):
            return words
    return f"the connection to the upstream failed ({type(exc).__name__})"


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (httpx.ConnectTimeout, "the connection to the upstream was not made in time"),
    (httpx.PoolTimeout, "no connection to the upstream became free in time"),
    (httpx.ProxyError, "the proxy to the upstream refused"),
    (httpx.ConnectError, "the upstream could not be reached"),
    (httpx.RemoteProtocolError, "the upstream broke off its answer"),
    (httpx.ReadError, "the upstream closed the connection"),
    (httpx.WriteError, "the upstream closed the connection"),
    (httpx.UnsupportedProtocol, "the upstream's URL is not http or https"),
    (httpx.InvalidURL, "the upstream's URL is not valid"),
)
