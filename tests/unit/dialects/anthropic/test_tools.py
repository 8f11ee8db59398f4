"""Tools and the choice among them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from tests.unit.dialects.anthropic.build import (
    USER,
    WEATHER,
    call,
    decoded,
    dialect,
    facts,
    message,
    native,
    sent,
    target,
)

TIME = {"type": "function", "function": {"name": "get_time"}}
CACHE = {"type": "ephemeral"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]}
ONLY_TIME = [{"type": "function", "function": {"name": "get_time"}}]


def strict(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "strict": True, "parameters": parameters}}


def test_a_tool_has_name_description_and_schema() -> None:
    assert native(tools=[WEATHER, TIME])["tools"] == [
        {
            "name": "get_weather",
            "description": "The weather of a city",
            "input_schema": WEATHER["function"]["parameters"],  # type: ignore[index]
        },
        {"name": "get_time", "input_schema": {"type": "object", "properties": {}}},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "get_time"}}, {"type": "tool", "name": "get_time"}),
    ],
)
def test_every_form_of_the_choice_has_its_native_one(choice: Any, expected: dict[str, Any]) -> None:
    assert native(tools=[WEATHER, TIME], tool_choice=choice)["tool_choice"] == expected


def test_no_choice_is_left_to_anthropic() -> None:
    assert "tool_choice" not in native(tools=[WEATHER])


@pytest.mark.parametrize(("mode", "expected"), [("auto", "auto"), ("required", "any")])
@pytest.mark.parametrize("nested", [True, False])
def test_allowed_tools_are_the_only_ones_sent(mode: str, expected: str, nested: bool) -> None:
    allowed = {"mode": mode, "tools": ONLY_TIME}
    choice = {"type": "allowed_tools", **({"allowed_tools": allowed} if nested else allowed)}

    body = native(tools=[WEATHER, TIME], tool_choice=choice)

    assert [tool["name"] for tool in body["tools"]] == ["get_time"]
    assert body["tool_choice"] == {"type": expected}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", {"type": "any", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
    ],
)
def test_parallel_calls_can_be_switched_off(choice: Any, expected: dict[str, Any]) -> None:
    assert native(tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False)["tool_choice"] == expected


def test_without_tools_there_is_no_choice() -> None:
    body = native(tool_choice="auto", parallel_tool_calls=False)

    assert not {"tools", "tool_choice"} & set(body)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", {"type": "auto", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
        ({"name": "get_time"}, {"type": "tool", "name": "get_time", "disable_parallel_tool_use": True}),
    ],
)
def test_the_older_functions_are_tools_called_one_at_a_time(choice: Any, expected: dict[str, Any]) -> None:
    body = native(functions=[TIME["function"]], function_call=choice)

    assert [tool["name"] for tool in body["tools"]] == ["get_time"]
    assert body["tool_choice"] == expected


def test_functions_beside_tools_are_dropped_and_named() -> None:
    body, dropped = sent(call(tools=[WEATHER], functions=[TIME["function"]], function_call="auto"), target())

    assert [tool["name"] for tool in body["tools"]] == ["get_weather"]
    assert dropped == ("functions", "function_call")


def test_a_strict_tool_is_strict_where_the_model_can() -> None:
    body, dropped = sent(call(tools=[strict(SCHEMA)]), target(capabilities=frozenset({"json_schema"})))

    assert body["tools"][0]["strict"] is True
    assert body["tools"][0]["input_schema"]["additionalProperties"] is False
    assert body["tools"][0]["input_schema"]["properties"]["a"] == {"type": "integer", "description": "minimum: 1"}
    assert dropped == ("tools.minimum",)


@pytest.mark.parametrize(
    ("parameters", "capabilities"),
    [(SCHEMA, None), (SCHEMA, frozenset({"tools"})), ({"type": "object"}, frozenset({"json_schema"}))],
)
def test_unsupported_strict_is_dropped_and_reported(parameters: Any, capabilities: Any) -> None:
    body, dropped = sent(call(tools=[strict(parameters), strict(parameters)]), target(capabilities=capabilities))

    assert "strict" not in body["tools"][0]
    assert body["tools"][0]["input_schema"] == parameters
    assert dropped == ("tools.strict",)


def test_a_mark_for_caching_reaches_the_tool() -> None:
    inner = {"type": "function", "function": {**TIME["function"], "cache_control": CACHE}}  # type: ignore[dict-item]

    assert native(tools=[{**TIME, "cache_control": CACHE}])["tools"][0]["cache_control"] == CACHE
    assert native(tools=[inner])["tools"][0]["cache_control"] == CACHE


def test_anthropics_own_tools_pass_as_they_are() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}

    assert native(tools=[search, WEATHER])["tools"][0] == search


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0]"),
        ({"tools": [WEATHER], "tool_choice": "perhaps"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "allowed_tools", "tools": ONLY_TIME}}, "tool_choice"),
    ],
)
def test_what_anthropic_cannot_have_is_refused_by_name(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        native(**members)

    assert caught.value.param == param


def function(name: str, **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", **parameters}}}


AGAIN: dict[str, dict[str, Any]] = {
    "plain": {"tools": [function("f", properties={})]},
    "changed": {"tools": [function("f", anyOf=[{}]), function("g", not_known=1)]},
    "odd tool": {"tools": [function("f g"), function("f_g")]},
    "odd member": {"tools": [function("f", properties={"$top": {"type": "integer"}})]},
    "strict": {"tools": [strict(SCHEMA)]},
    "choice": {"tools": [function("f"), function("g")], "tool_choice": {"type": "function", "function": {"name": "g"}}},
    "allowed": {"tools": [function("f"), TIME], "tool_choice": {"type": "allowed_tools", "tools": ONLY_TIME}},
    "format": {"tools": [function("f")], "response_format": {"type": "json_object"}},
    "functions too": {"tools": [function("f")], "functions": [function("g h")["function"]]},
    "functions": {"tools": [], "functions": [function("g h")["function"]]},
    "marked": {"tools": [{**function("f"), "cache_control": CACHE}]},
}


@pytest.mark.parametrize("capabilities", [None, frozenset({"json_schema"})], ids=["free", "strict"])
@pytest.mark.parametrize("name", AGAIN)
def test_tools_that_came_before_lead_to_the_same_request(name: str, capabilities: Any) -> None:
    arguments = '{"$top": 1}'
    calls = [{"id": f"c{place}", "type": "function", "function": {"name": called, "arguments": arguments}}
             for place, called in enumerate(("f", "not declared"))]  # fmt: skip
    history = [USER, {"role": "assistant", "content": None, "tool_calls": calls}, USER]
    reader = dialect()
    reader.request(call(**AGAIN[name]), target(capabilities=frozenset({"tools"})), None)

    for members in (AGAIN[name], {**AGAIN[name], "messages": history}, {**AGAIN[name], "tool_choice": "none"}):
        asked, to = call(**members), target(capabilities=capabilities)
        sent, alone = reader.request(asked, to, None), dialect().request(asked, to, None)
        assert (sent.content, sent.dropped) == (alone.content, alone.dropped)


@pytest.mark.parametrize(
    ("parameters", "dropped"), [(None, ()), ({"type": "object", "properties": {"x": {}}}, ("tools.duplicate",))]
)
def test_of_tools_of_one_name_the_first_is_sent(parameters: Any, dropped: tuple[str, ...]) -> None:
    first = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    second = {
        "type": "function",
        "function": {**first["function"], **({"parameters": parameters} if parameters else {})},
    }

    body, named = sent(call(tools=[first, WEATHER, second]), target())

    assert [tool["name"] for tool in body["tools"]] == ["f", "get_weather"]
    assert body["tools"][0]["input_schema"] == {"type": "object", "properties": {}}
    assert named == dropped


def test_a_function_named_like_a_server_tool_gets_another_name() -> None:
    server = {"type": "web_search_20250305", "name": "web_search"}
    function = {"type": "function", "function": {"name": "web_search"}}
    asked = call(tools=[server, function], tool_choice=function)
    body, _ = sent(asked, target())
    name = body["tools"][1]["name"]

    found = facts(decoded(asked, [message({"type": "tool_use", "id": "t", "name": name, "input": {}})]))

    assert body["tools"][0] == server
    assert name != "web_search"
    assert body["tool_choice"] == {"type": "tool", "name": name}
    assert [called["function"]["name"] for called in found["tool_calls"]] == ["web_search"]
