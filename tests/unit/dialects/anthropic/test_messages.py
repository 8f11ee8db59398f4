"""Conversations as Anthropic's turns."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.dialects.anthropic.messages import read_messages
from proxy.dialects.turns import NO_RESULT, PLACEHOLDER

CACHE = {"type": "ephemeral"}


def user(content: Any, **members: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **members}


def calls(*ids: str, content: str | None = None, **members: Any) -> dict[str, Any]:
    given = [{"id": id, "type": "function", "function": {"name": f"f_{id}", "arguments": '{"a":1}'}} for id in ids]
    return {"role": "assistant", "content": content, "tool_calls": given, **members}


def result(id: str, content: Any = "ok", **members: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content, **members}


def use(id: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": f"f_{id}", "input": {"a": 1}}


def used(id: str, content: Any = "ok", **members: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **members}


def text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def turns(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return read_messages(list(messages)).messages


def test_one_instruction_is_a_string_and_several_are_blocks() -> None:
    one = read_messages([{"role": "system", "content": "A"}, user("hi")])
    two = read_messages([{"role": "system", "content": "A"}, user("hi"), {"role": "developer", "content": "B"}])

    assert one.system == "A"
    assert two.system == [text("A"), text("B")]
    assert two.messages == [user("hi")]


def test_a_marked_instruction_keeps_its_mark() -> None:
    marked = {"type": "text", "text": "A", "cache_control": CACHE}

    found = read_messages([{"role": "system", "content": [marked]}, user("hi")])

    assert found.system == [marked]


def test_instructions_alone_are_said_by_the_user() -> None:
    found = read_messages([{"role": "system", "content": "Write a poem."}])

    assert (found.system, found.messages) == (None, [user("Write a poem.")])


def test_turns_of_one_role_are_merged() -> None:
    found = turns(
        user("a"), user("b"), {"role": "assistant", "content": "c"}, {"role": "assistant", "content": "d"}, user("e")
    )

    assert found == [
        user([text("a"), text("b")]),
        {"role": "assistant", "content": [text("c"), text("d")]},
        user("e"),
    ]


def test_an_empty_turn_becomes_a_placeholder() -> None:
    found = turns(user("a"), {"role": "assistant", "content": ""}, user("b"))

    assert found == [user("a"), {"role": "assistant", "content": PLACEHOLDER}, user("b")]


def test_a_prefill_stays_last_without_its_trailing_space() -> None:
    assert turns(user("a"), {"role": "assistant", "content": '{"x": \n'})[-1]["content"] == '{"x":'


def test_results_come_first_in_the_order_of_the_calls() -> None:
    found = turns(
        user("a"), calls("1", "2", content="Let me see"), user("and?"), result("2", "two"), result("1", "one")
    )

    assert found[1:] == [
        {"role": "assistant", "content": [text("Let me see"), use("1"), use("2")]},
        user([used("1", "one"), used("2", "two"), text("and?")]),
    ]


@pytest.mark.parametrize("messages", [[calls("1", "2"), result("2")], [calls("1", "2"), result("2"), user("go on")]])
def test_a_missing_result_is_said_to_be_missing(messages: list[dict[str, Any]]) -> None:
    found = turns(user("a"), *messages)

    assert found[2]["content"][:2] == [used("1", NO_RESULT, is_error=True), used("2")]


def test_calls_at_the_end_get_results_too() -> None:
    assert turns(user("a"), calls("1"))[2] == user([used("1", NO_RESULT, is_error=True)])


def test_a_result_without_its_call_is_what_the_user_says() -> None:
    assert turns(user("a"), result("9", "lost")) == [user([text("a"), text("lost")])]


def test_calls_of_merged_turns_find_their_results() -> None:
    found = turns(user("a"), calls("1"), calls("2"), result("1"), result("2"))

    assert found[1]["content"] == [use("1"), use("2")]
    assert found[2]["content"] == [used("1"), used("2")]


def test_invalid_tool_ids_are_changed_in_call_and_result() -> None:
    given = {"id": "call:a/b", "type": "function", "function": {"name": "f", "arguments": ""}}

    found = turns(user("a"), {"role": "assistant", "tool_calls": [given]}, result("call:a/b"))

    assert found[1]["content"] == [{"type": "tool_use", "id": "call_a_b", "name": "f", "input": {}}]
    assert found[2]["content"] == [used("call_a_b")]


def test_an_id_that_is_used_again_gets_a_number() -> None:
    found = turns(user("a"), calls("1"), result("1", "x"), calls("1"), result("1", "y"))

    assert found[3]["content"][0]["id"] == "1_2"
    assert found[4]["content"] == [used("1_2", "y")]


def test_the_older_function_call_and_its_result_are_understood() -> None:
    found = turns(
        user("a"),
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}},
        {"role": "function", "name": "f", "content": "ok"},
    )

    assert found[1]["content"] == [{"type": "tool_use", "id": "call", "name": "f", "input": {"a": 1}}]
    assert found[2]["content"] == [used("call")]


@pytest.mark.parametrize(
    ("arguments", "native"),
    [
        ("", {}),
        (None, {}),
        ('{"a": "ü"}', {"a": "ü"}),
        ({"a": 1}, {"a": 1}),
        ('{"a": ', {"arguments": '{"a": '}),
        ("[1]", {"arguments": "[1]"}),
    ],
)
def test_arguments_are_an_object_whatever_they_were(arguments: Any, native: dict[str, Any]) -> None:
    given = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}

    assert turns(user("a"), {"role": "assistant", "tool_calls": [given]})[1]["content"][0]["input"] == native


def test_a_custom_tools_call_is_kept_in_the_history() -> None:
    given = {"id": "1", "type": "custom", "custom": {"name": "f", "input": "free text"}}

    [block] = turns(user("a"), {"role": "assistant", "tool_calls": [given]})[1]["content"]

    assert (block["name"], block["input"]) == ("f", {"arguments": "free text"})


def test_a_result_may_have_parts_and_be_an_error() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}

    found = turns(user("a"), calls("1", "2"), result("1", [text("x"), image], is_error=True), result("2", ""))

    assert [block["type"] for block in found[2]["content"][0]["content"]] == ["text", "image"]
    assert found[2]["content"][0]["is_error"] is True
    assert found[2]["content"][1] == used("2", "")


def test_a_mark_on_a_message_goes_to_its_last_block() -> None:
    found = turns(
        user([text("a"), text("b")], cache_control=CACHE),
        calls("1", cache_control=CACHE),
        result("1", cache_control=CACHE),
    )

    assert found[0]["content"] == [text("a"), {**text("b"), "cache_control": CACHE}]
    assert found[1]["content"] == [{**use("1"), "cache_control": CACHE}]
    assert found[2]["content"] == [used("1", cache_control=CACHE)]


def test_a_refusal_is_what_the_assistant_said() -> None:
    assert turns(user("a"), {"role": "assistant", "content": None, "refusal": "No."}, user("b"))[1]["content"] == "No."


def test_remembered_thinking_comes_first() -> None:
    thinking = {"type": "thinking", "thinking": "t", "signature": "s"}

    found = read_messages([user("a"), calls("1", content="b")], lambda place, calls: [thinking, text("b"), use("1")])

    assert found.messages[1]["content"] == [thinking, text("b"), use("1")]


def test_a_participants_name_is_named_as_dropped_once() -> None:
    assert read_messages([user("a", name="Ann"), user("b", name="Bob")]).dropped == ("messages.name",)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "wizard", "content": "x"},
        {"role": "assistant", "tool_calls": "x"},
        {"role": "assistant", "tool_calls": [{}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": ""}}]},
        {"role": "assistant", "tool_calls": [7]},
        {"role": "assistant", "function_call": "f"},
        {"role": "system", "content": [{"type": "input_audio"}]},
    ],
)
def test_what_cannot_be_translated_is_refused_by_its_place(message: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_messages([user("a"), message])

    assert str(caught.value.param).startswith("messages[1]")


SYSTEM = {"role": "system", "content": "S"}
SAID = {"role": "assistant", "content": "b"}
BLANK: list[tuple[list[dict[str, Any]], Any, list[dict[str, Any]]]] = [
    ([SYSTEM, user("")], "S", [user(PLACEHOLDER)]),
    ([SYSTEM, user([text(" "), text("\n")])], "S", [user(PLACEHOLDER)]),
    ([SYSTEM, user(None)], "S", [user(PLACEHOLDER)]),
    ([user("a"), SAID, user(" ")], None, [user("a"), SAID, user(PLACEHOLDER)]),
    ([user("a"), SAID, user([])], None, [user("a"), SAID, user(PLACEHOLDER)]),
    ([user("a"), SAID, SYSTEM], "S", [user("a"), SAID, user(PLACEHOLDER)]),
    ([user("a"), SYSTEM], "S", [user("a")]),
    ([SAID, user("a")], None, [user(PLACEHOLDER), SAID, user("a")]),
    ([user(""), SAID, user("a")], None, [user(PLACEHOLDER), SAID, user("a")]),
    ([user("a"), {"role": "assistant", "content": " "}], None, [user("a")]),
    ([user("a"), {"role": "assistant", "content": None, "tool_calls": []}], None, [user("a")]),
]


@pytest.mark.parametrize(("messages", "system", "native"), BLANK)
def test_a_blank_message_changes_no_speaker(messages: list[Any], system: Any, native: list[Any]) -> None:
    found = read_messages(messages)

    assert (found.system, found.messages) == (system, native)
