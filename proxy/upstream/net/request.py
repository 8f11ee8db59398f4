"""The head of a request and its destination, prepared once for each URL and set of headers."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from proxy import __version__
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.wire import UpstreamRequest
from proxy.upstream.net.faults import connect_failure

MAX_PREPARED = 512  # heads in memory

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_NOT_IN_VALUES = re.compile(r"[\x00\r\n]")
_SAFE = "!#$%&'()*+,/:;=?@[]~"
_DEFAULTS = {"user-agent": f"signalbox/{__version__}", "accept-encoding": "identity"}
_FRAMING = ("connection", "content-length", "host", "transfer-encoding")


class Origin(NamedTuple):
    """The destination of a connection and the CA that it trusts. A connection is only used for its own origin."""

    tls: bool
    host: str
    port: int
    ca: str | None  # a private CA in PEM


class Prepared(NamedTuple):
    """A head without extra headers, `content-length` and the empty line at its end."""

    origin: Origin
    head: bytes


class Heads:
    """Prepares heads and caches them."""

    def __init__(self) -> None:
        self._prepared: dict[tuple[object, ...], Prepared] = {}

    def get(self, request: UpstreamRequest) -> Prepared:
        """Return the origin and the head of a request.

        Raises `UpstreamFailure` for a URL or host name that is not valid, and `ValueError` for a header that must not
        be sent.
        """
        key = (request.method, request.url, request.ca, *request.headers.items())
        prepared = self._prepared.get(key)
        if prepared is None:
            if len(self._prepared) >= MAX_PREPARED:
                self._prepared.clear()
            prepared = self._prepared[key] = prepare(request)
        return prepared


def prepare(request: UpstreamRequest) -> Prepared:
    """Return the origin and the head of a request; raises as `Heads.get` does."""
    try:
        parts = urlsplit(request.url)
        name, port = parts.hostname, parts.port
    except ValueError:
        name = None
    if name is None or parts.scheme not in ("http", "https"):
        raise UpstreamFailure(FailureKind.CONNECT, "the URL of the upstream is not valid", cause="url")
    tls = parts.scheme == "https"
    host = name if name.isascii() else _idna(name)
    port = port or (443 if tls else 80)
    shown = f"[{host}]" if ":" in host else host
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"{request.method} {quote(path, safe=_SAFE)} HTTP/1.1",
        f"host: {shown}" if port == (443 if tls else 80) else f"host: {shown}:{port}",
        *_fields({**_DEFAULTS, **request.headers}),
        "",
    ]
    return Prepared(Origin(tls, host, port, request.ca), "\r\n".join(lines).encode("latin-1"))


def _idna(host: str) -> str:
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise connect_failure(socket.gaierror(socket.EAI_NONAME, "the name is not valid")) from None


def framed(head: bytes, request: UpstreamRequest) -> bytes:
    """Return the whole head of a prepared one. Raises `ValueError` for an extra header that must not be sent."""
    if request.extra_headers:
        head += "".join(f"{line}\r\n" for line in _fields(request.extra_headers)).encode("latin-1")
    if request.method == "GET" and not request.content:
        return head + b"\r\n"
    return b"%bcontent-length: %d\r\n\r\n" % (head, len(request.content))


def _fields(headers: Mapping[str, str]) -> list[str]:
    lines = []
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _FRAMING:
            raise ValueError("a header of a request to an upstream has an invalid or reserved name")
        if _NOT_IN_VALUES.search(value):
            raise ValueError(f"the header `{name}` of a request to an upstream has a line break or a null character")
        lines.append(f"{name}: {value}")
    return lines
