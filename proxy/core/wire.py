"""The request to an upstream."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from proxy.core.model import EMPTY, MockOptions


class UpstreamRequest(Struct):
    """The HTTP request of one attempt. Do not modify it after it is made."""

    url: str
    headers: Mapping[str, str]  # usually the same for all requests with one key to one deployment
    content: bytes
    connect_timeout: float
    proxy: str | None = None
    ca: str | None = None  # certificates in PEM that are trusted beside the public roots
    method: str = "POST"
    mock: MockOptions | None = None
    dropped: tuple[str, ...] = ()  # client parameters that the target does not support
    fresh: bool = False  # use a new connection
    asks_usage: bool = False  # contains `stream_options` that the client did not send
    extra_headers: Mapping[str, str] = EMPTY  # of this request alone
    further: tuple[bytes, ...] = ()  # bodies to send after `content`; the answers are joined

    def __repr__(self) -> str:
        """Without headers, bodies and proxy, which may hold secrets."""
        return f"UpstreamRequest({self.method} {self.url})"
