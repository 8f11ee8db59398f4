"""Tools of Google's requests as tools of a chat."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.surfaces.generate.tools import read_searches, read_tools

CITY = {"type": "object", "properties": {"city": {"type": "string"}}}


def tools(*functions: dict[str, Any], **calling: Any) -> dict[str, Any]:
    config = {"toolConfig": {"functionCallingConfig": calling}} if calling else {}
    return read_tools({"tools": [{"functionDeclarations": list(functions)}], **config}, {})


def test_functions_become_tools() -> None:
    dropped: dict[str, None] = {}
    declarations = [
        {"name": "a", "description": "A", "parameters_json_schema": CITY, "response_json_schema": {}},
        {"name": "b", "parameters": {"type": "OBJECT", "properties": {"x": {"type": "INTEGER", "nullable": True}}}},
        {"name": "a", "description": "again"},
    ]

    chat = read_tools({"tools": [{"functionDeclarations": declarations}, {"googleMaps": {}}]}, dropped)

    b = {"type": "object", "properties": {"x": {"type": ["integer", "null"]}}}
    assert chat == {
        "tools": [
            {"type": "function", "function": {"name": "a", "description": "A", "parameters": CITY}},
            {"type": "function", "function": {"name": "b", "parameters": b}},
        ]
    }
    assert list(dropped) == ["tools.functionDeclarations.responseJsonSchema", "tools.googleMaps"]


@pytest.mark.parametrize(
    ("calling", "names", "choice"),
    [
        ({}, ["a", "b"], None),
        ({"mode": "AUTO"}, ["a", "b"], "auto"),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["b"]}, ["b"], None),
        ({"mode": "any"}, ["a", "b"], "required"),
        ({"mode": "NONE"}, ["a", "b"], "none"),
        ({"mode": "ANY", "allowedFunctionNames": ["a", "b"]}, ["a", "b"], "required"),
        ({"mode": "ANY", "allowed_function_names": ["b"]}, ["b"], {"type": "function", "function": {"name": "b"}}),
    ],
)
def test_calling_config_selects_functions(calling: dict[str, Any], names: list[str], choice: Any) -> None:
    chat = tools({"name": "a"}, {"name": "b"}, **calling)

    assert [tool["function"]["name"] for tool in chat["tools"]] == names
    assert chat.get("tool_choice") == choice


@pytest.mark.parametrize(
    ("calling", "param"),
    [
        ({"mode": "SOME"}, "toolConfig.functionCallingConfig.mode"),
        ({"allowedFunctionNames": ["z"]}, "toolConfig.functionCallingConfig.allowedFunctionNames"),
        ({"allowedFunctionNames": [1]}, "toolConfig.functionCallingConfig.allowedFunctionNames"),
    ],
)
def test_impossible_choice_is_refused(calling: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as found:
        tools({"name": "a"}, **calling)

    assert found.value.param == param


def test_a_forced_call_needs_functions() -> None:
    body = {"tools": {"googleSearch": {}}, "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}

    with pytest.raises(InvalidRequest, match="requires functions"):
        read_tools(body, {})


def test_search_is_left_to_the_provider() -> None:
    body = {"tools": [{"functionDeclarations": [{"name": "a"}]}, {"googleSearch": {}}, {"googleSearchRetrieval": {}}]}
    dropped: dict[str, None] = {}

    assert [tool["function"]["name"] for tool in read_tools(body, dropped)["tools"]] == ["a"]
    assert dropped == {}
    assert read_searches(body) == ({"type": "web_search"},)
    assert read_searches({"tools": [{"codeExecution": {}}]}) == ()
