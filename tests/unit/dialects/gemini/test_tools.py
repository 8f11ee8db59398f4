"""Tools and the choice among them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from tests.unit.dialects.gemini.build import KEY, call, dialect, native, target

PARAMETERS = {"type": "object", "properties": {"x": {"type": ["string", "null"]}}, "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "description": "does", "parameters": PARAMETERS, "strict": True}}
BARE: dict[str, Any] = {"type": "function", "function": {"name": "g"}}


def config(choice: Any) -> Any:
    made = native({"tools": [TOOL, BARE], "tool_choice": choice})
    return made.get("toolConfig", {}).get("functionCallingConfig")


def test_functions_are_declared_with_their_json_schema() -> None:
    assert native({"tools": [TOOL, BARE]})["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "does", "parametersJsonSchema": PARAMETERS},
                {"name": "g"},
            ]
        }
    ]


def test_the_older_functions_are_declared_too() -> None:
    made = native({"functions": [TOOL["function"]], "function_call": {"name": "f"}})

    assert made["tools"][0]["functionDeclarations"][0]["name"] == "f"
    assert made["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}


@pytest.mark.parametrize(
    ("choice", "made"),
    [
        (None, None),
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ("any", {"mode": "ANY"}),
        ({"type": "any"}, {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [BARE]}},
            {"mode": "ANY", "allowedFunctionNames": ["g"]},
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]},
            {"mode": "VALIDATED", "allowedFunctionNames": ["g"]},
        ),
    ],
)
def test_every_form_of_choice_has_its_mode(choice: Any, made: Any) -> None:
    assert config(choice) == made


def test_a_choice_without_tools_is_not_sent() -> None:
    assert "toolConfig" not in native({"tool_choice": "auto"})


@pytest.mark.parametrize("choice", ["maybe", {"type": "custom"}, {"type": "function", "function": {}}])
def test_a_choice_that_cannot_be_said_is_refused(choice: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        config(choice)

    assert caught.value.param == "tool_choice"


def test_googles_own_tools_are_taken_as_they_are() -> None:
    made = native({"tools": [{"googleSearch": {}}, BARE]})

    assert made["tools"] == [{"functionDeclarations": [{"name": "g"}]}, {"googleSearch": {}}]


@pytest.mark.parametrize(
    "tool", [{"type": "web_search"}, {"type": "custom", "custom": {"name": "x"}}, {"type": "function"}, {}]
)
def test_other_tools_are_refused(tool: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        native({"tools": [tool]})

    assert caught.value.param == "tools[0]"


def test_a_function_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        native({"tools": [{"type": "function", "function": {"description": "?"}}]})


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "function": {"name": "h"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "h"}]},
    ],
)
def test_a_choice_of_no_declared_function_is_refused(choice: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        config(choice)

    assert refused.value.param == "tool_choice"


def test_allowed_names_are_declared_names_only() -> None:
    both = [BARE, {"type": "function", "name": "h"}]

    assert config({"type": "allowed_tools", "mode": "auto", "tools": both})["allowedFunctionNames"] == ["g"]


@pytest.mark.parametrize(("choice", "dropped"), [("auto", ()), ("none", ()), ("required", ("tool_choice",))])
def test_no_choice_is_sent_for_tools_of_google_alone(choice: str, dropped: tuple[str, ...]) -> None:
    body = {"tools": [{"googleSearch": {}}], "tool_choice": choice}
    request = dialect().request(call(body), target(), KEY)

    assert b"toolConfig" not in request.content
    assert request.dropped == dropped


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "models/gemini-2.0-flash-001", "gemini-1.5-pro"])
def test_functions_beside_google_s_tools_are_refused(model: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        native({"tools": [TOOL, {"googleSearch": {}}]}, model=model)

    assert refused.value.param == "tools"


def test_newer_models_take_functions_beside_google_s_tools() -> None:
    assert len(native({"tools": [TOOL, {"googleSearch": {}}]}, model="gemini-3-pro-preview")["tools"]) == 2


@pytest.mark.parametrize(
    ("second", "dropped"), [({}, ()), ({"description": "another"}, ("tools.duplicate",))], ids=["same", "different"]
)
def test_a_function_is_declared_once(second: dict[str, Any], dropped: tuple[str, ...]) -> None:
    again = {**BARE, "function": {**BARE["function"], **second}}
    request = dialect().request(call({"tools": [BARE, again]}), target(), KEY)

    assert json.loads(request.content)["tools"] == [{"functionDeclarations": [{"name": "g"}]}]
    assert request.dropped == dropped
