"""Schemas: what the target lacks is converted or reported."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from proxy.dialects.gemini.schema import plain


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"const": 3}, {"enum": [3]}),
        (
            {"definitions": {"A": {"const": 1}}, "$ref": "#/definitions/A"},
            {"$defs": {"A": {"enum": [1]}}, "$ref": "#/$defs/A"},
        ),
        (
            {"type": "integer", "exclusiveMinimum": 2, "exclusiveMaximum": 9},
            {"type": "integer", "minimum": 3, "maximum": 8},
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {}}, "required": ["a"]},
                    {"properties": {"b": {}}, "required": ["a", "b"]},
                ]
            },
            {"properties": {"a": {}, "b": {}}, "required": ["a", "b"]},
        ),
        ({"allOf": [{"$ref": "#/$defs/A"}], "description": "x"}, {"$ref": "#/$defs/A", "description": "x"}),
        (
            {"items": {"anyOf": [{"const": 1}, {"type": "null"}]}},
            {"items": {"anyOf": [{"enum": [1]}, {"type": "null"}]}},
        ),
        ({"properties": {"const": {"type": "string"}}}, {"properties": {"const": {"type": "string"}}}),
    ],
)
def test_what_can_be_said_in_other_words_is(schema: dict[str, Any], made: dict[str, Any]) -> None:
    before, lost = copy.deepcopy(schema), set[str]()

    assert plain(schema, lost) == made
    assert lost == set()
    assert schema == before


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"], "additionalProperties": False, "default": "x", "format": "date"},
        {"$defs": {"A": {"type": "object"}}, "oneOf": [{"$ref": "#/$defs/A"}], "title": "T", "enum": ["a"]},
        {"additionalProperties": {"type": "integer"}, "minItems": 1, "prefixItems": [{"type": "string"}]},
    ],
)
def test_what_gemini_knows_is_left_alone(schema: dict[str, Any]) -> None:
    lost: set[str] = set()

    assert plain(schema, lost) == schema
    assert lost == set()


def test_what_cannot_be_said_is_reported_by_its_keyword() -> None:
    lost: set[str] = set()
    schema = {
        "properties": {"a": {"pattern": "x"}, "b": {"type": "number", "exclusiveMinimum": 0}},
        "allOf": [{"type": "object"}, {"type": "string"}],
    }

    plain(schema, lost)

    assert lost == {"pattern", "exclusiveMinimum", "allOf"}


def test_a_schema_without_end_is_cut() -> None:
    schema: dict[str, Any] = {}
    for _ in range(900):
        schema = {"items": schema}

    plain(schema, set())


@pytest.mark.parametrize("schema", [True, None, "x", {"allOf": [True]}, {"properties": 3, "anyOf": 4}])
def test_odd_schemas_do_no_harm(schema: Any) -> None:
    plain(schema, set())
