"""Edits of a body change nothing else, however the body is written."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.body import parse
from proxy.core.errors import InvalidRequest
from proxy.core.exact import MAX_DEPTH, parse_exactly
from proxy.core.spans import edit

SPACES = ["", "", "", " ", "\n", "\r\n\t ", "    "]
CHARACTERS = [*'ab"\\/{}[]:, \t\n\x00\x7f\u2028é日😀', "\ud83d", "\udc00", "\uffff"]
SCALARS = ["null", "true", "false", "0", "-0", "-0.0", "1.50e+00", "1E5", "12345678901234567890", "1e999", "[]", "{ }"]
NAMES = ["model", "router", "stream_options", "stream", "messages", "a", "", "é", "model2", "\ud83d", "😀"]


@dataclass(frozen=True)
class Member:
    """One top-level member: its name, and its texts before, of and after the value."""

    name: str
    before: str
    value: str
    after: str


class Author:
    """Writes JSON in every way that JSON can be written; a seed says which."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def space(self) -> str:
        return self.dice.choice(SPACES)

    def string(self, text: str | None = None) -> str:
        """A string, with some of its characters escaped although they need not be."""
        if text is None:
            text = "".join(self.dice.choices(CHARACTERS, k=self.dice.randrange(7)))
        return '"' + "".join(self.character(char) for char in text) + '"'

    def character(self, char: str) -> str:
        must = char in '"\\' or char < " " or "\ud800" <= char <= "\udfff"
        if not must and self.dice.randrange(3):
            return char
        return f"\\u{ord(char):04X}" if char.isalnum() and char.isascii() else json.dumps(char)[1:-1]

    def value(self, depth: int = 3) -> str:
        kind = self.dice.randrange(6 if depth else 3)
        if kind < 2:
            return self.dice.choice(SCALARS)
        if kind == 2:
            return self.string()
        count = self.dice.randrange(4)
        if kind == 3:
            items = [self.space() + self.value(depth - 1) + self.space() for _ in range(count)]
            return "[" + ",".join(items) + "]" if items else "[" + self.space() + "]"
        names = self.dice.choices(NAMES, k=count)
        return (
            "{" + ",".join(member.before + member.value + member.after for member in self.members(names, depth)) + "}"
        )

    def members(self, names: Sequence[str], depth: int = 4) -> list[Member]:
        return [
            Member(
                name,
                self.space() + self.string(name) + self.space() + ":" + self.space(),
                self.value(depth - 1),
                self.space(),
            )
            for name in names
        ]

    def body(self) -> list[Member]:
        """A body's members; some names stand there twice."""
        return self.members(self.dice.choices(NAMES, k=self.dice.randint(1, 7)))


DAMAGE = [b"", b"\xff", b"9", b'"', b"]", b"}", b",", b"\\"]
SEEDS = st.integers(0, 2**64)


def written(body: list[Member]) -> bytes:
    return ("{" + ",".join(member.before + member.value + member.after for member in body) + "}").encode()


def last_of(body: list[Member], name: str) -> int | None:
    return max((place for place, member in enumerate(body) if member.name == name), default=None)


def contents(raw: bytes) -> list[tuple[str, str]]:
    """The top-level members in order, each with the very text of its value."""
    pairs: list[tuple[str, str]] = json.loads(raw, object_pairs_hook=lambda pairs: pairs)
    text, at, found = raw.decode(), 1, []
    decoder = json.JSONDecoder()
    for name, _ in pairs:
        at = text.index('"', at)
        at = text.index(":", decoder.raw_decode(text, at)[1]) + 1
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n"))
        end = decoder.raw_decode(text, at)[1]
        found.append((name, text[at:end]))
        at = end
    return found


@settings(max_examples=500, deadline=None)
@given(SEEDS)
def test_parse_reads_what_json_reads_with_every_span(seed: int) -> None:
    body = Author(seed).body()
    raw = written(body)

    document = parse(raw)

    names = [member.name for member in body]
    assert document.body == json.loads(raw)
    assert document.repeated == {name for name in names if names.count(name) > 1}
    for name, span in document.spans.items():
        place = last_of(body, name)
        assert place is not None
        assert raw[span.value : span.end].decode() == body[place].value
        assert json.loads(raw[span.key : span.value].rstrip(b" \t\r\n:")) == name


