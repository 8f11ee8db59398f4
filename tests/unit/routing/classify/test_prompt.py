"""Tests of proxy/routing/classify/prompt.py."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.routing.classify.prompt import read_prompt


def test_the_last_user_turn_is_read() -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "second"}, {"type": "image_url"}]},
        {"role": "assistant", "content": "no"},
    ]

    prompt = read_prompt({"messages": messages, "tools": [{}, {}]})

    assert (prompt.text, prompt.turns, prompt.images, prompt.tools) == ("second", 2, 1, 2)
    assert (prompt.characters, prompt.system_characters) == (6, 8)


def test_a_long_turn_is_cut_to_head_and_tail() -> None:
    prompt = read_prompt({"messages": [{"role": "user", "content": "a" * 50_000 + "z" * 50_000}]})

    assert prompt.text == "a" * 2_400 + "\n" + "z" * 1_200
    assert prompt.characters == 100_000


def test_the_text_is_not_in_the_repr() -> None:
    assert "secret" not in repr(read_prompt({"messages": [{"role": "user", "content": "secret"}]}))


@pytest.mark.parametrize(
    "value", [None, 1, "x", [], {}, [None, 1, "x", {}, {"type": "text"}, {"type": [], "text": {}}]]
)
def test_bodies_of_any_shape_are_read(value: Any) -> None:
    for body in ({"messages": value}, {"messages": [value]}, {"messages": [{"role": "user", "content": value}]}):
        assert read_prompt({**body, "tools": value}).images == 0
