"""Function calls: ids, signatures, arguments in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.dialects.gemini.build import chunk, decoder, deltas, message, read, sse


def call(name: str | None = "f", **more: Any) -> dict[str, Any]:
    return {"functionCall": {**({"name": name} if name else {}), **more}}


def piece(path: str, *, more: bool = False, **value: Any) -> dict[str, Any]:
    """A later part of a call, with one piece of its arguments."""
    partial = {"jsonPath": path, **value, **({"willContinue": True} if more else {})}
    return {"functionCall": {"partialArgs": [partial], "willContinue": True}}


def calls(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = message(chunk(*parts, finish="STOP"))["tool_calls"]
    return found


def arguments(*parts: dict[str, Any]) -> Any:
    [made] = calls(call(willContinue=True), *parts, {"functionCall": {}})
    return json.loads(made["function"]["arguments"])


def test_a_call_keeps_its_name_and_arguments() -> None:
    [made] = calls(call(args={"x": "ü"}))

    assert made["type"] == "function"
    assert made["function"] == {"name": "f", "arguments": '{"x": "ü"}'}


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert calls(call())[0]["function"]["arguments"] == "{}"


def test_an_id_of_the_provider_is_kept() -> None:
    assert [made["id"] for made in calls(call(id="a"), call(id="b"))] == ["a", "b"]


def test_missing_ids_are_generated_and_unique() -> None:
    ids = [made["id"] for made in calls(call(), call(), call(id="a"), call(id="a"), call(id=""))]

    assert len(set(ids)) == 5
    assert all(ids)
    assert ids == [made["id"] for made in calls(call(), call(), call(id="a"), call(id="a"), call(id=""))]


def test_a_signature_is_given_out() -> None:
    [made] = calls({**call(id="a"), "thoughtSignature": "c2ln"})

    assert made["extra_content"] == {"google": {"thought_signature": "c2ln"}}


def test_generated_ids_do_not_depend_on_those_of_the_upstream() -> None:
    whole = json.dumps(chunk(call(), finish="STOP", responseId="x")).encode()

    asked = ("Hi", "Hello")
    first, second = (decoder(stream=False, messages=[{"role": "user", "content": text}]) for text in asked)
    made = [json.loads(read(each, [whole]))["choices"][0]["message"]["tool_calls"][0] for each in (first, second)]

    assert made[0]["id"] != made[1]["id"]


@pytest.mark.parametrize(
    ("parts", "value"),
    [
        ([], {}),
        ([piece("$.a", stringValue="x")], {"a": "x"}),
        ([piece("$.a", more=True, stringValue="x"), piece("$.a", stringValue="y")], {"a": "xy"}),
        ([piece("$.a", stringValue="x"), piece("$.a", stringValue="y")], {"a": "y"}),
        ([piece("$.a.b", numberValue=1), piece("$.a.c", boolValue=False)], {"a": {"b": 1, "c": False}}),
        ([piece("$.a[1].b", nullValue="NULL_VALUE"), piece("$.a[0]", numberValue=0)], {"a": [0, {"b": None}]}),
        ([piece("$['a b'][\"c\"]", stringValue="x")], {"a b": {"c": "x"}}),
        ([piece("$.a", stringValue="x"), piece("$.a.b", stringValue="y"), piece("$", numberValue=1)], {"a": "x"}),
        ([piece("$.a[99999999]", numberValue=1)], {"a": []}),
        ([{"functionCall": {"partialArgs": [7, {}, {"jsonPath": 3}], "willContinue": True}}], {}),
        ([{"functionCall": {"args": {"a": 1}, "willContinue": True}}], {"a": 1}),
    ],
)
def test_arguments_in_pieces_are_put_together(parts: list[dict[str, Any]], value: Any) -> None:
    assert arguments(*parts) == value


def test_a_call_that_is_never_closed_is_closed_by_the_end() -> None:
    [made] = calls(call(willContinue=True), piece("$.a", stringValue="x", more=True))

    assert made["function"]["arguments"] == '{"a": "x"}'


def test_streamed_calls_start_at_once_and_get_whole_arguments() -> None:
    wire = sse(
        chunk(call(willContinue=True)),
        chunk(piece("$.a", stringValue="x")),
        chunk({"functionCall": {}}),
        chunk(call("g", args={}), finish="STOP"),
    )

    found = [delta["tool_calls"][0] for delta in deltas(read(decoder(), [wire])) if "tool_calls" in delta]

    assert [(item["index"], item["function"].get("name")) for item in found] == [
        (0, "f"),
        (0, None),
        (1, "g"),
        (1, None),
    ]
    assert [item["function"]["arguments"] for item in found] == ["", '{"a": "x"}', "", "{}"]


def test_a_piece_without_a_call_is_passed_over() -> None:
    assert "tool_calls" not in message(chunk(piece("$.a", stringValue="x"), finish="STOP"))
