"""Byte-preserving edits of a JSON object: unedited members keep their bytes, including spacing and order."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from operator import attrgetter

from msgspec import Struct

from proxy.core.json_text import compact

_BLANK = b" \t\n\r"
_BLANKS = re.compile(rb"[ \t\n\r]*")
_COMMA = ord(",")
_end = attrgetter("end")


class Span(Struct, frozen=True, order=True, gc=False):
    """The byte offsets of a member: its key's opening quote, and its value from `value` to `end`."""

    key: int
    value: int
    end: int


def edit(raw: bytes, spans: Mapping[str, Span], replace: Mapping[str, bytes], remove: Collection[str] = ()) -> bytes:
    """Replace or add the values of `replace`, and cut the members of `remove`; the rest stays.

    At least one member must remain. `spans` are those of `raw`.
    """
    cuts: list[tuple[int, int, bytes]] = []
    added = b""
    for name, text in replace.items():
        span = spans.get(name)
        if span is None:
            added += b"," + compact(name) + b":" + text
        else:
            cuts.append((span.value, span.end, text))
    if added:
        end = max(spans.values(), key=_end).end
        cuts.append((end, end, added))
    if remove:
        cuts += _removed(raw, sorted(spans[name] for name in remove if name in spans))
    cuts.sort()
    pieces: list[bytes | memoryview] = []
    view, done = memoryview(raw), 0
    for start, end, text in cuts:
        pieces += (view[done:start], text)
        done = end
    return b"".join((*pieces, view[done:])) if pieces else raw


def _removed(raw: bytes, spans: Iterable[Span]) -> list[tuple[int, int, bytes]]:
    cuts, end = [], 0
    for span in spans:
        start, end = _with_comma(raw, span, end)
        cuts.append((start, end, b""))
    return cuts


def _with_comma(raw: bytes, span: Span, removed: int) -> tuple[int, int]:
    """Return the range of a member with the comma before it, or the one after it if there is none after `removed`.

    The bytes beside the member decide, because `spans` lack the first of two members with the same name.
    """
    before = span.key - 1
    while raw[before] in _BLANK:
        before -= 1
    if raw[before] == _COMMA and before >= removed:
        return before, span.end
    after = _BLANKS.match(raw, span.end)
    if after and raw[after.end()] == _COMMA:
        after = _BLANKS.match(raw, after.end() + 1)
        return span.key, after.end() if after else span.end
    return span.key, span.end
