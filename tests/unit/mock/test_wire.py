"""The mock's answers as bytes."""

from __future__ import annotations

import json
from typing import Any

from proxy.mock.wire import Answer, Choice, ToolCall, completion, events, words

TEXT = Answer("chatcmpl-mock-1", "small", (Choice("stop", content="[MOCK] one two"),), prompt_tokens=9)
CALL = Answer(
    "chatcmpl-mock-2",
    "small",
    (Choice("tool_calls", tool=ToolCall("call_mock_1", "look_up", '{"word": "encyclopaedia"}')),),
    prompt_tokens=9,
)


def chunks(answer: Answer, *, usage: bool = False) -> list[dict[str, Any]]:
    *sent, done = events(answer, usage=usage)
    assert done == b"data: [DONE]\n\n"
    return [json.loads(event.removeprefix(b"data: ")) for event in sent]


def deltas(answer: Answer) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks(answer)]


def test_a_completion_has_every_member_that_clients_read() -> None:
    assert json.loads(completion(TEXT)) == {
        "id": "chatcmpl-mock-1",
        "object": "chat.completion",
        "created": 1735689600,
        "model": "small",
        "system_fingerprint": "mock",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "[MOCK] one two", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 3,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
    }


def test_a_stream_begins_with_the_role_and_goes_word_by_word() -> None:
    assert deltas(TEXT) == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "[MOCK]"},
        {"content": " one"},
        {"content": " two"},
        {},
    ]


def test_a_stream_has_one_finish_and_one_id() -> None:
    sent = chunks(TEXT)

    assert [chunk["choices"][0]["finish_reason"] for chunk in sent] == [None, None, None, None, "stop"]
    assert {chunk["id"] for chunk in sent} == {"chatcmpl-mock-1"}
    assert {chunk["object"] for chunk in sent} == {"chat.completion.chunk"}


def test_usage_comes_only_when_asked_for() -> None:
    assert all("usage" not in chunk for chunk in chunks(TEXT))

    *others, last = chunks(TEXT, usage=True)
    assert all(chunk["usage"] is None for chunk in others)
    assert last["choices"] == []
    assert last["usage"] == json.loads(completion(TEXT))["usage"]


def test_a_tool_call_starts_with_its_name_then_fragments() -> None:
    role, opening, *fragments, end = deltas(CALL)

    assert role == {"role": "assistant", "content": None, "refusal": None}
    function = {"name": "look_up", "arguments": ""}
    assert opening == {"tool_calls": [{"index": 0, "id": "call_mock_1", "type": "function", "function": function}]}
    assert len(fragments) > 1
    assert all(fragment["tool_calls"][0].keys() == {"index", "function"} for fragment in fragments)
    joined = "".join(fragment["tool_calls"][0]["function"]["arguments"] for fragment in fragments)
    assert joined == '{"word": "encyclopaedia"}'
    assert end == {}


def test_a_legacy_call_has_the_legacy_form() -> None:
    choice = Choice("function_call", tool=ToolCall("call_mock_1", "look_up", "{}", legacy=True))

    role, opening, fragment, end = deltas(Answer("chatcmpl-mock-3", "small", (choice,), prompt_tokens=1))

    assert role["role"] == "assistant"
    assert opening == {"function_call": {"name": "look_up", "arguments": ""}}
    assert fragment == {"function_call": {"arguments": "{}"}}
    assert end == {}


def test_choices_are_streamed_in_turn_and_each_one_finishes() -> None:
    choices = (Choice("stop", content="a b"), Choice("length", content="c"))

    sent = [chunk["choices"][0] for chunk in chunks(Answer("chatcmpl-mock-4", "small", choices, prompt_tokens=1))]

    assert [(choice["index"], choice["delta"].get("content")) for choice in sent] == [
        (0, ""),
        (1, ""),
        (0, "a"),
        (1, "c"),
        (0, " b"),
        (0, None),
        (1, None),
    ]
    assert [choice["finish_reason"] for choice in sent[-2:]] == ["stop", "length"]


def test_words_joined_are_the_text() -> None:
    text = "  a\n\nb  c "

    assert "".join(words(text)) == text
    assert len(words(text)) == 4
