"""JSON that others wrote is read or passed over; ours is short."""

from __future__ import annotations

import json

import pytest

from proxy.core.json_text import compact, object_of, value_of

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


def test_what_is_written_is_short_and_keeps_every_script() -> None:
    assert compact({"a": [1, "ü"], "b": None}) == '{"a":[1,"ü"],"b":null}'.encode()


def test_half_of_a_surrogate_pair_does_not_stop_the_answer() -> None:
    assert compact("a\ud800b") == b'"a?b"'
