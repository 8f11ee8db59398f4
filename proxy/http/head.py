"""The head of a request: its limits, the names of its headers, and its ASGI scope."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import httptools

from proxy.core.errors import HeadTooLarge, InvalidRequest, ProxyError, UriTooLong

Fields = list[tuple[bytes, bytes]]

MAX_HEAD = 64 * 1024
MAX_LINE = 16 * 1024  # of the request line
MAX_BLANK = 8  # bytes of empty lines before a request
_NAMES = 1000  # that are kept
_LONGEST = 64  # bytes of such a name


class Names(dict[bytes, str]):
    """The names of headers in lower case, by the bytes that clients send. The first ones are kept."""

    def __missing__(self, raw: bytes) -> str:
        name = raw.decode("latin-1").lower()
        if len(self) < _NAMES and len(raw) <= _LONGEST:
            self[raw] = name
        return name


def head_error(data: bytearray, end: int, blank: int) -> ProxyError | None:
    """Return the error of a head at the start of `data`, if any. It ends at `end`, or is incomplete (-1).

    `blank` is the number of bytes of empty lines that came before it.
    """
    if blank > MAX_BLANK:
        return InvalidRequest("The request is not valid HTTP: too many empty lines before it.")
    size = end if end >= 0 else len(data)
    if size > MAX_LINE and data.find(b"\r\n", 0, MAX_LINE) < 0:
        return UriTooLong(f"The request line is longer than {MAX_LINE} bytes.")
    if size > MAX_HEAD:
        return HeadTooLarge(f"The request's headers are larger than {MAX_HEAD} bytes.")
    return None


def fields_of(head: bytes) -> Fields:
    """Return the headers of a valid head in their order, with lower-case names."""
    fields: Fields = []
    collector = SimpleNamespace(on_header=lambda name, value: fields.append((name.lower(), value)))
    with suppress(httptools.HttpParserUpgrade):  # `CONNECT`
        httptools.HttpRequestParser(collector).feed_data(head)
    return fields


def scope_of(method: bytes, url: bytes, version: str, fields: Fields) -> dict[str, Any]:
    """Return the ASGI scope of a request. Raises `ValueError` or `HttpParserError` if its target is not valid."""
    if url[:1] not in (b"/", b"*"):
        _check_authority(url, fields)
    target = httptools.parse_url(url)
    raw_path = target.path or b"/"  # `http://host` has none
    path = raw_path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "method": method.decode("ascii"),
        "scheme": "http",
        "path": unquote(path) if "%" in path else path,
        "raw_path": raw_path,
        "query_string": target.query or b"",
        "root_path": "",
        "headers": fields,
    }


def _check_authority(url: bytes, fields: Fields) -> None:
    """Raise `ValueError` if a target as `http://host/path` names another host than `Host` (RFC 9112 section 3.2.2)."""
    authority = url.partition(b"://")[2].partition(b"/")[0].lower()
    if any(name == b"host" and value.lower() != authority for name, value in fields):
        raise ValueError("the target and `Host` differ")
