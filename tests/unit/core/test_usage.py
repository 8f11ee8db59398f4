"""Reported tokens: read as what they can be, and only growing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.usage import UNKNOWN_WINDOW, Media, Usage, UsageBounds, bounded, bounds_of, count, grow, grown, total
from proxy.dialects.openai.plain import JsonDecoder
from proxy.dialects.openai.stream import StreamDecoder
from tests.support.calls import deployment


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3),
        (0, 0),
        (-3, -3),
        (10**4000, 10**4000),
        (3.0, 3),
        (3.9, 3),
        (1e300, 10**18),
        (float("inf"), 10**18),
        (float("-inf"), -1),
        (float("nan"), None),
        (True, None),
        (None, None),
        ("3", None),
        ([3], None),
    ],
)
def test_a_count_is_a_number_and_nothing_else(value: Any, number: int | None) -> None:
    assert count(value) == number


@pytest.mark.parametrize(
    ("usage", "made"),
    [
        (Usage(100, 50, 60, 40, 50), Usage(100, 50, 60, 40, 50)),
        (Usage(101, 50), Usage(100, 50, source="clamped")),
        (Usage(100, 51), Usage(100, 50, source="clamped")),
        (Usage(10**12, 10**4000, 10**12, 10**12, 10**12), Usage(100, 50, 100, 0, 50, source="clamped")),
        (Usage(-1, -1, -1, -1, -1), Usage(source="clamped")),
        (Usage(10, 10, 20, 5, 20), Usage(10, 10, 10, 0, 10)),  # parts beside the whole, as some providers count
        (Usage(10, 10, 101), Usage(10, 10, 10, source="clamped")),
        (Usage(10, 10, reasoning=51), Usage(10, 10, reasoning=10, source="clamped")),
        (Usage(10, 10, source="estimated"), Usage(10, 10, source="estimated")),
    ],
)
def test_usage_is_clamped_to_its_bounds(usage: Usage, made: Usage) -> None:
    assert bounded(usage, UsageBounds(100, 50)) == made


@pytest.mark.parametrize(
    ("fields", "body", "size", "bounds"),
    [
        ({}, {}, 10, (UNKNOWN_WINDOW, UNKNOWN_WINDOW)),
        ({"context_window": 1000}, {}, 10, (1000, 1000)),
        ({"context_window": 1000}, {}, 5000, (5000, 1000)),
        ({"context_window": 1000, "max_output": 100}, {}, 10, (1000, 100)),
        ({"context_window": 1000, "max_output": 100}, {"max_tokens": 300}, 10, (1000, 300)),
        ({"context_window": 1000, "max_output": 100}, {"max_completion_tokens": 10**12}, 10, (1000, 100)),
        ({"context_window": 1000, "max_output": 100}, {"max_tokens": True, "n": True}, 10, (1000, 100)),
        ({"context_window": 1000, "max_output": 100}, {"n": 3}, 10, (1000, 300)),
        ({"context_window": 1000, "max_output": 100}, {"n": 2, "best_of": 4}, 10, (1000, 400)),
        ({"context_window": 1000}, {"input": ["a", "b", "c"]}, 10, (3000, 3000)),
        ({"context_window": 1000, "max_output": 100}, {"prompt": ["a", "b"]}, 10, (2000, 200)),
        ({"context_window": 1000}, {"input": []}, 10, (1000, 1000)),
        ({}, {"input": ["a"] * 2048}, 10_000, (84_096, 2048 * UNKNOWN_WINDOW)),
        ({}, {"prompt": "a"}, 10, (4176, UNKNOWN_WINDOW)),
        ({}, {"input": [1, 2, 3]}, 10, (4176, 3 * UNKNOWN_WINDOW)),
        ({}, {"input": [{"image": "https://x.test"}]}, 10, (UNKNOWN_WINDOW, UNKNOWN_WINDOW)),
        ({}, {"messages": [], "input": "a"}, 10, (UNKNOWN_WINDOW, UNKNOWN_WINDOW)),
        ({"context_window": 1000, "max_output": 100}, {"n": 10**12}, 10, (1000, 12_800)),
    ],
)
def test_an_answer_is_bounded_by_its_model(fields: Any, body: Any, size: int, bounds: tuple[int, int]) -> None:
    assert bounds_of(deployment("m", **fields), body, size) == UsageBounds(*bounds)


@pytest.mark.parametrize(
    ("before", "after", "both"),
    [
        (None, None, None),
        (Usage(1), None, Usage(1)),
        (None, Usage(1), Usage(1)),
        (Usage(1334, 1, cached=1000), Usage(0, 9), Usage(1334, 9, cached=1000)),
        (Usage(1, 1, source="clamped"), Usage(2, 2), Usage(2, 2, source="clamped")),
        (Usage(3, 4), Usage(2, 5), Usage(3, 5)),
    ],
)
def test_counts_only_grow(before: Usage | None, after: Usage | None, both: Usage | None) -> None:
    assert grown(before, after) == both


def test_native_counts_only_grow() -> None:
    counts: dict[str, int] = {}

    for reported in ({"a": 5, "b": -1, "c": 1}, {"a": 0, "b": 2, "d": 9}, {"a": None, "b": "7"}):
        grow(counts, reported, ("a", "b"))

    assert counts == {"a": 5, "b": 2}


DIGITS = "9" * 5000


def openai_answer(stream: bool, counts: list[dict[str, Any]]) -> Any:
    """What the OpenAI dialect makes of chunks with these counts."""

    usages = [json.dumps({"prompt_tokens": p, "completion_tokens": c}) for p, c in (tuple(x.values()) for x in counts)]
    usages = [text.replace(f'"{DIGITS}"', DIGITS) for text in usages]
    bounds = UsageBounds(2000, 100)
    if not stream:
        whole = JsonDecoder(bounds)
        whole.feed(b'{"choices":[{"message":{"content":"a"}}],"usage":' + usages[-1].encode() + b"}")
        return whole.finish(), whole.usage
    decoder = StreamDecoder(choices=1, drop_usage=False, bounds=bounds)
    out = b""
    for text in usages:
        chunk = '{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}],"usage":' + text + "}"
        out += decoder.feed(f"data: {chunk}\n\n".encode())
    return out + decoder.finish(), decoder.usage


@pytest.mark.parametrize("stream", [True, False])
def test_a_huge_count_is_clamped_and_the_answer_passes(stream: bool) -> None:
    out, usage = openai_answer(stream, [{"p": 5, "c": DIGITS}])

    assert DIGITS.encode() in out
    assert usage == Usage(5, 100, source="clamped")


def test_a_later_chunk_with_zeros_changes_nothing() -> None:
    _, usage = openai_answer(True, [{"p": 1334, "c": 7}, {"p": 0, "c": 9}, {"p": 0, "c": 0}, {"p": None, "c": None}])

    assert usage == Usage(1334, 9)


def test_media_are_limited_to_the_tokens_of_which_they_are_a_part() -> None:
    usage = Usage(10, 4, cached=6, media=Media(8, 7, 3, 5, 9, 3))

    assert bounded(usage) == Usage(10, 4, cached=6, media=Media(8, 6, 3, 2, 0, 1))


def test_tokens_of_an_hour_are_limited_to_those_written() -> None:
    assert bounded(Usage(10, 4, cache_write=5, cache_write_1h=9)).cache_write_1h == 5


def test_media_grow_and_add_up_too() -> None:
    one = Usage(10, 4, cache_write_1h=2, media=Media(input_audio=3, output_image=1))
    other = Usage(12, 2, media=Media(input_audio=1, output_audio=2), service="flex")

    assert grown(one, other) == Usage(12, 4, cache_write_1h=2, media=Media(3, 0, 2, 0, 0, 1), service="flex")
    assert total([one, other]) == Usage(22, 6, cache_write_1h=2, media=Media(4, 0, 2, 0, 0, 1))
    assert total([one, Usage(1, 1)]) == Usage(11, 5, cache_write_1h=2, media=one.media)
