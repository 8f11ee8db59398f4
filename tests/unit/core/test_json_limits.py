"""The limits of Python's JSON reader."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from proxy.core.json_limits import MAX_DIGITS, has_more_brackets, is_deep, may_exceed, may_have_a_long_integer

VALUES = st.recursive(
    st.none() | st.integers() | st.text('a[]{}"\\', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


def depth_of(value: Any) -> int:
    if not isinstance(value, (list, dict)):
        return 0
    return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)


@given(VALUES, st.integers(0, 6))
def test_depth_is_that_of_the_decoded_value(value: Any, levels: int) -> None:
    assert is_deep(Raw(json.dumps(value).encode()), levels) == (depth_of(value) > levels)


@pytest.mark.parametrize("inner", [b"1", b'"[["', b"{}"])
def test_value_is_deep_beyond_the_limit_only(inner: bytes) -> None:
    levels = 50 + (inner == b"{}")
    value = Raw(b'[{"a":' * 25 + inner + b"}]" * 25)

    assert not is_deep(value, levels)
    assert is_deep(value, levels - 1)


def test_many_values_side_by_side_are_not_deep() -> None:
    assert not is_deep(Raw(b"[" + b'[[1],{"a":[]}],' * 200 + b"1]"), 4)


@pytest.mark.parametrize(("text", "most", "more"), [(b"[{", 2, False), (b"[{[", 2, True), (b'"{{"', 1, True)])
def test_brackets_are_counted_in_strings_too(text: bytes, most: int, more: bool) -> None:
    assert has_more_brackets(text, most) == more


@given(st.integers(0, 700), st.integers(0, 700))
def test_every_long_integer_is_found(before: int, after: int) -> None:
    value = Raw(b'["' + b"x" * before + b'",' + b"1" * (MAX_DIGITS + 1) + b',"' + b"x" * after + b'"]')

    assert may_have_a_long_integer(value)
    assert may_exceed(value, 1)


@pytest.mark.parametrize("text", [b"12345," * 5000, b"[1]," * 5000, b"0123456789abcdef" * 5000, b"1" * MAX_DIGITS])
def test_usual_digits_are_no_long_integer(text: bytes) -> None:
    assert not may_have_a_long_integer(Raw(text))
