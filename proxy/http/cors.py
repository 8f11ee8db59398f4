"""CORS for the origins in `server.cors.origins`: preflight requests, and response headers. Credentials are not allowed.

Pages may send the headers that SDKs send, and those in `server.cors.headers`.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Message, Send

Headers = list[tuple[bytes, bytes]]

METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
SDK_HEADERS = (
    *("accept", "accept-language", "api-key", "authorization", "baggage", "cache-control", "content-language"),
    *("content-type", "http-referer", "idempotency-key", "last-event-id", "pragma", "sentry-trace", "traceparent"),
    *("tracestate", "user-agent", "x-api-key", "x-request-id", "x-requested-with", "x-title"),
)
SDK_PREFIXES = ("anthropic-", "openai-", "x-goog-", "x-router-", "x-stainless-")
EXPOSED = (
    *("x-router-id", "x-request-id", "x-router-provider", "x-router-model", "x-router-route", "x-router-reason"),
    *("x-router-attempts", "x-router-cache", "x-router-cost-usd", "x-router-dropped", "x-router-mock"),
    *("x-router-overhead-ms", "x-router-upstream-request-id", "openai-model", "openai-organization"),
    *("openai-processing-ms", "openai-version", "retry-after", "retry-after-ms", "x-should-retry"),
)
VARY = (b"vary", b"Origin")  # in every response


class Cors:
    """The response headers for allowed pages; browsers cache a preflight response for `max_age` seconds."""

    def __init__(self, headers: Iterable[str], max_age: float) -> None:
        self._names = frozenset([*SDK_HEADERS, *headers])
        self._prefixes = (*SDK_PREFIXES, *(name[:-1] for name in headers if name.endswith("*")))
        self._max_age = b"%d" % max_age
        self._exposed = ", ".join(EXPOSED).encode()

    async def preflight(self, scope_headers: Iterable[tuple[bytes, bytes]], origin: str, send: Send) -> None:
        """Answer a preflight request of an allowed origin."""
        requested = dict(scope_headers)
        headers = [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", self._allowed(requested.get(b"access-control-request-headers", b""))),
            (b"access-control-max-age", self._max_age),
            (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ]
        if requested.get(b"access-control-request-private-network") == b"true":
            headers.append((b"access-control-allow-private-network", b"true"))
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body"})

    def on_answers(self, send: Send, origin: str | None) -> Send:
        """Return a `send` that adds the CORS headers; `origin` is None without an allowed origin."""
        more: Headers = [VARY]
        if origin is not None:
            allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
            more = [VARY, allowed, (b"access-control-expose-headers", self._exposed)]

        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        return send_with_cors

    def _allowed(self, requested: bytes) -> bytes:
        """Return the requested header names that are allowed."""
        names = [name.strip().lower() for name in requested.decode("latin-1").split(",") if name.strip()]
        return ", ".join(name for name in names if self._may_send(name)).encode("latin-1")

    def _may_send(self, name: str) -> bool:
        return name in self._names or name.startswith(self._prefixes)
