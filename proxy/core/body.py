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

from proxy.core.depth import has_more_brackets, is_deep
from proxy.core.exact import MAX_DEPTH, MAX_MEMBERS, SMALL, check_work, parse_exactly
from proxy.core.spans import Span

D = TypeVar("D")

_NONE: frozenset[str] = frozenset()
_NULL = Raw(b"null")
_SHORTEST_DEEP = 2 * MAX_DEPTH  # bytes; a shorter body cannot be nested deeper than `MAX_DEPTH`
_LONGEST_NUMBER = 640  # digits; Python may refuse to read longer integers (`sys.set_int_max_str_digits`)
_RUNS = ((211, re.compile(rb"[0-9]{3}")), (19, re.compile(rb"[0-9]{33}")))  # see `_may_have_a_long_number`

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

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


class Document(Struct, frozen=True):
    """A parsed body with the spans of its members. The last of several members with the same name counts."""

    body: Body
    spans: dict[str, Span]
    repeated: frozenset[str]


def parse(raw: bytes, *, flat: Collection[str] = ()) -> Document:
    """Read a JSON object. The members in `flat` are known to be nested no deeper than allowed.

    Raises `InvalidRequest` if `raw` is not UTF-8, not JSON, not an object, nested deeper than `MAX_DEPTH`, or has more
    than `MAX_MEMBERS` members or too many values.
    """
    if len(raw) > SMALL:
        check_work(raw)
    members = _members(raw, flat)
    spans = None if members is None else _spans(raw, members)
    if members is None or spans is None:
        values, spans, repeated = parse_exactly(raw)
        return Document(Body(values), spans, repeated)
    return Document(Body(members), spans, _NONE)


def _members(raw: bytes, flat: Collection[str]) -> dict[str, Any] | None:
    """Return the members, undecoded; `None` if the exact reader has to look at the body."""
    size = len(raw)
    if size > _LONGEST_NUMBER and _may_have_a_long_number(raw):
        return None
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not check the encoding of what it does not decode
        members = _split(raw)
        if size > _SHORTEST_DEEP and has_more_brackets(raw, MAX_DEPTH) and _is_deep(members, flat):
            return None
    except (ValueError, RecursionError):
        return None
    return members if len(members) <= MAX_MEMBERS else None


def _is_deep(members: Mapping[str, Raw], flat: Collection[str]) -> bool:
    return any(is_deep(value, MAX_DEPTH - 1) for name, value in members.items() if name not in flat)


def _may_have_a_long_number(raw: bytes) -> bool:
    """Return whether there may be more than `_LONGEST_NUMBER` digits in a row.

    So many digits contain 3 samples in a row of every 211th byte, and 33 of every 19th.
    """
    return all(run.search(raw[::step]) for step, run in _RUNS)


def _spans(raw: bytes, members: dict[str, Raw]) -> dict[str, Span] | None:
    """Return the spans of all members; `None` if a name is repeated or written with escapes.

    Every value is compared with the bytes where it should be. As long as they are equal, the next key is the next
    member's; with a repeated name, there are more members than `members` has, so that the object does not end.
    """
    spans = {}
    match, end = _match_first(raw), 0
    for name, value in members.items():
        if match is None:
            return None
        start = match.end()
        if not raw.startswith(value, start):
            return None
        end = start + len(value)
        spans[name] = Span(match.start(1) - 1, start, end)
        match = _match_next(raw, end)
    return spans if spans and match is None and _match_end(raw, end) else None


def _value_of(raw: Raw) -> Any:
    """Return the value of JSON text, as `json` reads it: msgspec has no infinite numbers, such as 1e400."""
    try:
        return _decode(raw)
    except ValueError:
        return json.loads(bytes(raw).decode())
