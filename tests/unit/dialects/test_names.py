"""Names that a target refuses are replaced there and put back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from proxy.dialects.names import Alphabet, ToolNames, member_names, replacements
from tests.unit.dialects.anthropic import build as anthropic
from tests.unit.dialects.gemini import build as gemini

ALPHABET = Alphabet(re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,15}"), 16)
ODD = ["3d_render", "get weather", "a.b/c", "x" * 65, "", "名前", "a\udc00"]


def test_each_odd_name_gets_a_name_of_its_own() -> None:
    names = ["a b", "a_b", "a.b", "a?b", "3d", "_3d", "", "名前", "名字", "y" * 30, "y" * 31, "a\udc00"]

    found = replacements(names, ALPHABET)

    assert set(found) == set(names) - {"a_b", "_3d"}
    assert all(ALPHABET.takes(new) for new in found.values())
    assert len({*found.values(), "a_b", "_3d"}) == len(names)
    assert replacements(names, ALPHABET) == found


def test_names_that_are_taken_need_nothing() -> None:
    names = ToolNames(ALPHABET)
    names.add([("f", None)])
    body = {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]}

    assert names.applied(body) is body


def test_the_names_of_a_schema_are_those_of_members() -> None:
    schema = {
        "properties": {"a": {"items": [{"required": ["b"]}]}, "properties": {"properties": {"c": True}}},
        "definitions": {"D x": {"dependencies": {"d": ["e"]}}},
        "components": {"schemas": {"S x": {"properties": {"f": {}}}}},
        "enum": [{"properties": {"g h": 1}}],
        "anyOf": [{"dependentRequired": {"i": ["j"]}}],
    }

    assert set(member_names(schema)) == {"a", "b", "properties", "c", "d", "e", "f", "i", "j"}


def function(name: str, parameters: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters or {"type": "object"}}}


def history(name: str, arguments: str) -> list[dict[str, Any]]:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]


def anthropic_names(body: dict[str, Any]) -> list[str]:
    native = anthropic.native(**body)
    return [native["tools"][0]["name"], native["tool_choice"]["name"], native["messages"][1]["content"][0]["name"]]


def gemini_names(body: dict[str, Any]) -> list[str]:
    native = gemini.native(body)
    called = native["contents"][1]["parts"][0]["functionCall"]["name"]
    assert native["contents"][2]["parts"][0]["functionResponse"]["name"] == called
    config = native["toolConfig"]["functionCallingConfig"]
    return [native["tools"][0]["functionDeclarations"][0]["name"], config["allowedFunctionNames"][0], called]


@pytest.mark.parametrize("name", ODD[:4])
@pytest.mark.parametrize(
    ("names_of", "pattern"),
    [(anthropic_names, r"[a-zA-Z0-9_-]{1,64}"), (gemini_names, r"[a-zA-Z_][a-zA-Z0-9_.-]{0,63}")],
)
@pytest.mark.parametrize("form", ["function", "allowed"])
def test_a_tool_has_one_name_in_all_of_a_request(
    name: str, names_of: Callable[[dict[str, Any]], list[str]], pattern: str, form: str
) -> None:
    named = {"type": "function", "function": {"name": name}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}
    body = {
        "messages": history(name, "{}"),
        "tools": [function(name)],
        "tool_choice": named if form == "function" or names_of is anthropic_names else allowed,
    }

    found = names_of(body)

    assert len(set(found)) == 1
    assert re.fullmatch(pattern, found[0])


def test_anthropic_calls_come_back_by_the_clients_name() -> None:
    asked = anthropic.call(tools=[function("get weather"), function("get_weather")], stream=True)
    native, _ = anthropic.sent(asked, anthropic.target())
    sent = [tool["name"] for tool in native["tools"]]
    answer = [anthropic.start(), anthropic.tool(0, "t1", sent[0], "{}"), anthropic.tool(1, "t2", sent[1], "{}")]

    found = anthropic.facts(anthropic.decoded(asked, [*answer, anthropic.stop("tool_use"), anthropic.END]))

    assert [call["function"]["name"] for call in found["tool_calls"]] == ["get weather", "get_weather"]


@pytest.mark.parametrize("stream", [False, True])
def test_gemini_calls_come_back_by_the_clients_name(stream: bool) -> None:
    asked = gemini.call({"tools": [function("3d render")], "stream": stream})
    sent = json.loads(gemini.dialect().request(asked, gemini.target(), gemini.KEY).content)
    name = sent["tools"][0]["functionDeclarations"][0]["name"]
    part = {"functionCall": {"name": name, "args": {}}}
    answer = {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}], "usageMetadata": {}}
    raw = json.dumps(answer).encode()

    decoder = gemini.dialect().decoder(asked, gemini.target(), {})
    out = decoder.feed(b"data: " + raw + b"\r\n\r\n" if stream else raw) + decoder.finish()

    assert b'"name":"3d render"' in out


MEMBERS = {
    "type": "object",
    "properties": {
        "$top": {"type": "integer"},
        "filter[name]": {"type": "object", "properties": {"@type": {"type": "string"}}},
        "_top": {"type": "string"},
        "k" * 70: {"type": "string"},
    },
    "required": ["$top"],
}
ARGUMENTS = {"$top": 1, "filter[name]": {"@type": '{"$top": "é"}'}, "_top": "x", "k" * 70: "y"}


def native_arguments() -> dict[str, Any]:
    native = anthropic.native(tools=[function("f", MEMBERS)], messages=history("f", json.dumps(ARGUMENTS)))
    found: dict[str, Any] = native["messages"][1]["content"][0]["input"]
    return found


def test_members_are_replaced_in_schema_and_history() -> None:
    schema = anthropic.native(tools=[function("f", MEMBERS)])["tools"][0]["input_schema"]
    arguments = native_arguments()

    assert all(re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name) for name in member_names(schema))
    assert arguments.keys() == schema["properties"].keys()
    assert schema["required"] == [next(iter(arguments))]
    assert arguments["_top"] == "x"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("stream", [False, True])
def test_members_come_back_wherever_the_answer_is_cut(size: int, stream: bool) -> None:
    asked = anthropic.call(tools=[function("f", MEMBERS)], stream=stream)
    text = json.dumps(native_arguments())
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    whole = [
        anthropic.message({"type": "tool_use", "id": "t", "name": "f", "input": native_arguments()}, reason="tool_use")
    ]
    streamed = [anthropic.start(), anthropic.tool(0, "t", "f", *pieces), anthropic.stop("tool_use"), anthropic.END]

    found = anthropic.facts(anthropic.decoded(asked, streamed if stream else whole))

    assert json.loads(found["tool_calls"][0]["function"]["arguments"]) == ARGUMENTS


@pytest.mark.parametrize("able", [False, True])
def test_members_of_a_formatted_answer_come_back(able: bool) -> None:
    schema = {"type": "object", "properties": {"a b": {"type": "string"}}, "required": ["a b"]}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    target = anthropic.target(capabilities=frozenset({"json_schema"} if able else ()))
    asked = anthropic.call(response_format=form, stream=True)
    native, _ = anthropic.sent(asked, target)
    sent = native["output_config"]["format"]["schema"] if able else native["tools"][0]["input_schema"]
    (name,) = sent["properties"]
    text = json.dumps({name: "x"})
    block = (
        anthropic.text(0, text[:4], text[4:]) if able else anthropic.tool(0, "t", "answer_in_json", text[:4], text[4:])
    )

    found = anthropic.facts(
        anthropic.decoded(asked, [anthropic.start(), block, anthropic.stop(), anthropic.END], target)
    )

    assert name == "a_b"
    assert json.loads(found["content"]) == {"a b": "x"}
