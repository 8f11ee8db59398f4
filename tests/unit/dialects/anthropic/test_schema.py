"""Schemas as Anthropic takes them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.dialects.anthropic.schema import NotExpressible, object_schema, strict_schema

TEXT = {"type": "string"}


@pytest.mark.parametrize("given", [None, "x", []])
def test_no_schema_is_an_object_without_members(given: Any) -> None:
    assert object_schema(given) == {"type": "object", "properties": {}}


def test_a_root_without_a_type_is_an_object() -> None:
    assert object_schema({"properties": {"a": TEXT}}) == {"type": "object", "properties": {"a": TEXT}}


@pytest.mark.parametrize(("name", "required"), [("anyOf", None), ("oneOf", None), ("allOf", ["a", "b"])])
def test_alternatives_at_the_root_are_merged(name: str, required: list[str] | None) -> None:
    branches = [{"properties": {"a": TEXT}, "required": ["a"]}, {"properties": {"b": TEXT}, "required": ["b"]}]

    found = object_schema({name: branches})

    assert found["properties"] == {"a": TEXT, "b": TEXT}
    assert found.get("required") == required
    assert name not in found


def test_what_all_alternatives_require_stays_required() -> None:
    branches = [{"required": ["k", "a"]}, {"required": ["k"]}, "odd"]

    assert object_schema({"anyOf": branches, "required": ["z"]})["required"] == ["z", "k"]


def test_a_strict_schema_closes_every_object() -> None:
    given = {"type": "object", "properties": {"p": {"type": "object", "properties": {"a": TEXT}}}}

    found = strict_schema(given)

    assert found["additionalProperties"] is False
    assert found["properties"]["p"]["additionalProperties"] is False


def test_bounds_that_cannot_be_said_are_told_in_the_description() -> None:
    given = {"type": "integer", "minimum": 1, "maximum": 5, "description": "Stars"}

    assert strict_schema(given) == {"type": "integer", "description": "Stars; minimum: 1; maximum: 5"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"type": "string", "format": "date"}, True),
        ({"type": "string", "format": "colour"}, False),
        ({"type": "string", "pattern": "^[a-z]+$"}, True),
        ({"type": "string", "pattern": "(?=x)"}, False),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, True),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, False),
    ],
)
def test_only_what_the_language_has_is_kept(given: dict[str, Any], kept: bool) -> None:
    assert (strict_schema(given) == given) is kept


def test_one_of_becomes_any_of_and_annotations_go() -> None:
    given = {"oneOf": [TEXT, {"type": "null"}], "$schema": "x", "nullable": True}

    assert strict_schema(given) == {"anyOf": [TEXT, {"type": "null"}]}


def test_references_inside_the_document_stay() -> None:
    part = {"type": "object", "properties": {"a": TEXT}, "additionalProperties": False}
    given = {"type": "object", "properties": {"p": {"$ref": "#/$defs/Part"}}, "$defs": {"Part": part}}

    assert strict_schema(given) == {**given, "additionalProperties": False}


@pytest.mark.parametrize(
    "given",
    [
        {"type": "object", "additionalProperties": True, "properties": {"a": TEXT}},
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object"},
        {"type": ["object", "null"]},
        {"type": "array", "items": True},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#"},
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {"items": {"$ref": "#/$defs/A"}}}},
    ],
)
def test_what_has_no_strict_form_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(NotExpressible):
        strict_schema(given)


def test_a_schema_without_a_bottom_is_refused() -> None:
    given: dict[str, Any] = {}
    for _ in range(500):
        given = {"type": "array", "items": given}

    with pytest.raises(NotExpressible):
        strict_schema(given)
