"""Items that clients add to conversations."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.dialogs.items import read_new_items


def read(*items: Any) -> list[dict[str, Any]]:
    numbers = count(1)
    return read_new_items(list(items), lambda prefix: f"{prefix}_{next(numbers)}")


def test_short_messages_become_whole_ones() -> None:
    assert read({"role": "user", "content": "Hi"}, {"type": "message", "role": "assistant", "content": "Yes"}) == [
        {
            "id": "msg_1",
            "role": "user",
            "content": [{"type": "input_text", "text": "Hi"}],
            "type": "message",
            "status": "completed",
        },
        {
            "id": "msg_2",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Yes", "annotations": [], "logprobs": []}],
            "status": "completed",
        },
    ]


def test_other_items_are_kept_as_they_are() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "unknown": [1]}
    output = {"id": "mine", "type": "function_call_output", "call_id": "c1", "output": "1"}

    assert read(call, output, {"type": "web_search_call", "id": None}) == [
        {"id": "fc_1", **call},
        output,
        {"id": "item_2", "type": "web_search_call"},
    ]


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ("text", "items"),
        (None, "items"),
        ([{}] * 21, "items"),
        (["text"], "items[0]"),
        ([{"role": "user", "content": ""}, {}], "items[1].type"),
        ([{"type": 7}], "items[0].type"),
        ([{"type": "item_reference", "id": "x"}], "items[0]"),
        ([{"type": "reasoning", "id": 7}], "items[0].id"),
        ([{"type": "reasoning", "id": "a\nb"}], "items[0].id"),
        ([{"type": "reasoning", "id": "x" * 257}], "items[0].id"),
        ([{"type": "reasoning", "id": "\ud800"}], "items[0].id"),
        ([{"type": "message", "role": "tool", "content": ""}], "items[0].role"),
        ([{"type": "message", "role": ["user"], "content": ""}], "items[0].role"),
        ([{"role": "user"}], "items[0].content"),
        ([{"role": "user", "content": ["text"]}], "items[0].content"),
    ],
)
def test_what_no_reader_accepts_is_named(items: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_new_items(items, lambda prefix: prefix)

    assert caught.value.param == param
