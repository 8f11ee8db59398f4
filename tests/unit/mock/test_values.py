"""Values for JSON schemas."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.mock.values import arguments, instance

WORDS = st.sampled_from(
    ["type", "properties", "items", "$ref", "allOf", "anyOf", "oneOf", "required", "minItems", "enum", "prefixItems"]
)
SCHEMAS = st.recursive(
    st.sampled_from(["#", "#/items", "object", "array", "string", "integer", "null", 3, True, None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


def made(schema: Any, seed: int = 1) -> Any:
    return instance(schema, Random(seed), "thing")


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "[MOCK] thing"),
        ({"type": "null"}, None),
        ({"const": 5}, 5),
        ({"const": None}, None),
        ({"enum": [None, "only"]}, "only"),
        ({"type": "string", "default": "d"}, "d"),
        ({"type": "string", "default": "d", "examples": ["e"]}, "e"),
        ({"type": "string", "default": None}, "[MOCK] thing"),
        ({"type": ["null", "string"]}, "[MOCK] thing"),
        ({"type": "string", "maxLength": 4}, "[MOC"),
        ({"type": "string", "minLength": 20}, "[MOCK] thing mock mo"),
        ({"type": "string", "format": "date"}, "2025-01-01"),
        ({"type": "string", "format": "date-time"}, "2025-01-01T12:00:00Z"),
        ({"type": "string", "format": "email"}, "mock@example.com"),
        ({"type": "string", "format": "uri"}, "https://example.com/mock"),
        ({"type": "string", "format": ["odd"]}, "[MOCK] thing"),
        ({"type": "integer", "minimum": 3, "maximum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5}, 4),
        ({"type": "integer", "minimum": 11, "maximum": 19, "multipleOf": 7}, 14),
        ({"type": "number", "minimum": 2.5, "maximum": 2.5}, 2.5),
        ({"type": "array", "items": {"type": "string"}}, ["[MOCK] thing 1"]),
        ({"type": "array", "items": {"const": 1}, "minItems": 3}, [1, 1, 1]),
        ({"type": "array", "maxItems": 0}, []),
        ({"prefixItems": [{"const": 1}, {"const": "b"}], "items": False}, [1, "b"]),
        ({"type": "object"}, {}),
        ({"additionalProperties": {"type": "string"}}, {"key": "[MOCK] key"}),
        ({"required": ["a"]}, {"a": "[MOCK] a"}),
        ({"anyOf": [{"type": "null"}, {"const": 1}]}, 1),
        ({"oneOf": [{"const": 1}, {"const": 2}]}, 1),
        ({"anyOf": [{"type": "null"}]}, None),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 7}}}, 7),
        ({"$ref": "https://elsewhere.example/schema"}, "[MOCK] thing"),
        ({"$ref": "#/nowhere/9"}, "[MOCK] thing"),
        (True, "[MOCK] thing"),
        (None, "[MOCK] thing"),
        ({"type": "unheard-of"}, "[MOCK] thing"),
    ],
)
def test_a_schema_gets_its_value(schema: Any, value: Any) -> None:
    assert made(schema) == value


def test_objects_have_all_their_properties_nested_ones_too() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "address": {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "string"}}},
        },
        "required": ["name", "extra"],
    }

    assert made(schema) == {
        "name": "[MOCK] name",
        "address": {"city": "[MOCK] city", "zip": "[MOCK] zip"},
        "extra": "[MOCK] extra",
    }


def test_all_of_joins_properties_and_required_names() -> None:
    schema = {
        "allOf": [
            {"$ref": "#/$defs/base"},
            {"properties": {"b": {"const": 2}}, "required": ["b", "c"]},
        ],
        "$defs": {"base": {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}},
    }

    assert made(schema) == {"a": 1, "b": 2, "c": "[MOCK] c"}


def test_what_stands_beside_a_reference_counts_too() -> None:
    schema = {"$ref": "#/$defs/name", "maxLength": 6, "$defs": {"name": {"type": "string", "minLength": 2}}}

    assert made(schema) == "[MOCK]"


def test_a_recursive_list_ends() -> None:
    schema = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"value": {"const": 1}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
                "required": ["value", "next"],
            }
        },
    }

    assert made(schema) == {"value": 1, "next": {"value": 1, "next": None}}


def test_a_recursive_tree_ends() -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"const": "n"}, "children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["name", "children"],
    }

    assert made(schema) == {"name": "n", "children": [{"name": "n", "children": []}]}


def test_a_recursion_without_an_end_is_cut() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]}

    assert len(json.dumps(made(schema))) < 100_000


def test_a_greedy_schema_is_bounded() -> None:
    inner: Any = {"type": "string", "minLength": 10**9}
    for _ in range(10):
        inner = {"type": "array", "minItems": 10**9, "items": inner}

    assert len(json.dumps(made(inner))) < 10_000_000


@pytest.mark.parametrize("seed", range(20))
def test_numbers_stay_inside_their_bounds(seed: int) -> None:
    schema = {
        "properties": {
            "free": {"type": "integer"},
            "share": {"type": "number", "minimum": 0, "maximum": 1},
            "inside": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
            "below": {"type": "integer", "maximum": -5},
            "above": {"type": "integer", "minimum": 1000},
            "halves": {"type": "number", "minimum": 0.2, "maximum": 0.6, "multipleOf": 0.5},
            "fives": {"type": "integer", "minimum": 1, "multipleOf": 5},
        }
    }

    value = made(schema, seed)

    assert 1 <= value["free"] <= 100
    assert 0 <= value["share"] <= 1
    assert 0 < value["inside"] < 0.001
    assert value["below"] <= -5
    assert value["above"] >= 1000
    assert value["halves"] == 0.5
    assert value["fives"] % 5 == 0


@pytest.mark.parametrize("bound", [True, "3", float("nan"), float("inf"), 10**400])
def test_a_bound_that_is_none_is_no_bound(bound: Any) -> None:
    schema = {"type": "integer", "minimum": bound, "maximum": bound, "multipleOf": bound}

    assert 1 <= made(schema) <= 100


def test_unique_items_differ() -> None:
    schema = {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True, "minItems": 2}

    assert sorted(made(schema)) == ["a", "b"]


def test_a_uuid_is_one_and_depends_on_the_seed() -> None:
    first, second = (made({"type": "string", "format": "uuid"}, seed) for seed in (1, 2))

    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first)
    assert first != second


@pytest.mark.parametrize("parameters", [None, [], "x", True, {"type": "string"}, {"const": [1]}])
def test_arguments_are_always_an_object(parameters: Any) -> None:
    assert arguments(parameters, Random(1)) == {}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SCHEMAS)
def test_no_schema_is_too_odd(schema: Any) -> None:
    assert json.dumps(made(schema)) == json.dumps(made(schema))
