"""Tests of proxy/core/estimate.py."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.estimate import SAMPLED, estimate_input, estimate_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        ("abcd", 1),
        ("a" * 4_000, 1_000),
        ("日本語です", 5),
        ("привет", 3),
        ("abcd日本", 3),
        ("🙂🙂", 2),
    ],
)
def test_each_script_has_its_own_rate(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


@pytest.mark.parametrize("short", ["привет, мир", "日本語です", "how are you, 日本", "ç" * 7])
def test_a_long_text_is_estimated_from_a_sample(short: str) -> None:
    text = short * (100 * SAMPLED // len(short))

    whole = estimate_tokens(text[:SAMPLED]) * len(text) / SAMPLED

    assert estimate_tokens(text) == pytest.approx(whole, rel=0.01)


def body(content: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


def test_text_as_a_string_and_as_a_part_are_the_same() -> None:
    assert estimate_input(body("x" * 400)) == estimate_input(body([{"type": "text", "text": "x" * 400}]))


def test_more_messages_are_more_tokens() -> None:
    one = {"role": "user", "content": "hello"}

    assert estimate_input({"messages": [one, one]}) - estimate_input({"messages": [one]}) == 4 + 2


@pytest.mark.parametrize(("detail", "tokens"), [("low", 85), ("high", 765), (None, 765), ([], 765)])
def test_an_image_has_a_flat_price_whatever_its_size(detail: Any, tokens: int) -> None:
    url = "data:image/png;base64," + "A" * 100_000
    part = {"type": "image_url", "image_url": {"url": url, "detail": detail}}

    assert estimate_input(body([part])) - estimate_input(body([])) == tokens


def test_audio_and_files_go_by_size_within_bounds() -> None:
    def audio(size: int) -> int:
        return estimate_input(body([{"type": "input_audio", "input_audio": {"data": "A" * size}}]))

    def file(size: int) -> int:
        return estimate_input(body([{"type": "file", "file": {"file_data": "A" * size}}]))

    assert audio(1) < audio(1_000_000) < audio(40_000_000) == audio(50_000_000)
    assert file(1) < file(1_000_000) < file(4_000_000) == file(5_000_000)


@pytest.mark.parametrize("member", ["tools", "functions", "response_format"])
def test_declared_json_counts(member: str) -> None:
    value = [{"type": "function", "function": {"name": "weather", "description": "x" * 400}}]

    assert estimate_input(body("hi", **{member: value})) > estimate_input(body("hi")) + 100


def test_tool_calls_and_names_count() -> None:
    message = {"role": "assistant", "content": None, "name": "n" * 40, "tool_calls": [{"arguments": "x" * 400}]}

    assert estimate_input({"messages": [message]}) > 110


def test_the_counter_can_be_replaced() -> None:
    assert estimate_input(body("one two three"), lambda text: len(text.split())) == 3 + 4 + 3


def test_nesting_of_any_depth_is_counted_without_recursion() -> None:
    deep: Any = "x" * 4
    for _ in range(100_000):
        deep = [deep]

    assert estimate_input(body(deep, tools=deep)) >= 2


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "text", [], {}, [[]], [None, 1, "x", {"type": []}], {"a": 1}])
@pytest.mark.parametrize("place", ["messages", "message", "content", "part", "image_url", "tools", "name"])
def test_any_json_anywhere_gets_a_number(place: str, value: Any) -> None:
    bodies = {
        "messages": {"messages": value},
        "message": {"messages": [value]},
        "content": body(value),
        "part": body([value]),
        "image_url": body([{"type": "image_url", "image_url": value}, {"type": "file", "file": value}]),
        "tools": body("x", tools=value, functions=value, response_format=value),
        "name": {"messages": [{"role": value, "name": value, "tool_calls": value, "content": [{"type": value}]}]},
    }

    assert estimate_input(bodies[place]) >= 3


@given(st.text(st.sampled_from("aZ é\u2019\u3000\u3042\u4e2d\uac00\uffef\U0001f600\ud83d"), max_size=30))
def test_estimate_adds_up_the_rates_of_all_characters(text: str) -> None:
    ascii_ = sum(char < "\x80" for char in text)
    wide = sum(char in "\u3042\u4e2d\uac00\uffef\U0001f600" for char in text)

    assert estimate_tokens(text) == (ascii_ + 3) // 4 + wide + (len(text) - ascii_ - wide + 1) // 2
