from typing import Any

import pytest

from proxy.surfaces.responses.stored import continued, named_items, sendable, unbroken


def test_item_gets_an_id_of_its_kind() -> None:
    items = [{"role": "user", "content": "a"}, {"type": "reasoning"}, {"type": "function_call"}, {"type": "new"}]

    named = named_items(items, "req_1")

    assert [item["id"].partition("_")[0] for item in named] == ["msg", "rs", "fc", "item"]
    assert len({item["id"] for item in named}) == 4
    assert named_items(items, "req_2")[0]["id"] != named[0]["id"]


@pytest.mark.parametrize("id", [None, 5, "", "a b", "x" * 300])
def test_unusable_id_is_replaced(id: Any) -> None:
    (item,) = named_items([{"type": "reasoning", "id": id}], "req_1")

    assert item["id"].startswith("rs_")


def test_texts_become_parts() -> None:
    user, assistant = named_items(
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "id": "msg_1"}], "req_1"
    )

    assert user["content"] == [{"type": "input_text", "text": "a"}]
    assert user["status"] == "completed"
    assert assistant["content"] == [{"type": "output_text", "text": "b", "annotations": [], "logprobs": []}]
    assert assistant["id"] == "msg_1"


def test_items_are_sent_without_what_a_provider_looks_up() -> None:
    items: list[Any] = [
        {"role": "user", "content": "a", "id": "msg_1"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAA"},
        {"type": "web_search_call", "id": "ws_1"},
        "x",
    ]

    assert sendable(items) == [
        {"role": "user", "content": "a"},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
        {"type": "web_search_call", "id": "ws_1"},
        "x",
    ]


def test_calls_that_broke_off_are_left_out() -> None:
    message: Any = {"type": "message", "status": "incomplete", "role": "assistant", "content": []}
    broken = {"type": "function_call", "status": "incomplete", "call_id": "a", "name": "f", "arguments": '{"x": '}
    whole = {**broken, "status": "completed", "call_id": "b"}
    custom = {"type": "custom_tool_call", "status": "incomplete", "call_id": "c", "name": "g", "input": ""}
    odd: Any = {"type": "new_call", "status": "incomplete", "call_id": ["a"]}
    output = {"type": "custom_tool_call_output", "call_id": "c", "output": ""}

    assert unbroken([message, broken, whole, custom, odd], ["x", output]) == [message, whole, custom, odd]
    assert unbroken([message, broken, custom, output], []) == [message, custom, output]
    assert unbroken([message, whole], []) == [message, whole]


def test_dialog_is_continued_from_its_last_summary_that_can_be_read() -> None:
    said: Any = [{"type": "message", "id": f"msg_{place}"} for place in range(3)]
    first, second, foreign = ({"type": "compaction", "encrypted_content": name} for name in ("1", "2", "x"))
    dialog = [said[0], first, said[1], second, said[2], foreign]

    def opens(item: Any) -> bool:
        return item["encrypted_content"] != "x"

    assert continued(dialog, [said[0]], opens) == [second, said[2], foreign]
    assert continued(said, [said[0], "x"], opens) == said
    assert continued([said[0], foreign], [], opens) == [said[0], foreign]
    assert continued(dialog, [second], opens) == ()
    assert continued(dialog, [foreign], opens) == [second, said[2], foreign]