@settings(max_examples=300, deadline=None)
@given(SEEDS)
def test_edit_of_nothing_changes_no_byte(seed: int) -> None:
    raw = written(Author(seed).body())

    assert edit(raw, parse(raw).spans, {}, ("not there",)) == raw


@settings(max_examples=500, deadline=None)
@given(SEEDS)
def test_replacing_a_value_changes_no_other_byte(seed: int) -> None:
    author = Author(seed)
    body, value = author.body(), author.value()
    raw = written(body)
    place = last_of(body, body[0].name)
    assert place is not None

    out = edit(raw, parse(raw).spans, {body[0].name: value.encode()})

    body[place] = replace(body[place], value=value)
    assert out == written(body)


@settings(max_examples=1000, deadline=None)
@given(SEEDS)
def test_edit_keeps_bytes_and_order_of_the_other_members(seed: int) -> None:
    author = Author(seed)
    body = author.body()
    edits = {name: author.value() for name in author.dice.sample([*NAMES, "new", "newer"], k=author.dice.randrange(4))}
    stays = author.dice.choice(body).name  # one member remains, since an empty object has nothing to add to
    removable = {member.name for member in body} - {stays} - set(edits)
    remove = {name for name in removable if author.dice.randrange(2)}
    raw = written(body)

    out = edit(raw, parse(raw).spans, {name: value.encode() for name, value in edits.items()}, remove)

    last = {member.name: place for place, member in enumerate(body)}
    expected = [
        (member.name, edits.get(member.name, member.value) if last[member.name] == place else member.value)
        for place, member in enumerate(body)
        if not (member.name in remove and last[member.name] == place)
    ]
    added = [(name, value) for name, value in edits.items() if name not in last]
    expected += [(name.encode("utf-8", "replace").decode(), value) for name, value in added]  # half a pair is a `?`
    assert contents(out) == expected


def outcome_of(raw: bytes) -> tuple[object, ...]:
    """What `parse` returns, with the types of all values, or its error."""
    try:
        document = parse(raw)
    except InvalidRequest as rejected:
        return (str(rejected),)
    return repr(dict(document.body)), document.spans, document.repeated


def exact_outcome_of(raw: bytes) -> tuple[object, ...]:
    try:
        members, spans, repeated = parse_exactly(raw)
    except InvalidRequest as rejected:
        return (str(rejected),)
    return repr(members), spans, repeated


@settings(max_examples=1000, deadline=None)
@given(SEEDS)
def test_fast_and_exact_reader_agree(seed: int) -> None:
    author = Author(seed)
    raw = bytearray(written(author.body()))
    for _ in range(author.dice.choice([0, 0, 1, 2])):  # damage
        place = author.dice.randrange(len(raw))
        raw[place : place + author.dice.randrange(2)] = author.dice.choice(DAMAGE)

    assert outcome_of(bytes(raw)) == exact_outcome_of(bytes(raw))


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.floats() | st.integers() | st.text(max_size=5) | st.none(), max_size=4))
def test_scalars_are_read_exactly(members: dict[str, object]) -> None:
    raw = json.dumps(members, ensure_ascii=False).encode("utf-8", "replace")

    assert outcome_of(raw) == exact_outcome_of(raw)


@settings(max_examples=200, deadline=None)
@given(SEEDS, st.integers(MAX_DEPTH - 8, MAX_DEPTH + 4))
def test_both_readers_allow_the_same_depth(seed: int, levels: int) -> None:
    author = Author(seed)
    body = author.body()
    inner = author.value()
    for _ in range(levels):
        other = author.value(1)
        around = [f"[{inner}]", f"[{other},{inner}]", f'{{"a":{inner}}}', f'{{"a":{inner},"a":{other}}}']
        inner = author.dice.choice(around)
    raw = written([*body, replace(body[0], value=inner)])

    assert outcome_of(raw) == exact_outcome_of(raw)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text('{}[]":,\\ u0\n1eE+-.tfn', max_size=40).map(str.encode)))
def test_other_text_raises_invalid_request_only(raw: bytes) -> None:
    try:
        body = parse(raw).body
    except InvalidRequest:
        return

    assert body == json.loads(raw)
