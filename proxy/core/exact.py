"""The exact reader of a JSON object: decodes every value, and says what is wrong where.

`proxy/core/body.py` reads most bodies without it; what that reader does not understand comes here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.spans import Span
from proxy.core.work import exceeds, nested_in

MAX_DEPTH = 128
MAX_MEMBERS = 1000  # at the top
MAX_WORK = 2_000_000  # units of `core/work.py`
SMALL = 1024 * 1024  # bytes that cannot hold much more than `MAX_WORK`
_SPACE = re.compile(r"[ \t\n\r]*")


def _reject_constant(name: str) -> Any:
    raise ValueError(f"`{name}` is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_reject_constant)

Members = tuple[dict[str, Any], dict[str, Span], frozenset[str]]


def parse_exactly(raw: bytes) -> Members:
    """Return the members of a JSON object, their spans, and the names that occur more than once.

    The last of several members with the same name counts, as in `json`. Raises `InvalidRequest` if `raw` is not UTF-8,
    not JSON, not an object, nested deeper than `MAX_DEPTH`, or expensive to read.
    """
    if len(raw) > SMALL:
        check_work(raw)
    try:
        text = raw.decode()
        members, spans, repeated = _members(text)
    except UnicodeDecodeError as exc:
        raise InvalidRequest(f"The body is not UTF-8: byte {exc.start} cannot be decoded.") from exc
    except RecursionError as exc:
        raise InvalidRequest(f"The body is nested too deeply; at most {MAX_DEPTH} levels are accepted.") from exc
    except ValueError as exc:
        reason = getattr(exc, "msg", None) or str(exc)
        place = f" at character {exc.pos}" if isinstance(exc, json.JSONDecodeError) else ""
        raise InvalidRequest(f"The body is not valid JSON: {reason}{place}.") from exc
    if nested_in(raw) > MAX_DEPTH and _depth(members) > MAX_DEPTH:
        raise InvalidRequest(f"The body is nested too deeply; at most {MAX_DEPTH} levels are accepted.")
    if not text.isascii():
        spans = _in_bytes(text, spans)
    return members, spans, frozenset(repeated)


def check_work(raw: bytes) -> None:
    """Raise `InvalidRequest` if a body of more than `SMALL` bytes is expensive to read."""
    if exceeds(raw, MAX_WORK):
        raise InvalidRequest("The body has too many members, items, numbers or strings; send fewer values.")


def _members(text: str) -> tuple[dict[str, Any], dict[str, Span], list[str]]:
    members: dict[str, Any] = {}
    spans: dict[str, Span] = {}
    repeated: list[str] = []
    count = 0
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        _DECODER.decode(text)  # malformed JSON is the better message
        raise InvalidRequest("The body must be a JSON object.")
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        return members, spans, repeated + _end(text, at + 1)
    while True:
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("expected a property name in double quotes", text, at)
        name, after = _DECODER.raw_decode(text, at)
        colon = _skip(text, after)
        if text[colon : colon + 1] != ":":
            raise json.JSONDecodeError("expected ':'", text, colon)
        start = _skip(text, colon + 1)
        value, end = _DECODER.raw_decode(text, start)
        if name in spans:
            repeated.append(name)
        count += 1
        if count > MAX_MEMBERS + 1:
            raise InvalidRequest(f"The body has too many members; at most {MAX_MEMBERS} are accepted.")
        members[name], spans[name] = value, Span(at, start, end)
        at = _skip(text, end)
        if text[at : at + 1] == "}":
            return members, spans, repeated + _end(text, at + 1)
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
    characters = sorted({place for span in spans.values() for place in (span.key, span.value, span.end)})
    offsets, done, total = {}, 0, 0
    for place in characters:
        total += len(text[done:place].encode())
        offsets[place] = total
        done = place
    return {name: Span(offsets[span.key], offsets[span.value], offsets[span.end]) for name, span in spans.items()}
