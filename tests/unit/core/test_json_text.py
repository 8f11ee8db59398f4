"""JSON that others wrote is read or passed over; ours is short."""

from __future__ import annotations

import json
import math
import sys

import pytest

from proxy.core.json_text import (
    NotStrict,
    compact,
    compact_nulled,
    loads,
    object_of,
    strict_object_of,
    strict_value_of,
    value_of,
)

NO_JSON = [b"", b" ", b"{", b"\xff", b"[" * 100_000, "{'a': 1}"]


@pytest.mark.parametrize("text", NO_JSON)
def test_what_is_no_json_has_no_value(text: bytes | str) -> None:
    assert value_of(text) is None


@pytest.mark.parametrize("value", [{"a": [1, None]}, [], "text", 0, False])
def test_json_has_its_value_be_it_bytes_or_text(value: object) -> None:
    text = json.dumps(value)

    assert value_of(text) == value_of(text.encode()) == value


@pytest.mark.parametrize("text", [*NO_JSON, b"[]", b"null", b'"text"', b"7"])
def test_what_is_no_object_is_none(text: bytes | str) -> None:
    assert object_of(text) is None


def test_an_object_is_read_even_an_empty_one() -> None:
    assert (object_of(b"{}"), object_of('{"a": {}}')) == ({}, {"a": {}})


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"[]," * 1_500_000 + b"[]]",
        b"{" + b'"a":1,' * 500_000 + b'"a":1}',
        b"[" + b"1," * 9_000_000 + b"1]",
        "[" + "{}," * 1_500_000 + "{}]",
    ],
    ids=["lists", "members", "items", "objects in text"],
)
def test_a_text_of_very_many_values_has_none(text: bytes | str) -> None:
    assert value_of(text) is None


def test_a_large_text_in_a_string_is_read() -> None:
    value = {"a": ':,[{\\"' * 500_000, "b": [0.5] * 100_000}

    assert value_of(json.dumps(value)) == value


@pytest.mark.parametrize("digits", [640, 641, 2000, 4000, 4300, 5000])
def test_an_integer_of_any_length_is_read(digits: int) -> None:
    """Whatever number of digits the server lets Python read."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        found = [value_of(f'{{"a": {sign}{"9" * digits}}}') for sign in ("", "-")]
    finally:
        sys.set_int_max_str_digits(before)

    assert found[0]["a"] >= 10**300
    assert found[1]["a"] <= -(10**300)


def test_what_is_written_is_short_and_keeps_every_script() -> None:
    assert compact({"a": [1, "ü"], "b": None}) == '{"a":[1,"ü"],"b":null}'.encode()


def test_half_of_a_surrogate_pair_does_not_stop_the_answer() -> None:
    assert compact("a\ud800b") == b'"a?b"'


STRICT = [('{"a": [1, 1.5, "NaN"]}', {"a": [1, 1.5, "NaN"]}), ("7", 7), ('"[[["', "[[["), ("[" * 99 + "]" * 99, None)]
NOT_STRICT = ['{"x": NaN}', "[Infinity]", "[-Infinity]", "[1e999]", "[-1e999]", "[" * 200 + "]" * 200, "9" * 5000]


@pytest.mark.parametrize(("text", "value"), STRICT)
def test_what_strict_json_has_is_read(text: str, value: object) -> None:
    found = strict_value_of(text)

    assert found == (json.loads(text) if value is None else value)


@pytest.mark.parametrize("text", [*NOT_STRICT, "{", ""])
def test_what_could_not_be_written_again_is_not_read(text: str) -> None:
    assert strict_value_of(text) is None


@pytest.mark.parametrize("text", ["[1]", "7", '{"x": NaN}'])
def test_only_an_object_is_a_strict_object(text: str) -> None:
    assert strict_object_of(text) is None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_lacks_is_not_written(number: float) -> None:
    with pytest.raises(NotStrict):
        compact({"x": [number]})

    assert compact_nulled({"x": [number, 1.5], "y": (True,)}) == b'{"x":[null,1.5],"y":[true]}'


def test_a_value_that_is_expensive_to_read_is_left_as_text() -> None:
    members = b"{%s}" % b",".join(b'"k%d":1' % place for place in range(30_000))

    assert strict_value_of(members.decode()) is None
    assert strict_value_of(compact({"code": members.decode() * 3}).decode()) is not None


@pytest.mark.parametrize("start", [b"data: ", b"\n <", b"1"])
def test_a_large_text_that_is_no_object_fails_unweighed(start: bytes) -> None:
    text = start + b'{"a":1},' * 1_000_000

    with pytest.raises(json.JSONDecodeError):
        loads(text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-16"])
def test_a_large_text_of_too_many_values_is_rejected_unread(encoding: str) -> None:
    text = ("[" + '{"a":1},' * 1_000_000 + "1]").encode(encoding)

    with pytest.raises(ValueError, match="too many values"):
        loads(text)
