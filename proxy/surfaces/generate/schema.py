"""Google's schemas as JSON Schema.

`Schema` is a subset of OpenAPI 3.0 with types in upper case, `nullable`, and integers as strings. The members that take
JSON Schema are sent with upper-case types too (Gemini CLI). Source: ai.google.dev/api/caching, Schema.
"""

from __future__ import annotations

from typing import Any

from proxy.surfaces.generate.fields import integer_of, members_of

_TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_ONE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "defs", "dependentSchemas")


def json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema with its types in lower case; everything else stays."""
    return {name: _value(name, value, json_schema) for name, value in schema.items()}


def schema_of(schema: Any, where: str) -> dict[str, Any]:
    """Return a `Schema` as JSON Schema. Raises `InvalidRequest` if it is not an object."""
    members_of(schema, where)
    return _of_google(schema)


def _of_google(schema: dict[str, Any]) -> dict[str, Any]:
    members = members_of(schema, "schema")
    nullable = members.pop("nullable", False) is True
    members.pop("propertyOrdering", None)
    if "example" in members:
        members["examples"] = [members.pop("example")]
    if members.get("format") == "enum":
        del members["format"]
    found = {_dollar(name): _value(name, value, _of_google) for name, value in members.items()}
    if found.get("type") == "TYPE_UNSPECIFIED":
        del found["type"]
    for name in _COUNTS:
        if isinstance(found.get(name), str):
            found[name] = integer_of(found, name, "schema", least=0)
    if nullable:
        _allow_null(found)
    return found


def _dollar(name: str) -> str:
    """Return the JSON Schema name of a member that `Schema` writes without the dollar sign."""
    return {"defs": "$defs", "ref": "$ref"}.get(name, name)


def _value(name: str, value: Any, convert: Any) -> Any:
    """Return the value of a member, with the schemas in it converted."""
    if name == "type":
        return _type(value)
    if isinstance(value, dict):
        if name in _ONE:
            return convert(value)
        if name in _BY_NAME:
            return {key: convert(item) if isinstance(item, dict) else item for key, item in value.items()}
    elif isinstance(value, list) and (name in _SEVERAL or name == "items"):
        return [convert(item) if isinstance(item, dict) else item for item in value]
    return value


def _type(value: Any) -> Any:
    if isinstance(value, list):
        return [_type(item) for item in value]
    return value.lower() if isinstance(value, str) and value in _TYPES else value


def _allow_null(schema: dict[str, Any]) -> None:
    """Add null to what the schema accepts."""
    kind = schema.get("type")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    elif isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
