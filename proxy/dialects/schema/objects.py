"""Schemas of objects: finds out whether a schema is one, and closes it to members that it does not name."""

from __future__ import annotations

from typing import Any

from proxy.dialects.schema.language import NotExpressible, Schema
from proxy.dialects.schema.merge import types_of

_MEANS_OBJECT = {"properties", "required", "additionalProperties", "patternProperties"}


def is_false(node: Any) -> bool:
    """Return whether a schema accepts nothing."""
    return node is False or node == {"not": {}} or node == {"not": True}


def is_object(schema: Schema) -> bool:
    """Return whether a schema describes an object."""
    return "object" in (types_of(schema) or ()) or bool(_MEANS_OBJECT & schema.keys())


def closed(out: Schema, schema: Schema) -> Schema:
    """Close an object to additional members. Raises `NotExpressible` if it depends on them."""
    if "$ref" in out and len(out) > 1:
        return {"anyOf": [{"$ref": out.pop("$ref")}], **out}
    if not out.keys() & {"type", "enum", "const", "anyOf", "$ref", "properties"}:
        raise NotExpressible("a part of the schema accepts any value")
    if "array" in (types_of(schema) or ()) and "items" not in out:
        raise NotExpressible("an array of the schema accepts any items")
    if not is_object(schema):
        return out
    additional = out.get("additionalProperties")
    if additional not in (None, False) or (additional is None and not out.get("properties")):
        raise NotExpressible("an object of the schema has members that it does not name")
    return {**out, "additionalProperties": False}
