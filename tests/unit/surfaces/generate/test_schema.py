"""Schemas of Google's requests as JSON Schema."""

from __future__ import annotations

from proxy.surfaces.generate.schema import json_schema, schema_of


def test_schema_of_google_becomes_json_schema() -> None:
    schema = {
        "type": "OBJECT",
        "property_ordering": ["type"],
        "properties": {
            "type": {"type": "STRING", "format": "enum", "enum": ["OBJECT"], "nullable": True},
            "list": {"type": "ARRAY", "min_items": "2", "items": {"type": "NUMBER", "example": 1.5}},
            "any": {"anyOf": [{"type": "STRING"}, {"ref": "#/$defs/x"}], "nullable": True},
            "free": {"type": "TYPE_UNSPECIFIED", "additionalProperties": {"type": "BOOLEAN"}},
        },
        "defs": {"x": {"type": "NULL"}},
        "required": ["type"],
    }

    assert schema_of(schema, "x") == {
        "type": "object",
        "properties": {
            "type": {"type": ["string", "null"], "enum": ["OBJECT", None]},
            "list": {"type": "array", "minItems": 2, "items": {"type": "number", "examples": [1.5]}},
            "any": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/x"}, {"type": "null"}]},
            "free": {"additionalProperties": {"type": "boolean"}},
        },
        "$defs": {"x": {"type": "null"}},
        "required": ["type"],
    }


def test_json_schema_keeps_its_values() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {"type": {"const": "STRING", "default": {"type": "STRING"}}, "n": {"type": ["INTEGER", "NULL"]}},
        "nullable_name": True,
    }

    assert json_schema(schema) == {
        "type": "object",
        "properties": {"type": {"const": "STRING", "default": {"type": "STRING"}}, "n": {"type": ["integer", "null"]}},
        "nullable_name": True,
    }
