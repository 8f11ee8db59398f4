"""The request to an upstream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.core.model import EMPTY, MockOptions


@dataclass(slots=True)
class UpstreamRequest:
    """The HTTP request of one attempt. Do not modify it after it is made."""

    url: str
    headers: Mapping[str, str] = field(repr=False)  # usually the same for all requests with one key to one deployment
    content: bytes = field(repr=False)
    connect_timeout: float
    proxy: str | None = field(default=None, repr=False)
    ca: str | None = field(default=None, repr=False)  # certificates in PEM that are trusted beside the public roots
    method: str = "POST"
    mock: MockOptions | None = None
    dropped: tuple[str, ...] = ()  # client parameters that the target does not support
    fresh: bool = False  # use a new connection
    asks_usage: bool = False  # contains `stream_options` that the client did not send
    extra_headers: Mapping[str, str] = field(default_factory=lambda: EMPTY, repr=False)  # of this request alone
    further: tuple[bytes, ...] = field(default=(), repr=False)  # bodies to send after `content`; the answers are joined
