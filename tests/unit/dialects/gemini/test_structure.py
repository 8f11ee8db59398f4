"""`response_format` beside tools, where the model takes one of them only."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.dialects.gemini.structure import PAIR
from tests.unit.dialects.gemini.build import call, dialect, native, target

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NAMED = {"type": "function", "function": {"name": "f"}}
OLD = {"unsupported": frozenset({PAIR})}


def form(schema: Any = SCHEMA) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}


def declared(body: dict[str, Any]) -> list[str]:
    return [function["name"] for function in body["tools"][0]["functionDeclarations"]]


@pytest.mark.parametrize("response_format", [form(), {"type": "json_object"}])
@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"mode": "ANY"}),
        ("auto", {"mode": "ANY"}),
        ("none", {"mode": "ANY", "allowedFunctionNames": ["answer_in_json"]}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}},
            {"mode": "ANY", "allowedFunctionNames": ["f", "answer_in_json"]},
        ),
    ],
)
def test_the_answer_is_one_more_function(response_format: Any, choice: Any, expected: Any) -> None:
    body = native({"tools": [TOOL], "response_format": response_format, "tool_choice": choice}, **OLD)

    assert declared(body) == ["f", "answer_in_json"]
    assert body["toolConfig"]["functionCallingConfig"] == expected
    assert "generationConfig" not in body


def test_the_format_is_native_without_tools_and_for_newer_models() -> None:
    for body in (native({"response_format": form()}, **OLD), native({"response_format": form(), "tools": [TOOL]})):
        assert body["generationConfig"]["responseJsonSchema"] == SCHEMA


@pytest.mark.parametrize("choice", ["required", "any", NAMED])
def test_a_forced_tool_leaves_no_text_to_be_formatted(choice: Any) -> None:
    body = native({"tools": [TOOL], "response_format": form(), "tool_choice": choice}, **OLD)

    assert declared(body) == ["f"]
    assert "generationConfig" not in body


def test_beside_googles_own_tools_the_format_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        native({"tools": [{"googleSearch": {}}], "response_format": form()}, **OLD)

    assert caught.value.param == "response_format"


def answered(parts: list[dict[str, Any]], schema: Any = SCHEMA, *, stream: bool) -> tuple[str, list[str], str]:
    """Content, names of calls and finish of an answer."""
    asked = call({"tools": [TOOL], "response_format": form(schema), "stream": stream})
    answer = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    raw = json.dumps(answer).encode()
    decoder = dialect().decoder(asked, target(**OLD), {})
    out = decoder.feed(b"data: " + raw + b"\r\n\r\n" if stream else raw) + decoder.finish()
    lines = [line.removeprefix("data: ") for line in out.decode().splitlines() if line and "[DONE]" not in line]
    choices = [json.loads(line)["choices"][0] for line in lines]
    said = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    calls = [
        item["function"]["name"] for one in said for item in one.get("tool_calls", ()) if "name" in item["function"]
    ]
    return "".join(one.get("content") or "" for one in said), calls, choices[-1]["finish_reason"]


@pytest.mark.parametrize("stream", [False, True])
def test_the_functions_arguments_are_the_content(stream: bool) -> None:
    parts = [{"text": "Sure."}, {"functionCall": {"name": "answer_in_json", "args": {"city": "Bonn"}}}]

    content, calls, finish = answered(parts, stream=stream)

    assert (json.loads(content), calls, finish) == ({"city": "Bonn"}, [], "stop")


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_of_the_client_is_a_call(stream: bool) -> None:
    parts = [{"text": "Let me see."}, {"functionCall": {"name": "f", "args": {}}}]

    assert answered(parts, stream=stream) == ("Let me see.", ["f"], "tool_calls")


def test_an_answer_that_is_no_object_is_unwrapped() -> None:
    parts = [{"functionCall": {"name": "answer_in_json", "args": {"answer": [1, 2]}}}]

    assert json.loads(answered(parts, {"type": "array"}, stream=True)[0]) == [1, 2]


@pytest.mark.parametrize("model", ["gemini-2.5-flash-preview-09-2025", "models/gemini-2.0-flash", "gemini-1.5-pro-002"])
def test_models_up_to_2_5_are_known_by_their_names(model: str) -> None:
    body = native({"tools": [TOOL], "response_format": form()}, model=model)

    assert declared(body) == ["f", "answer_in_json"]
    assert "generationConfig" not in body
