"""How an answer gets the form that the client wants."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from tests.unit.dialects.anthropic.build import (
    END,
    WEATHER,
    call,
    chunks_of,
    decoded,
    facts,
    message,
    native,
    sent,
    start,
    stop,
    target,
    text,
    tool,
)

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ABLE = target(capabilities=frozenset({"json_schema"}))


def wanted(schema: Any = SCHEMA, **members: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "city", "schema": schema, **members}}


def test_a_model_that_has_structured_output_gets_the_schema() -> None:
    body, _ = sent(call(response_format=wanted(), tools=[WEATHER]), ABLE)

    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {**SCHEMA, "additionalProperties": False},
    }
    assert [tool["name"] for tool in body["tools"]] == ["get_weather"]
    assert "tool_choice" not in body


@pytest.mark.parametrize("schema", [{"type": "object"}, {"type": "object", "additionalProperties": {"type": "string"}}])
def test_a_schema_that_it_cannot_say_becomes_a_tool_there_too(schema: dict[str, Any]) -> None:
    body, _ = sent(call(response_format=wanted(schema)), ABLE)

    assert "output_config" not in body
    assert body["tools"][0]["input_schema"] == schema


@pytest.mark.parametrize("response_format", [wanted(), {"type": "json_object"}])
def test_another_model_is_made_to_answer_through_a_tool(response_format: dict[str, Any]) -> None:
    body = native(response_format=response_format)

    assert [tool["name"] for tool in body["tools"]] == ["answer_in_json"]
    assert body["tools"][0]["input_schema"]["type"] == "object"
    assert body["tool_choice"] == {"type": "tool", "name": "answer_in_json"}


def test_the_descriptions_of_the_schema_reach_the_model() -> None:
    tool = native(response_format=wanted(description="A city of Europe"))["tools"][0]

    assert tool["description"].endswith("A city of Europe")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"type": "any"}),
        ("auto", {"type": "any"}),
        ("none", {"type": "tool", "name": "answer_in_json"}),
    ],
)
def test_beside_the_clients_tools_the_answer_is_one_more(choice: Any, expected: dict[str, Any]) -> None:
    body = native(response_format=wanted(), tools=[WEATHER], tool_choice=choice)

    assert [tool["name"] for tool in body["tools"]] == ["get_weather", "answer_in_json"]
    assert body["tool_choice"] == expected


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "function": {"name": "get_weather"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [{"function": {"name": "get_weather"}}]},
        },
    ],
)
def test_a_forced_tool_disables_structured_text(choice: Any) -> None:
    body = native(response_format=wanted(), tools=[WEATHER], tool_choice=choice)

    assert [tool["name"] for tool in body["tools"]] == ["get_weather"]


def test_free_text_needs_nothing() -> None:
    assert "tools" not in native(response_format={"type": "text"})


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        native(response_format={"type": "yaml"})

    assert caught.value.param == "response_format"


def test_the_answers_tool_takes_a_name_that_is_free() -> None:
    taken = {"type": "function", "function": {"name": "answer_in_json"}}

    assert native(response_format=wanted(), tools=[taken])["tools"][1]["name"] == "answer_in_json_"


def test_the_arguments_of_the_tool_stream_as_content() -> None:
    asked = call(response_format=wanted(), stream=True)
    answer = [start(), tool(0, "t1", "answer_in_json", '{"ci', 'ty":"Bonn"}'), stop("tool_use"), END]

    raw = decoded(asked, answer)

    pieces = [chunk["choices"][0]["delta"].get("content") for chunk in chunks_of(raw)[:3]]
    assert pieces == ['{"ci', 'ty":"Bonn"}', None]
    assert (facts(raw)["content"], facts(raw)["finish"]) == ('{"city":"Bonn"}', "stop")
    assert "tool_calls" not in facts(raw)


def test_the_same_holds_without_a_stream() -> None:
    block = {"type": "tool_use", "id": "t1", "name": "answer_in_json", "input": {"city": "Köln"}}

    found = facts(decoded(call(response_format=wanted()), [message(block, reason="tool_use")]))

    assert (found["content"], found["finish"]) == ('{"city":"Köln"}', "stop")


def test_an_answer_that_is_cut_is_cut_for_the_client() -> None:
    answer = [start(), tool(0, "t1", "answer_in_json", '{"ci'), stop("max_tokens"), END]

    found = facts(decoded(call(response_format=wanted(), stream=True), answer))

    assert (found["content"], found["finish"]) == ('{"ci', "length")


@pytest.mark.parametrize("fragments", [(), ("",)])
def test_an_empty_answer_is_an_empty_object(fragments: tuple[str, ...]) -> None:
    answer = [start(), tool(0, "t1", "answer_in_json", *fragments), stop("tool_use"), END]

    assert facts(decoded(call(response_format=wanted(), stream=True), answer))["content"] == "{}"


def test_a_second_answer_is_passed_over() -> None:
    answer = [start(), tool(0, "a", "answer_in_json", '{"a":1}'), tool(1, "b", "answer_in_json", '{"a":2}')]

    found = facts(decoded(call(response_format=wanted(), stream=True), [*answer, stop("tool_use"), END]))

    assert found["content"] == '{"a":1}'


def test_the_clients_own_tool_is_called_as_ever() -> None:
    asked = call(response_format=wanted(), tools=[WEATHER], stream=True)

    found = facts(decoded(asked, [start(), tool(0, "t1", "get_weather", "{}"), stop("tool_use"), END]))

    assert (found["tool_calls"][0]["id"], found["finish"]) == ("t1", "tool_calls")


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_is_no_object_is_wrapped_and_unwrapped(stream: bool) -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/City"}, "$defs": {"City": {"type": "string"}}}
    asked = call(response_format=wanted(schema), stream=stream)
    sent_schema = sent(asked, target())[0]["tools"][0]["input_schema"]
    block = {"type": "tool_use", "id": "t1", "name": "answer_in_json", "input": {"answer": ["Bonn"]}}
    streamed = [start(), tool(0, "t1", "answer_in_json", '{"answer": ["B', 'onn"]}'), stop("tool_use"), END]

    found = facts(decoded(asked, streamed if stream else [message(block, reason="tool_use")]))

    assert sent_schema["properties"]["answer"] == {"type": "array", "items": {"$ref": "#/$defs/City"}}
    assert sent_schema["$defs"] == {"City": {"type": "string"}}
    assert found["content"] == '["Bonn"]'


def test_a_wrapped_answer_that_was_cut_is_given_as_it_is() -> None:
    asked = call(response_format=wanted({"type": "array"}), stream=True)

    found = facts(decoded(asked, [start(), tool(0, "t1", "answer_in_json", '{"answer": ["B'), stop("max_tokens"), END]))

    assert found["content"] == '{"answer": ["B'


def test_text_before_a_structured_answer_stays() -> None:
    found = facts(decoded(call(response_format=wanted(), stream=True), [start(), text(0, "No."), stop("refusal"), END]))

    assert (found["content"], found["finish"]) == ("No.", "content_filter")


@pytest.mark.parametrize("streamed", [False, True])
def test_text_beside_the_answers_tool_is_no_content(streamed: bool) -> None:
    asked = call(response_format=wanted(), stream=streamed)
    events = [start(), text(0, "Sure."), tool(1, "t1", "answer_in_json", '{"city":"Bonn"}'), text(2, "Done.")]
    blocks = [
        {"type": "text", "text": "Sure."},
        {"type": "tool_use", "id": "t1", "name": "answer_in_json", "input": {"city": "Bonn"}},
    ]
    answer = [*events, stop("tool_use"), END] if streamed else [message(*blocks, reason="tool_use")]

    assert facts(decoded(asked, answer))["content"] == '{"city":"Bonn"}'


def test_text_without_the_answers_tool_is_the_content() -> None:
    asked = call(response_format=wanted(), stream=True)

    found = facts(decoded(asked, [start(), text(0, "I ", "cannot."), stop(), END]))

    assert found["content"] == "I cannot."


@pytest.mark.parametrize("schema", [{"anyOf": [SCHEMA, {"type": "null"}]}, {"$ref": "#/$defs/A"}, {"type": "array"}])
def test_any_other_root_is_wrapped_with_its_definitions(schema: dict[str, Any]) -> None:
    definitions = {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}

    tool = native(response_format=wanted({**schema, "$defs": definitions}))["tools"][0]["input_schema"]

    assert tool["type"] == "object"
    assert tool["required"] == ["answer"]
    assert tool.get("$defs", definitions) == definitions


@pytest.mark.parametrize("choice", [{"type": "auto"}, {"type": "none"}])
def test_a_choice_that_forces_no_tool_keeps_the_form(choice: dict[str, str]) -> None:
    body = native(response_format={"type": "json_object"}, tools=[WEATHER], tool_choice=choice)

    assert [tool["name"] for tool in body["tools"]] == ["get_weather", "answer_in_json"]
