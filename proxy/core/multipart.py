"""Finds the fields of a `multipart/form-data` body without copying or rewriting it (RFC 7578).

It returns the byte offsets of the values of plain fields, so that one can be replaced while the rest is unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxy.core.errors import InvalidRequest
from proxy.core.spans import Span

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.I)
_FOLD = re.compile(rb"\r\n[ \t]+")  # a header that continues in the next line
_NAME = re.compile(rb"""^content-disposition:[^\r\n]*?[;\s]name=(?:"([^"\r\n]*)"|([^\s;"]+))""", re.I | re.M)
_FILE = re.compile(rb"^content-disposition:[^\r\n]*?[;\s]filename\*?=", re.I | re.M)
MOST_PARTS = 256
LONGEST_HEAD = 8 * 1024  # bytes of a part's headers
LONGEST_CONTENT_TYPE = 1024
LONGEST_VALUE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Form:
    """The plain fields of a form: their values, offsets, and repeated names."""

    values: dict[str, str]
    spans: dict[str, Span]
    repeated: frozenset[str]


def boundary_of(content_type: str) -> bytes:
    """Return the boundary of a content type. Raises `InvalidRequest` without one."""
    match = _BOUNDARY.search(content_type[:LONGEST_CONTENT_TYPE])
    if not content_type.lower().startswith("multipart/form-data") or match is None:
        raise InvalidRequest("The content type must be multipart/form-data with a boundary.", param="content-type")
    return (match[1] or match[2]).encode("latin-1", "replace")


def parse_form(raw: bytes, content_type: str) -> Form:
    """Parse a form. Raises `InvalidRequest` if it is incomplete or has too many parts."""
    delimiter = b"--" + boundary_of(content_type)
    values: dict[str, str] = {}
    spans: dict[str, Span] = {}
    repeated: set[str] = set()
    at = raw.find(delimiter)
    for _ in range(MOST_PARTS):
        if at < 0:
            raise InvalidRequest("The form is incomplete: its last boundary is missing.")
        start = at + len(delimiter)
        if raw.startswith(b"--", start):
            return Form(values, spans, frozenset(repeated))
        head = raw.find(b"\r\n\r\n", start)
        end = raw.find(b"\r\n" + delimiter, start)
        if head < 0 or end < head + 4:
            raise InvalidRequest("The form is incomplete: a part has no end.")
        if head - start > LONGEST_HEAD:
            raise InvalidRequest(f"The form has a part with more than {LONGEST_HEAD} bytes of headers.")
        _field(raw, start, head + 4, end, values, spans, repeated)
        at = end + 2
    raise InvalidRequest(f"The form has more than {MOST_PARTS} parts.")


def _field(
    raw: bytes, start: int, value: int, end: int, values: dict[str, str], spans: dict[str, Span], repeated: set[str]
) -> None:
    head = _FOLD.sub(b" ", raw[start:value])
    match = _NAME.search(head)
    if match is None or _FILE.search(head) or end - value > LONGEST_VALUE:
        return
    name = (match[1] if match[1] is not None else match[2]).decode("utf-8", "replace")
    if name in values:
        repeated.add(name)
    values[name] = raw[value:end].decode("utf-8", "replace")
    spans[name] = Span(start, value, end)
