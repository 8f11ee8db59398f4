"""Byte-preserving edits of a JSON object: unedited members keep their bytes, including spacing and order.

`parse` reads a body once and records the span of each top-level member; `edit` then cuts and splices. Nothing here
knows what the members mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact
from proxy.core.work import nested_in, skeleton, work_of

MAX_DEPTH = 128
MAX_MEMBERS = 1000  # at the top
MAX_WORK = 2_000_000  # units of `core/work.py`
_SMALL = 1024 * 1024  # bytes that cannot hold much more than `MAX_WORK`
_SPACE = re.compile(r"[ \t\n\r]*")
_BLANK = b" \t\n\r"
_BLANKS = re.compile(rb"[ \t\n\r]*")
_COMMA = ord(",")


class Span(NamedTuple):
    """The byte offsets of a member: its key's opening quote, and its value from `value` to `end`."""

    key: int
    value: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed JSON object and the spans of its members. The last of two equal names counts, as in `json`."""

    value: dict[str, Any]
    spans: dict[str, Span]
    repeated: frozenset[str]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"`{name}` is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def parse(raw: bytes) -> Document:
    """Read a JSON object.

    Raises `InvalidRequest` if it is not UTF-8, not JSON, not an object, or nested deeper than `MAX_DEPTH`.
    """
    nested = nested_in(raw) if len(raw) <= _SMALL else _nested(raw)
    try:
        text = raw.decode()
        value, spans, repeated = _members(text)
    except UnicodeDecodeError as exc:
        raise InvalidRequest(f"The body is not UTF-8: byte {exc.start} cannot be decoded.") from exc
    except RecursionError as exc:
        raise InvalidRequest(f"The body is nested too deeply; at most {MAX_DEPTH} levels are taken.") from exc
    except ValueError as exc:
        reason = getattr(exc, "msg", None) or str(exc)
        place = f" at character {exc.pos}" if isinstance(exc, json.JSONDecodeError) else ""
        raise InvalidRequest(f"The body is not valid JSON: {reason}{place}.") from exc
    if nested > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise InvalidRequest(f"The body is nested too deeply; at most {MAX_DEPTH} levels are taken.")
    if not text.isascii():
        spans = _in_bytes(text, spans)
    return Document(value, spans, frozenset(repeated))


def _nested(raw: bytes) -> int:
    """Count the arrays and objects of a large body. Raises `InvalidRequest` if it is expensive to parse."""
    bare = skeleton(raw)
    if bare is None or work_of(bare) > MAX_WORK:
        raise InvalidRequest("The body has too many members, items, numbers or strings; send fewer values.")
    return nested_in(bare)


def edit(raw: bytes, spans: Mapping[str, Span], replace: Mapping[str, bytes], remove: Collection[str] = ()) -> bytes:
    """Replace or add the values of `replace`, and cut the members of `remove`; the rest stays.

    At least one member must remain. `spans` are those of `parse(raw)`.
    """
    order = sorted(spans.values())
    cuts: list[tuple[int, int, bytes]] = []
    for name, text in replace.items():
        if name in spans:
            cuts.append((spans[name].value, spans[name].end, text))
    added = b"".join(b"," + compact(name) + b":" + text for name, text in replace.items() if name not in spans)
    if added:
        cuts.append((order[-1].end, order[-1].end, added))
    gone = 0
    for span in sorted(spans[name] for name in remove if name in spans):
        start, end = _with_comma(raw, span, gone)
        cuts.append((start, end, b""))
        gone = end
    return b"".join(_apply(raw, sorted(cuts)))


def _with_comma(raw: bytes, span: Span, gone: int) -> tuple[int, int]:
    """Return the span of a member with the comma before it, or with the one after it if there is none beyond `gone`.

    Decided by the bytes beside it, because `spans` lack the first of two members with the same name.
    """
    before = span.key - 1
    while raw[before] in _BLANK:
        before -= 1
    if raw[before] == _COMMA and before >= gone:
        return before, span.end
    after = _BLANKS.match(raw, span.end)
    if after and raw[after.end()] == _COMMA:
        after = _BLANKS.match(raw, after.end() + 1)
        return span.key, after.end() if after else span.end
    return span.key, span.end


def _apply(raw: bytes, cuts: list[tuple[int, int, bytes]]) -> Iterator[bytes]:
    done = 0
    for start, end, text in cuts:
        yield raw[done:start]
        yield text
        done = end
    yield raw[done:]


def _members(text: str) -> tuple[dict[str, Any], dict[str, Span], list[str]]:
    value: dict[str, Any] = {}
    spans: dict[str, Span] = {}
    repeated: list[str] = []
    count = 0
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        _DECODER.decode(text)  # broken JSON is the better message
        raise InvalidRequest("The body must be a JSON object.")
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        return value, spans, repeated + _end(text, at + 1)
    while True:
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("expected a property name in double quotes", text, at)
        name, after = _DECODER.raw_decode(text, at)
        colon = _skip(text, after)
        if text[colon : colon + 1] != ":":
            raise json.JSONDecodeError("expected ':'", text, colon)
        start = _skip(text, colon + 1)
        found, end = _DECODER.raw_decode(text, start)
        if name in spans:
            repeated.append(name)
        count += 1
        if count > MAX_MEMBERS + 1:
            raise InvalidRequest(f"The body has too many members; at most {MAX_MEMBERS} are taken.")
        value[name], spans[name] = found, Span(at, start, end)
        at = _skip(text, end)
        if text[at : at + 1] == "}":
            return value, spans, repeated + _end(text, at + 1)
        if text[at : at + 1] != ",":
            raise json.JSONDecodeError("expected ',' or '}'", text, at)
        at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _end(text: str, at: int) -> list[str]:
    if _skip(text, at) != len(text):
        raise json.JSONDecodeError("something follows the object", text, at)
    return []


def _depth(value: Any) -> int:
    """Return the depth of nesting, counted iteratively so that no input can exhaust the stack."""
    level, depth = [value], 0
    while level:
        depth += 1
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
    return depth


def _in_bytes(text: str, spans: Mapping[str, Span]) -> dict[str, Span]:
    """Convert character offsets to byte offsets, in one pass over the text."""
    places = sorted({place for span in spans.values() for place in span})
    offsets, done, total = {}, 0, 0
    for place in places:
        total += len(text[done:place].encode())
        offsets[place] = total
        done = place
    return {name: Span(*(offsets[place] for place in span)) for name, span in spans.items()}
