"""Items that clients add to conversations."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.dialogs.items import read_new_items


def read(*items: Any) -> list[dict[str, Any]]:
    return read_new_items(list(items), "seed")


def test_short_messages_become_whole_ones() -> None:
    [said, answer] = read({"role": "user", "content": "Hi"}, {"type": "message", "role": "assistant", "content": "Yes"})

    assert said.pop("id").startswith("msg_")
    assert said == {
        "role": "user",
        "content": [{"type": "input_text", "text": "Hi"}],
        "type": "message",
        "status": "completed",
    }
    assert answer["content"] == [{"type": "output_text", "text": "Yes", "annotations": [], "logprobs": []}]


def test_other_items_are_kept_as_they_are() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "unknown": [1]}
    output = {"id": "mine", "type": "function_call_output", "call_id": "c1", "output": "1"}

    [first, second, third] = read(call, output, {"type": "web_search_call", "id": None})

    assert first == {**call, "id": first["id"]}
    assert first["id"].startswith("fc_")
    assert second == output
    assert third["type"] == "web_search_call"


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
        ([{"type": "message", "role": "tool", "content": ""}], "items[0].role"),
        ([{"type": "message", "role": ["user"], "content": ""}], "items[0].role"),
        ([{"role": "user"}], "items[0].content"),
        ([{"role": "user", "content": ["text"]}], "items[0].content[0]"),
        ([{"type": "function_call", "call_id": "c"}], "items[0].name"),
    ],
)
def test_what_no_reader_accepts_is_named(items: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_new_items(items, "seed")

    assert caught.value.param == param
