"""Answers in the providers' own formats."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.call import NativeRequest
from proxy.core.dialects import NativeFormat
from proxy.learning.collected import MOST
from proxy.learning.native import known_calls, native_reading
from proxy.learning.rating import Answer, ToolCall
from proxy.surfaces.table import SURFACES
from tests.unit.routing.build import call as asked

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("add", "run")]


def read(format: NativeFormat, *values: Any, stream: bool = True, array: bool = False) -> Answer | None:
    """What is read of a stream of these values, or of one of them; an array comes in pieces of three bytes."""
    native = NativeRequest(format, b"{}", {}, query="" if array else "alt=sse")
    found: list[Answer | None] = []
    call = replace(asked("auto", body={"tools": TOOLS}), native=native, stream=stream)
    reading = native_reading(call, native, None, SURFACES["/v1/messages"], found.append)
    texts = [json.dumps(value).encode() for value in values]
    if array:
        whole = b"[" + b",\r\n".join(texts) + b"]"
        pieces = [whole[at : at + 3] for at in range(0, len(whole), 3)]
    else:
        pieces = [b"event: x\ndata: " + text + b"\n\n" for text in texts] if stream else texts
    assert b"".join([reading.feed(piece) for piece in pieces]) == b"".join(pieces)
    assert reading.finish() == b""
    return found[0]


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def begin(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": fields}


def test_a_stream_of_anthropic_is_read() -> None:
    answer = read(
        "messages",
        {"type": "message_start", "message": {"content": [], "usage": {}}},
        begin(0, type="thinking", thinking=""),
        delta(0, type="thinking_delta", thinking="hm"),
        begin(1, type="text", text=""),
        delta(1, type="text_delta", text="Pa"),
        delta(1, type="text_delta", text="ris"),
        begin(2, type="tool_use", name="add", input={}),
        delta(2, type="input_json_delta", partial_json='{"n":'),
        delta(2, type="input_json_delta", partial_json="1}"),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}},
    )

    assert answer == Answer("Paris", (ToolCall("add", '{"n":1}'),))


def test_a_message_of_anthropic_is_read() -> None:
    blocks = [{"type": "text", "text": "Hi"}, {"type": "tool_use", "name": "add", "input": {"n": 1}}]
    answer = read("messages", {"content": [*blocks, {"type": "server_tool_use", "name": "search"}]}, stream=False)

    assert answer == Answer("Hi", (ToolCall("add", '{"n": 1}'),), media=True)


ITEMS: list[dict[str, Any]] = [
    {"type": "reasoning", "summary": []},
    {"type": "message", "content": [{"type": "output_text", "text": "Hi"}, {"type": "refusal", "refusal": "no"}]},
    {"type": "function_call", "name": "add", "arguments": "{}"},
    {"type": "custom_tool_call", "name": "run", "input": "x = 1"},
    {"type": "function_call", "name": "add", "namespace": "other", "arguments": "{}"},
]


@pytest.mark.parametrize("stream", [True, False])
def test_items_of_the_responses_api_are_read(*, stream: bool) -> None:
    events = [{"type": "response.output_text.delta", "delta": "Hi"}]
    events += [{"type": "response.output_item.done", "item": item} for item in ITEMS]
    values = [*events, {"type": "response.completed", "response": {"output": ITEMS}}] if stream else [{"output": ITEMS}]

    answer = read("responses", *values, stream=stream)

    calls = (ToolCall("add", "{}"), ToolCall("run", "x = 1", is_function=False))
    assert answer == Answer("Hi", calls, refused=True, media=True)


def parts(*listed: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"candidates": [{"index": index, "content": {"parts": list(listed)}}], "usageMetadata": {}}


@pytest.mark.parametrize("form", [{}, {"array": True}])
def test_a_stream_of_google_is_read(form: dict[str, Any]) -> None:
    answer = read(
        "generate",
        parts({"text": "hm", "thought": True}),
        parts({"text": "Pa"}),
        parts({"text": "no"}, index=1),
        parts({"text": "ris"}, {"functionCall": {"name": "add", "args": {"n": 1}}}, {"thoughtSignature": "x"}),
        {"candidates": [{"finishReason": "STOP"}]},
        **form,
    )

    assert answer == Answer("Paris", (ToolCall("add", '{"n": 1}'),))


def test_an_image_of_google_is_media() -> None:
    assert read("generate", parts({"inlineData": {"data": "x"}}), stream=False) == Answer("", media=True)


@pytest.mark.parametrize(
    ("format", "value"),
    [("messages", {"content": 1}), ("responses", {"output": [1]}), ("generate", {"candidates": [{"content": "x"}]})],
)
def test_another_shape_is_no_answer(format: NativeFormat, value: Any) -> None:
    assert read(format, value, stream=False) is None


def test_a_long_array_is_no_answer() -> None:
    assert read("generate", parts({"text": "x" * MOST}), array=True) is None


def test_calls_of_tools_with_other_names_are_not_checked() -> None:
    add, run = ToolCall("add", "{}"), ToolCall("run", "{}")
    body = {"tools": TOOLS[:1]}

    assert known_calls(Answer("", (add,)), body) == Answer("", (add,))
    assert known_calls(Answer("", (add, run)), body) == Answer("", (add,), media=True)
