"""Assistant messages that other providers wrote: what is read, left out and named."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.dialects.assistant import Dropped, arguments_of, calls_of, parts_of
from proxy.dialects.memory import ToolCall
from tests.unit.dialects.anthropic import build as anthropic
from tests.unit.dialects.gemini import build as gemini

USER = {"role": "user", "content": "Hi"}
MISTRAL = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "A"}]
FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "Mistral": ({"content": MISTRAL}, "messages.content.thinking"),
    "Mistral's references": (
        {"content": [{"type": "text", "text": "A"}, {"type": "reference", "reference_ids": [1]}]},
        "messages.content.reference",
    ),
    "DeepSeek": ({"content": "A", "reasoning_content": "hm"}, "messages.reasoning_content"),
    "Groq": ({"content": "A", "reasoning": "hm"}, "messages.reasoning"),
    "OpenRouter": (
        {"content": "A", "reasoning_details": [{"type": "reasoning.summary", "summary": "s", "index": 0}]},
        "messages.reasoning_details",
    ),
    "OpenAI's audio": ({"content": "A", "audio": {"id": "audio_1"}}, "messages.audio"),
    "a part of no known kind": (
        {"content": [{"type": "text", "text": "A"}, {"type": "x,\r\ny" * 99}]},
        "messages.content." + ("xy" * 99)[:40],
    ),
    "a part without a kind": ({"content": [{"text": "B"}, "A"]}, "messages.content.None"),
    "native blocks of Anthropic": (
        {"content": [{"type": "tool_use", "id": "x", "name": "f", "input": {}}, {"type": "text", "text": "A"}]},
        "messages.content.tool_use",
    ),
}
each_foreign = pytest.mark.parametrize(("members", "name"), FOREIGN.values(), ids=FOREIGN)


def history(**members: Any) -> list[dict[str, Any]]:
    return [USER, {"role": "assistant", **members}, USER]


@each_foreign
def test_anthropic_gets_the_text_and_the_client_the_name(members: dict[str, Any], name: str) -> None:
    body, dropped = anthropic.sent(anthropic.call(messages=history(**members)), anthropic.target())

    assert body["messages"][1] == {"role": "assistant", "content": "A"}
    assert dropped == (name,)


@each_foreign
def test_gemini_gets_the_text_and_the_client_the_name(members: dict[str, Any], name: str) -> None:
    body = {"messages": history(**members)}

    assert gemini.native(body)["contents"][1] == {"role": "model", "parts": [{"text": "A"}]}
    assert gemini.dropped(body) == (name,)


@pytest.mark.parametrize(
    "members", [{"images": [{"image_url": {"url": "data:image/png;base64,AA"}}]}, {"google_parts": [{"x": 1}]}]
)
def test_anthropic_has_no_parts_of_gemini(members: dict[str, Any]) -> None:
    body, dropped = anthropic.sent(anthropic.call(messages=history(content="A", **members)), anthropic.target())

    assert body["messages"][1]["content"] == "A"
    assert dropped == (f"messages.{next(iter(members))}",)


def test_signature_of_googles_call_is_named() -> None:
    signed = {"google": {"thought_signature": "sig"}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": signed}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    messages = [USER, answer, {"role": "tool", "tool_call_id": "c", "content": "1"}]

    _, dropped = anthropic.sent(anthropic.call(messages=messages), anthropic.target())

    assert dropped == ("messages.extra_content",)
    assert gemini.dropped({"messages": messages}) == ()


@pytest.mark.parametrize(
    "members",
    [
        {"content": None, "refusal": "A"},
        {"content": "", "refusal": "A"},
        {"content": [{"type": "refusal", "refusal": "A"}]},
        {"content": [{"type": "output_text", "text": "A", "annotations": []}]},
        {"content": "A", "refusal": None, "audio": None, "annotations": [], "function_call": None, "tool_calls": None},
        {"content": "A", "reasoning_content": None, "reasoning": "", "reasoning_details": [], "images": []},
    ],
)
def test_what_openai_itself_writes_is_read_in_full(members: dict[str, Any]) -> None:
    body, dropped = anthropic.sent(anthropic.call(messages=history(**members)), anthropic.target())

    assert (body["messages"][1]["content"], dropped) == ("A", ())
    assert gemini.native({"messages": history(**members)})["contents"][1]["parts"] == [{"text": "A"}]


def test_the_kinds_that_are_named_are_few() -> None:
    dropped = Dropped()

    parts_of({"content": [{"type": f"kind{number}"} for number in range(999)]}, dropped)

    assert len(dropped.names) < 20


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_broken_media_of_an_answer_does_not_end_the_conversation(kind: str) -> None:
    body = {"messages": history(content=[{"type": "text", "text": "A"}, {"type": kind, kind: {"url": "?"}}])}

    assert gemini.native(body)["contents"][1]["parts"] == [{"text": "A"}]
    assert gemini.dropped(body) == (f"messages.content.{kind}",)


def test_calls_are_read_from_both_forms() -> None:
    function = {"name": "f", "arguments": "{}"}

    assert calls_of({"tool_calls": [{"id": "1", "function": function}]}, "m") == [ToolCall("1", "f", "{}")]
    assert calls_of({"tool_calls": [{"id": "", "custom": {"name": "f", "input": "x"}}]}, "m") == [
        ToolCall(None, "f", "x")
    ]
    assert calls_of({"tool_calls": [], "function_call": function}, "m") == [ToolCall(None, "f", "{}")]


@pytest.mark.parametrize("calls", ["x", [7], [{}], [{"function": {"name": 7}}], [{"function": {"name": ""}}]])
def test_a_call_without_a_name_is_refused(calls: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        calls_of({"tool_calls": calls}, "messages[1]")

    assert str(caught.value.param).startswith("messages[1].tool_calls")


ARGUMENTS = [
    ("", {}),
    ("  ", {}),
    (None, {}),
    ("{}", {}),
    ('{"a": "ü"}', {"a": "ü"}),
    ({"a": 1}, {"a": 1}),
    ('{"a": ', {"arguments": '{"a": '}),
    ("[1]", {"arguments": "[1]"}),
    ([1], {"arguments": [1]}),
    ("7", {"arguments": "7"}),
    ('{"x": NaN}', {"arguments": '{"x": NaN}'}),
    ('{"x": [-Infinity]}', {"arguments": '{"x": [-Infinity]}'}),
    ('{"x": 1e999}', {"arguments": '{"x": 1e999}'}),
    ('{"x": ' + "[" * 500 + "]" * 500 + "}", {"arguments": '{"x": ' + "[" * 500 + "]" * 500 + "}"}),
    ('{"x": "' + "[" * 500 + '"}', {"x": "[" * 500}),
    ('{"x": ' + "9" * 5000 + "}", {"arguments": '{"x": ' + "9" * 5000 + "}"}),
]


@pytest.mark.parametrize(("given", "native"), ARGUMENTS)
def test_arguments_are_an_object_whatever_they_were(given: Any, native: dict[str, Any]) -> None:
    function = {"name": "f", "arguments": given}
    said = history(content=None, tool_calls=[{"id": "1", "type": "function", "function": function}])

    assert arguments_of(ToolCall("1", "f", given)) == native
    assert anthropic.native(messages=said)["messages"][1]["content"][0]["input"] == native
    assert gemini.native({"messages": said})["contents"][1]["parts"][0]["functionCall"]["args"] == native
