from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.surfaces.responses.parameters import chat_parameters, check_parameters

SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"max_output_tokens": 20}, {"max_completion_tokens": 20}),
        ({"temperature": 0.5, "top_p": 1, "user": "u"}, {"temperature": 0.5, "top_p": 1, "user": "u"}),
        ({"prompt_cache_key": "k", "safety_identifier": "s"}, {"prompt_cache_key": "k", "safety_identifier": "s"}),
        ({"service_tier": "flex", "metadata": {"a": "b"}}, {"service_tier": "flex", "metadata": {"a": "b"}}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"reasoning": {"effort": None}}, {}),
        ({"text": {}}, {}),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": False}, {}),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True, "top_logprobs": 0}),
        ({"include": ["reasoning.encrypted_content"], "max_tool_calls": 3, "store": False}, {}),
        ({"temperature": None, "truncation": "disabled", "previous_response_id": "resp_1"}, {}),
    ],
)
def test_parameter_of_a_chat(body: dict[str, Any], expected: dict[str, Any]) -> None:
    check_parameters(body)

    assert chat_parameters(body) == (expected, [])


def test_schema_of_the_answer() -> None:
    form = {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": True, "description": None}

    chat, _ = chat_parameters({"text": {"format": form}})

    expected = {"name": "city", "schema": SCHEMA, "strict": True}
    assert chat == {"response_format": {"type": "json_schema", "json_schema": expected}}


def test_parameters_without_counterpart_are_named() -> None:
    body = {
        "client_metadata": {},
        "odd, name": 1,
        "moderation": None,
        "include": ["new.value"],
        "reasoning": {"context": "all_turns", "mode": None},
        "truncation": "auto",
    }

    _, dropped = chat_parameters(body)

    assert dropped == ["client_metadata", "oddname", "include.new.value", "reasoning.context", "truncation"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", 5),
        ("model", ""),
        ("input", {}),
        ("instructions", []),
        ("stream", 1),
        ("store", "no"),
        ("background", "yes"),
        ("previous_response_id", ""),
        ("conversation", {"id": 5}),
        ("conversation", []),
        ("max_output_tokens", 0),
        ("max_output_tokens", True),
        ("max_tool_calls", 1.5),
        ("top_logprobs", 21),
        ("temperature", "hot"),
        ("temperature", True),
        ("text", "x"),
        ("reasoning", []),
        ("metadata", "x"),
        ("include", [1]),
        ("include", "x"),
        ("truncation", "some"),
        ("truncation", []),
        ("tool_choice", 5),
        ("prompt", "p"),
    ],
)
def test_wrong_type_is_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"`{name}` must be") as caught:
        check_parameters({name: value})

    assert caught.value.param == name


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ("json", "text.format.type"),
        ({"type": "xml"}, "text.format.type"),
        ({}, "text.format.type"),
        ({"type": "json_schema", "name": "x"}, "text.format.schema"),
    ],
)
def test_malformed_format_is_named(form: Any, param: str) -> None:
    with pytest.raises(InvalidRequest, match="must be") as caught:
        chat_parameters({"text": {"format": form}})

    assert caught.value.param == param
