"""JSON values and schemas."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.learning.conformity import MOST_LEVELS, MOST_VALUES, conforms

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": ["integer", "null"]},
        "kind": {"enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "parent": {"$ref": "#/$defs/parent"},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"parent": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
}


@pytest.mark.parametrize(
    "value",
    [
        {"name": "Ann"},
        {"name": "Ann", "age": 3.0, "kind": "a", "tags": ["x"], "parent": {"name": "Ben", "parent": None}},
        {"name": "Ann", "age": None},
    ],
)
def test_a_value_that_conforms(value: Any) -> None:
    assert conforms(value, PERSON)


@pytest.mark.parametrize(
    "value",
    [
        [],
        None,
        {},
        {"name": 1},
        {"name": "Ann", "age": True},
        {"name": "Ann", "age": 1.5},
        {"name": "Ann", "kind": "c"},
        {"name": "Ann", "tags": ["x", 1]},
        {"name": "Ann", "parent": {"age": 1}},
        {"name": "Ann", "other": 1},
    ],
)
def test_a_value_that_does_not_conform(value: Any) -> None:
    assert not conforms(value, PERSON)


@pytest.mark.parametrize(
    "schema", [None, True, {}, "odd", {"type": 3}, {"type": ["odd"]}, {"required": [1]}, {"$ref": "#/x"}]
)
def test_an_unknown_schema_accepts_everything(schema: Any) -> None:
    assert conforms({"a": [1]}, schema)


def test_a_constant_and_the_schema_that_nothing_satisfies() -> None:
    assert conforms(1, {"const": 1})
    assert not conforms(2, {"const": 1})
    assert not conforms(2, False)


def test_a_schema_that_refers_to_itself_ends() -> None:
    assert conforms(1, {"$ref": "#"})
    assert conforms(1, {"anyOf": [{"$ref": "#"}] * 9})


def test_deep_values_end() -> None:
    value: Any = 1
    for _ in range(3 * MOST_LEVELS):
        value = [value]

    assert conforms(value, {"items": {"$ref": "#"}})


@pytest.mark.parametrize("name", ["type", "enum", "required"])
def test_schemas_with_very_long_lists_accept_everything(name: str) -> None:
    short, long = ["odd", "string"], ["odd", "string"] * 10 * MOST_VALUES

    assert not conforms({}, {"type": "string", name: short} if name != "type" else {name: short})
    assert conforms([{}] * 1000, {"items": {name: long}})
