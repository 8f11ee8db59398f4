"""The request of a call with `router.conversation`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.call import Call, NativeRequest
from proxy.core.errors import InvalidRequest
from proxy.surfaces.carriers import seal
from proxy.surfaces.memory.request import with_conversation
from tests.support import calls

HISTORY: list[dict[str, Any]] = [
    {"id": "msg_1", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    {"id": "msg_2", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
]

THOUGHT = {"type": "reasoning.text", "text": "hm", "signature": "s", "format": "anthropic-claude-v1"}


def call(*messages: Any, **members: Any) -> Call:
    body = {"model": "auto", "messages": list(messages), "router": {"conversation": "conv_1"}, **members}
    return calls.call(json.dumps(body).encode())


def completed(made: Call, *earlier: dict[str, Any]) -> Call:
    assert made.turn is not None
    return made.turn.complete(earlier)


def stored(made: Call) -> list[dict[str, Any]]:
    """The items that the call adds, without their ids."""
    assert made.turn is not None
    assert len({item["id"] for item in made.turn.input}) == len(made.turn.input)
    return [{name: value for name, value in item.items() if name != "id"} for item in made.turn.input]


def test_the_conversation_comes_behind_the_system_messages() -> None:
    made = with_conversation(
        call(
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Really."},
            {"role": "user", "content": "And?"},
            {"role": "system", "content": "Now."},
            temperature=0.50,
        )
    )

    whole = completed(made, *HISTORY)
    assert [(message["role"], message["content"]) for message in whole.body["messages"]] == [
        ("system", "Be brief."),
        ("developer", "Really."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "And?"),
        ("system", "Now."),
    ]
    assert json.loads(whole.raw)["messages"] == whole.body["messages"]
    assert b'"temperature": 0.5' in whole.raw
    assert whole.turn is made.turn
    assert whole.options.conversation == "conv_1"
    assert [item["content"] for item in stored(made)] == [[{"type": "input_text", "text": "And?"}]]


def test_parts_become_parts_of_items() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}}
    made = with_conversation(call({"role": "user", "content": [{"type": "text", "text": "See"}, image, file]}))

    [item] = stored(made)
    assert item["content"] == [
        {"type": "input_text", "text": "See"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"},
    ]
    assert made.turn is not None
    [message] = completed(with_conversation(call({"role": "user", "content": "x"})), *made.turn.input).body["messages"][
        :1
    ]
    assert message["content"][0] == {"type": "text", "text": "See"}
    assert message["content"][1]["image_url"]["url"] == "data:image/png;base64,AA=="


def test_results_of_tools_follow_the_calls_of_the_conversation() -> None:
    request = call({"role": "tool", "tool_call_id": "call_1", "content": "12"})
    sealed = seal(request, "gemini", {"tool_calls": {"call_1": {"extra_content": {"google": {"x": 1}}}}})
    made = with_conversation(request)

    whole = completed(
        made,
        *HISTORY[:1],
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": sealed},
        {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
    )
    _, assistant, tool = whole.body["messages"]
    assert assistant["tool_calls"][0]["extra_content"] == {"google": {"x": 1}}
    assert tool == {"role": "tool", "tool_call_id": "call_1", "content": "12"}
    assert whole.family == "gemini"
    assert stored(made) == [
        {"type": "function_call_output", "call_id": "call_1", "output": "12", "status": "completed"}
    ]


def test_calls_that_broke_off_are_left_out() -> None:
    made = with_conversation(call({"role": "user", "content": "And?"}))
    broken = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{", "status": "incomplete"}

    whole = completed(made, *HISTORY, broken)

    assert [message["role"] for message in whole.body["messages"]] == ["user", "assistant", "user"]
    assert "tool_calls" not in whole.body["messages"][1]


def test_messages_of_the_assistant_are_stored_with_their_calls() -> None:
    said = {
        "role": "assistant",
        "content": "Let me see.",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "hm", "signature": "s", "format": "anthropic-claude-v1"}
        ],
        "tool_calls": [
            {"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}} for id in ("c1", "c2")
        ],
    }
    results = [{"role": "tool", "tool_call_id": id, "content": id} for id in ("c1", "c2")]
    made = with_conversation(call({"role": "user", "content": "a"}, said, *results, said, *results))

    kinds = [item["type"] for item in stored(made)]
    turn = ["reasoning", "message", "function_call", "function_call"]
    assert kinds == ["message", *turn, *["function_call_output"] * 2, *turn, *["function_call_output"] * 2]
    assert made.turn is not None
    whole = completed(with_conversation(call({"role": "user", "content": "b"})), *made.turn.input)
    assert whole.body["messages"][1]["reasoning_details"] == said["reasoning_details"]
    assert [message["role"] for message in whole.body["messages"]] == [
        "user", "assistant", "tool", "tool", "assistant", "tool", "tool", "user",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "members", "param"),
    [
        ([{"role": "user", "content": "a"}], {"n": 2}, "n"),
        ([{"role": "user", "content": "a"}], {"audio": {}}, "audio"),
        ([{"role": "user", "content": "a"}], {"functions": []}, "functions"),
        ([{"role": "user", "content": "a"}], {"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
        ([{"role": "system", "content": "a"}], {}, "messages"),
        ([{"role": "function", "content": "a"}], {}, "messages[0].role"),
        ([{"role": "user"}], {}, "messages[0].content"),
        ([{"role": "user", "content": ["a"]}], {}, "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "text"}]}], {}, "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], {}, "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": ["text"]}]}], {}, "messages[0].content[0]"),
        ([{"role": "tool", "content": "a"}], {}, "messages[0].tool_call_id"),
        ([{"role": "tool", "tool_call_id": 7, "content": "a"}], {}, "messages[0].tool_call_id"),
    ],
)
def test_what_a_conversation_cannot_hold_is_named(messages: Any, members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        with_conversation(call(*messages, **members))

    assert caught.value.param == param


def test_the_body_of_another_api_passes_to_no_provider() -> None:
    anthropic = calls.provider("anthropic", dialect="anthropic")
    request = call({"role": "user", "content": "Hi"})
    request.native = NativeRequest("messages", b"{}", {})

    whole = completed(with_conversation(request), *HISTORY)

    assert request.passes_to(anthropic)
    assert whole.native is not None
    assert not whole.passes_to(anthropic)


def test_other_endpoints_have_no_conversations() -> None:
    made = call({"role": "user", "content": "a"})
    made.endpoint = "embeddings"

    with pytest.raises(InvalidRequest, match="not supported by this endpoint"):
        with_conversation(made)


def test_summary_replaces_what_the_conversation_had_before() -> None:
    made = with_conversation(call({"role": "user", "content": "And?"}))
    summary = {"type": "compaction", "encrypted_content": seal(made, "openai", {"summary": "They met."}, "p")}

    whole = completed(made, *HISTORY, summary)

    assert [message["content"] for message in whole.body["messages"]] == [
        "Summary of the conversation so far:\n\nThey met.",
        "And?",
    ]
