"""The wire: objects out of bytes, whichever of the three forms they have."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.dialects.gemini import wire as gemini_wire
from proxy.dialects.gemini.wire import Answers, NotAnAnswer, objects_of
from tests.unit.dialects.gemini.build import array, sse

ONE: dict[str, Any] = {"a": 'br{ac]es "in\\" strings', "b": [{"c": {}}]}
TWO: dict[str, Any] = {"d": "ü€😀"}


def pieces(raw: bytes, size: int) -> list[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def read(raw: bytes, size: int = 1) -> tuple[list[dict[str, Any]], Answers]:
    answers = Answers()
    texts = [text for piece in pieces(raw, size) for text in answers.feed(piece)]
    rest = answers.rest()
    return [value for text in [*texts, *([rest] if rest else [])] for value in objects_of(text)], answers


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(
    ("raw", "closed"),
    [
        (sse(ONE, TWO), False),
        (sse(ONE, TWO).replace(b"\r\n", b"\n"), False),
        (sse(ONE, TWO).rstrip(), False),
        (b": hello\r\n\r\n" + sse(ONE, TWO) + b"data: [DONE]\r\n\r\n", True),
        (array(ONE, TWO), True),
        (b"\xef\xbb\xbf \r\n" + array(ONE, TWO) + b"\r\n", True),
        (array(ONE, TWO)[:-1], False),
        (b"event: message\r\n" + sse(ONE, TWO), False),
    ],
)
def test_objects_come_out_whatever_the_form_and_the_cuts(raw: bytes, closed: bool, size: int) -> None:
    found, answers = read(raw, size)

    assert found == [ONE, TWO]
    assert answers.closed is closed


def test_an_array_gives_each_object_as_soon_as_it_is_whole() -> None:
    answers = Answers()

    first = list(answers.feed(b'[{"a":1}'))
    more = list(answers.feed(b',\r\n{"b":2}]'))

    assert (first, more) == ([b'{"a":1}'], [b'{"b":2}'])


def test_an_error_may_stand_between_events_as_bare_json() -> None:
    raw = sse(ONE) + b'{\r\n  "error": {"code": 503}\r\n}\r\n'

    found, _ = read(raw)

    assert found == [ONE, {"error": {"code": 503}}]


@pytest.mark.parametrize(
    "raw",
    [
        b"<!doctype html><html></html>",
        b"Bad Gateway",
        b"nul",
        b"\xff\xfe\x00",
        b'{"a":',
        b'[{"a":1},{"b":',
        b'[{"a":1}, 5]',
        b'{"a":1}garbage',
        b"]",
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"\xc3"}',
        b"data: {half\r\n\r\n",
        b"data: [1,2]\r\n\r\n",
        b"data: 5\r\n\r\n",
        b'{"a":' * 3000,
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
@pytest.mark.parametrize("size", [1, 10_000_000])
def test_what_is_no_answer_is_refused(raw: bytes, size: int) -> None:
    with pytest.raises(NotAnAnswer):
        read(raw, size)


@pytest.mark.parametrize("raw", [b"", b" \r\n", b"[]", b"[", b": only a comment\r\n\r\n", b"data:\r\n\r\n"])
def test_nothing_is_nothing(raw: bytes) -> None:
    assert read(raw)[0] == []


@pytest.mark.parametrize("raw", [b'{"a":"', b'data: {"a":"'])
def test_an_object_that_never_ends_is_refused(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemini_wire, "LIMIT", 1000)

    with pytest.raises(NotAnAnswer):
        read(raw + b"x" * 10_000, 100)
