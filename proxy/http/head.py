"""The head of a request: the names of its headers, and its ASGI scope."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import httptools

Fields = list[tuple[bytes, bytes]]

_NAMES = 1000  # that are kept
_LONGEST = 64  # bytes of such a name


class Names(dict[bytes, str]):
    """The names of headers in lower case, by the bytes that clients send. The first ones are kept."""

    def __missing__(self, raw: bytes) -> str:
        name = raw.decode("latin-1").lower()
        if len(self) < _NAMES and len(raw) <= _LONGEST:
            self[raw] = name
        return name


def fields_of(head: bytes) -> Fields:
    """Return the headers of a valid head in their order, with lower-case names."""
    fields: Fields = []
    collector = SimpleNamespace(on_header=lambda name, value: fields.append((name.lower(), value)))
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
