"""Every instance of a schema, as `hypothesis-jsonschema` makes them, is an instance of what a target gets."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis_jsonschema._canonicalise import canonicalish
from jsonschema import Draft7Validator

from proxy.dialects.schema.express import express
from proxy.dialects.schema.language import OPENAI_STRICT, NotExpressible
from tests.property.instances import instances
from tests.property.test_schema import LANGUAGES, OPEN, accepts, check_language, documents, without_strays

DRAFT = "http://json-schema.org/draft-07/schema#"
bounded = settings(
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
TEXT = {"type": "string"}
SHAPE = {
    "oneOf": [
        {"properties": {"kind": {"const": "circle"}, "radius": {"type": "number", "exclusiveMinimum": 0}}},
        {"properties": {"kind": {"const": "box"}, "size": {"items": [{"type": "number"}, {"type": "number"}]}}},
    ],
    "required": ["kind"],
    "type": "object",
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "variants": SHAPE,
    "inherited": {"allOf": [{"type": "object", "properties": {"id": TEXT}, "required": ["id"]}, SHAPE]},
    "referred": {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/definitions/A", "description": "void beside a reference"},
            "b": {"type": "array", "items": {"$ref": "#/definitions/B"}, "maxItems": 3},
            "c": {"$ref": "#/properties/b/items"},
        },
        "definitions": {"A": {"type": ["string", "null"], "maxLength": 5}, "B": {"enum": ["x", 1, None, True]}},
    },
    "bounds": {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "exclusiveMinimum": 1, "maximum": 9},
            "b": {"type": "number", "multipleOf": 0.5, "minimum": 0, "exclusiveMaximum": 4},
            "c": {"type": "string", "pattern": "^[a-c]+$", "minLength": 2},
            "d": {"type": "array", "items": {"type": "boolean"}, "minItems": 2.0, "uniqueItems": True},
        },
        "additionalProperties": False,
    },
    "open": {
        "type": "object",
        "patternProperties": {"^x-": {"type": "integer"}},
        "additionalProperties": {"anyOf": [TEXT, {"type": "null"}]},
        "minProperties": 1,
    },
    "tuple": {
        "type": "object",
        "properties": {"t": {"type": "array", "items": [TEXT, {"type": "integer"}], "additionalItems": False}},
        "required": ["t"],
    },
    "conditional": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "integer"}},
        "if": {"properties": {"a": {"const": True}}},
        "then": {"required": ["b"]},
        "not": {"required": ["c"]},
        "dependencies": {"b": ["a"]},
    },
}
CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]+$"},
        "size": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        "part": {"$ref": "#/definitions/Part"},
    },
    "required": ["name", "size", "tags", "part"],
    "additionalProperties": False,
    "definitions": {
        "Part": {
            "type": "object",
            "properties": {"on": {"type": "boolean"}},
            "required": ["on"],
            "additionalProperties": False,
        }
    },
}


def check(name: str, schema: dict[str, Any], original: dict[str, Any], value: Any) -> None:
    """`value`, an instance of `original`, is one of what becomes of `schema`, which means the same."""
    language = LANGUAGES[name]
    found = express(schema, language)
    check_language(found.schema, language)
    if language.object_root and not isinstance(value, dict):
        return
    if language.object_root and "anyOf" in found.lost:
        value = without_strays(found.schema, value)
    if accepts(original, value, Draft7Validator):
        assert accepts(found.schema, value) is not False, (value, found)


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("kind", SCHEMAS)
@given(data=st.data())
@bounded
def test_instances_of_usual_schemas_stay_valid(kind: str, name: str, data: st.DataObject) -> None:
    schema = {"$schema": DRAFT, **SCHEMAS[kind]}

    check(name, schema, schema, data.draw(instances(schema)))


@pytest.mark.parametrize("name", OPEN)
@given(data=st.data(), schema=documents(references=False, drafts=[DRAFT]))
@settings(bounded, max_examples=80)
def test_instances_of_any_schema_stay_valid(name: str, data: st.DataObject, schema: dict[str, Any]) -> None:
    try:
        plain = canonicalish(copy.deepcopy(schema))
        value = data.draw(instances(schema))
    except InvalidArgument:  # its instances cannot be made, or there are none
        assume(False)
        return

    check(name, schema, schema, value)
    if isinstance(plain, dict):
        check(name, {"$schema": DRAFT, **plain}, schema, value)


@pytest.mark.parametrize("name", LANGUAGES)
@given(value=instances(CLOSED))
@bounded
def test_instances_of_closed_schemas_stay_valid(name: str, value: Any) -> None:
    check(name, CLOSED, CLOSED, value)


def test_a_schema_with_all_members_required_is_strict() -> None:
    assert express(CLOSED, OPENAI_STRICT).lost == ()


@pytest.mark.parametrize(
    ("schema", "lost"),
    [
        ({**CLOSED, "required": ["name"]}, ("strict",)),
        (
            {**CLOSED, "properties": {**CLOSED["properties"], "name": {"type": "string", "minLength": 1}}},
            ("minLength",),
        ),
    ],
)
def test_what_keeps_a_schema_from_being_strict_is_named(schema: dict[str, Any], lost: tuple[str, ...]) -> None:
    found = express(schema, OPENAI_STRICT)

    assert found.lost == lost
    assert found.schema["required"] == schema["required"]


@pytest.mark.parametrize("schema", [{"type": "object"}, {"type": "object", "additionalProperties": {"type": "string"}}])
def test_an_open_object_is_not_strict(schema: dict[str, Any]) -> None:
    with pytest.raises(NotExpressible):
        express(schema, OPENAI_STRICT)
