"""The client's body, a JSON object: checked and split into its top-level members, which are decoded when they are read.

    parse(raw)   ->  Document: body, spans, repeated
    body["n"]    ->  decodes this member, once

msgspec checks the JSON and splits it without building objects. A body that it rejects, or might read in another way
than `json`, goes to `proxy/core/exact.py`, so that both accept the same bodies with the same values. Nothing here knows
what the members mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar, overload

from msgspec import Raw, Struct
from msgspec.json import Decoder

from proxy.core.exact import MAX_DEPTH, MAX_MEMBERS, SMALL, check_work, parse_exactly
from proxy.core.json_limits import MAX_DIGITS, may_exceed
from proxy.core.spans import Span

D = TypeVar("D")

_NONE: frozenset[str] = frozenset()
_NULL = Raw(b"null")
_SAFE_SIZE = min(2 * MAX_DEPTH - 2, MAX_DIGITS)  # bytes of a value that is too short to exceed a limit

_split = Decoder(dict[str, Raw]).decode
_decode = Decoder().decode
_MEMBER = r'[ \t\n\r]*"([^"\\]*)"[ \t\n\r]*:[ \t\n\r]*'
_match_first = re.compile(rb"[ \t\n\r]*\{" + _MEMBER.encode()).match
_match_next = re.compile(rb"[ \t\n\r]*," + _MEMBER.encode()).match
_match_end = re.compile(rb"[ \t\n\r]*\}[ \t\n\r]*").fullmatch


class Body(Mapping[str, Any]):
    """The members of a body by name. Iterating, counting and `in` decode nothing; do not modify the values."""

    __slots__ = ("_members",)

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members  # a `Raw` is a value that has not been decoded yet

    def __getitem__(self, name: str) -> Any:
        value = self._members[name]
        if type(value) is Raw:
            value = self._members[name] = _value_of(value)
        return value

    @overload
    def get(self, name: str, /) -> Any: ...
    @overload
    def get(self, name: str, /, default: D) -> Any | D: ...
    def get(self, name: str, /, default: Any = None) -> Any:
        """Return the value of a member, `default` if there is none."""
        value = self._members.get(name, default)
        if type(value) is Raw:
            value = self._members[name] = _value_of(value)
        return value

    def is_null(self, name: str) -> bool:
        """Return whether a member is missing or null, without decoding it."""
        value = self._members.get(name)
        return value is None or (type(value) is Raw and value == _NULL)

    def pop(self, name: str) -> Any:
        """Remove a member and return its value, `None` if there is none."""
        value = self._members.pop(name, None)
        return _value_of(value) if type(value) is Raw else value

    def overlaid(self, values: Mapping[str, Any]) -> Body:
        """Return a body with these values in place of its own; it decodes nothing."""
        return Body({**self._members, **values})

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def overlaid(body: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a body with these values in place of its own, and decode nothing that it has not decoded yet."""
    if not values:
        return body
    return body.overlaid(values) if isinstance(body, Body) else {**body, **values}


class Document(Struct, frozen=True):
    """A parsed body with the spans of its members. The last of several members with the same name counts."""

    body: Body
    spans: dict[str, Span]
    repeated: frozenset[str]


def parse(raw: bytes, *, checked: Collection[str] = ()) -> Document:
    """Read a JSON object. The members in `checked` are known to be within the limits of `proxy/core/json_limits.py`.

    Raises `InvalidRequest` if `raw` is not UTF-8, not JSON, not an object, nested deeper than `MAX_DEPTH`, or has more
    than `MAX_MEMBERS` members or too many values.
    """
    if len(raw) > SMALL:
        check_work(raw)
    plain = _plain(raw, checked)
    if plain is None:
        values, spans, repeated = parse_exactly(raw)
        return Document(Body(values), spans, repeated)
    members, spans = plain
    return Document(Body(members), spans, _NONE)


def _plain(raw: bytes, checked: Collection[str]) -> tuple[dict[str, Any], dict[str, Span]] | None:
    """Return the members, undecoded, and their spans; `None` if the exact reader has to look at the body.

    The spans are those of a compact body: `{"name":value,"name":value}`. If the body is as long as that, there is
    nothing else in it: no blanks, no repeated name, and none that is written with escapes.
    """
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not check the encoding of what it does not decode
        members = _split(raw)
        if not 0 < len(members) <= MAX_MEMBERS:
            return None
        spans: dict[str, Span] | None
        spans, at = {}, 1
        for name, value in members.items():
            size = len(value)
            if size > _SAFE_SIZE and name not in checked and may_exceed(value, MAX_DEPTH - 1):
                return None
            start = at + len(name) + 3
            spans[name] = Span(at, start, start + size)
            at = start + size + 1
    except (ValueError, RecursionError):
        return None
    if at != len(raw):
        spans = _spans(raw, members)
    return None if spans is None else (members, spans)


def _spans(raw: bytes, members: dict[str, Raw]) -> dict[str, Span] | None:
    """Find the members in a body that is not compact; `None` if they are not all that it contains.

    Every value is compared with the bytes where it should be. As long as they are equal, the next key is the next
    member's; with a repeated name or one that is written with escapes, the object does not end after `members`.
    """
    spans, match, end = {}, _match_first(raw), 0
    for name, value in members.items():
        if match is None or not raw.startswith(value, start := match.end()):
            return None
        end = start + len(value)
        spans[name] = Span(match.start(1) - 1, start, end)
        match = _match_next(raw, end)
    return spans if match is None and _match_end(raw, end) else None


def _value_of(raw: Raw) -> Any:
    """Return the value of JSON text, as `json` reads it: msgspec has no infinite numbers, such as 1e400."""
    try:
        return _decode(raw)
    except ValueError:
        return json.loads(bytes(raw).decode())
