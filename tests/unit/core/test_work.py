"""What reading JSON costs, counted before it is read."""

from __future__ import annotations

import pytest

from proxy.core.work import MAX_STRINGS, MEMBER_WORK, NESTED_WORK, NUMBER_WORK, exceeds

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
def test_what_is_inside_of_a_string_is_no_work(text: bytes) -> None:
    assert not exceeds(b'["' + text + b'",1]', MOST)


def test_strings_are_counted_too() -> None:
    assert exceeds(b'"" ' * (MAX_STRINGS + 1), 10**9)


def test_many_long_integers_are_found_in_a_large_text() -> None:
    assert exceeds((b"1" * 600 + b",") * 30_000, 2_000_000)
