"""Units of work to read JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.work import MAX_STRINGS, MEMBER_WORK, NESTED_WORK, NUMBER_WORK, exceeds, skeleton, work_of

MOST = 10_000


@pytest.mark.parametrize(
    ("value", "work"),
    [
        (b"0,", 1),
        (b"[],", NESTED_WORK + 1),
        (b'{"a":0},', NESTED_WORK + MEMBER_WORK + 1),
        (b"1.5,", NUMBER_WORK + 1),
        (b"1E5,", NUMBER_WORK + 1),
        (b"1.5e5,", 2 * NUMBER_WORK + 1),
    ],
)
def test_values_are_weighed_by_their_punctuation(value: bytes, work: int) -> None:
    times = MOST // work

    assert not exceeds(value * (times // 2), MOST)
    assert exceeds(value * (times + 1), MOST)


@pytest.mark.parametrize("text", [b",:[{" * MOST, b'\\",' * MOST, b"\\\\", b"1.5e5," * MOST])
def test_punctuation_in_a_string_is_no_work(text: bytes) -> None:
    assert not exceeds(b'["' + text + b'",1]', MOST)


def test_strings_are_counted_too() -> None:
    assert exceeds(b'"",' * (MAX_STRINGS + 1), 10**9)


def test_many_long_integers_are_found_in_a_large_text() -> None:
    assert exceeds((b"1" * 600 + b",") * 30_000, 2_000_000)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('a"\\\\,:[{1.5e', max_size=9),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_text_within_the_upper_bound_does_not_exceed_the_limit(value: Any) -> None:
    raw = json.dumps(value).encode()
    bare = skeleton(raw)
    assert bare is not None
    work = work_of(bare)

    assert not exceeds(raw, work)
    assert exceeds(raw, work - 1)
