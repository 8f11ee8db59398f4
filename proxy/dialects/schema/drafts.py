"""Conversion of a schema node from any draft (4 to 2020-12) to the syntax of 2020-12; malformed members are omitted.

Only the node itself is converted; its subschemas are converted when they are visited. OpenAPI's `nullable` and
upper-case types are supported, which can only make a schema more permissive.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from proxy.dialects.schema.language import ANNOTATIONS, Schema

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
NAMED = frozenset({"properties", "patternProperties", "dependentSchemas"})  # members that contain schemas by name
LISTS = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
SINGLE = frozenset(
    {
        "items",
        "additionalProperties",
        "not",
        "if",
        "then",
        "else",
        "contains",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
COUNTS = frozenset(
    {
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "minContains",
        "maxContains",
    }
)
NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
DEFINITIONS = ("$defs", "definitions")
_IDENTITY = frozenset(
    {
        "$schema",
        "$id",
        "$anchor",
        "$dynamicAnchor",
        "$recursiveAnchor",
        "$vocabulary",
        "$comment",
        "$defs",
        "definitions",
    }
)
_OF_OTHERS = frozenset({"additionalProperties", "unevaluatedProperties", "items", "unevaluatedItems"})
_NEVER: tuple[Schema, ...] = ({"not": {}}, {"not": True})
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_OLD_DRAFT = re.compile(r"draft-0?[3-7]\b")


_NOTES: Mapping[str, type] = {
    **dict.fromkeys(("pattern", "format", "title", "description", "contentEncoding", "contentMediaType"), str),
    **dict.fromkeys(("deprecated", "readOnly", "writeOnly"), bool),
    "examples": list,
}


class Ref:
    """The target of a reference: a node of the document, and the last part of its URL."""

    __slots__ = ("name", "node")

    def __init__(self, node: Any, name: str) -> None:
        self.node = node
        self.name = name


def is_old(schema: Mapping[str, Any]) -> bool:
    """Whether the document declares a draft in which siblings of `$ref` are ignored."""
    dialect = schema.get("$schema")
    return isinstance(dialect, str) and _OLD_DRAFT.search(dialect) is not None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_schema(value: Any) -> bool:
    """Whether a value is a schema."""
    return isinstance(value, (dict, bool))


def normal(node: Any, *, old: bool = False) -> Schema:
    """Return the node in the syntax of 2020-12. `old`: siblings of `$ref` are ignored."""
    if not isinstance(node, dict):
        return {"not": {}} if node is False else {}
    out: Schema = {}
    for name, value in node.items():
        kept = _kept(name, value)
        if kept is not None:
            out[name] = kept[0]
    if old and "$ref" in out:
        return {name: value for name, value in out.items() if name == "$ref" or name in ANNOTATIONS}
    _bounds(out, node)
    _tuples(out, node)
    _dependencies(out, node)
    if node.get("nullable") is True:
        _nullable(out)
    return out


def _kept(name: str, value: Any) -> tuple[Any] | None:
    """Return the member's value in a tuple, or `None` if it is malformed or does not constrain the instance."""
    if name in _IDENTITY or name in ("id", "nullable", "additionalItems", "dependencies"):
        return None
    if name == "type":
        return _types(value)
    if name == "required":
        names = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
        return (list(dict.fromkeys(names)),) if names else None
    if name == "dependentRequired":
        return (_dependent(value),) if isinstance(value, dict) else None
    if name in LISTS and isinstance(value, list):
        value = [item if is_schema(item) else True for item in value if is_schema(item) or name == "prefixItems"]
    if not _is_well_formed(name, value):
        return None
    if name in _OF_OTHERS and value in _NEVER:
        return (False,)
    return (int(value) if name in COUNTS else value,)


def _is_well_formed(name: str, value: Any) -> bool:
    if name in NAMED:
        return isinstance(value, dict)
    if name in LISTS:
        return isinstance(value, list) and bool(value)
    if name in SINGLE:
        return is_schema(value)
    if name in COUNTS:
        return is_number(value) and value >= 0 and value == int(value)
    if name in NUMBERS:
        return is_number(value) and (name != "multipleOf" or value > 0)
    if name == "enum":
        return isinstance(value, list) and bool(value)
    if name == "uniqueItems":
        return value is True
    if name in REFERENCES:
        return isinstance(value, (str, Ref))
    if name in _NOTES:
        return isinstance(value, _NOTES[name])
    return name != "contentSchema" or is_schema(value)


def _types(value: Any) -> tuple[Any] | None:
    types = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in types):
        return None  # draft 3 allows schemas here
    names = list(dict.fromkeys(item.lower() for item in types))
    if not names or not set(names) <= set(TYPES):
        return None
    return (names[0] if len(names) == 1 else names,)


def _bounds(out: Schema, node: Mapping[str, Any]) -> None:
    """Convert draft 4's bounds, whose exclusiveness is a separate flag."""
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if node.get(exclusive) is True and inclusive in out:
            out[exclusive] = out.pop(inclusive)


def _tuples(out: Schema, node: Mapping[str, Any]) -> None:
    """Convert tuples: until 2019-09, a list in `items` is a tuple, and `additionalItems` constrains the other items."""
    items = node.get("items")
    if isinstance(items, list):
        if items:
            out["prefixItems"] = items
        rest = node.get("additionalItems")
        if is_schema(rest):
            out["items"] = rest
    if out.get("items") is True:
        del out["items"]


def _dependencies(out: Schema, node: Mapping[str, Any]) -> None:
    dependencies = node.get("dependencies")
    if not isinstance(dependencies, dict):
        return
    required = {name: value for name, value in dependencies.items() if isinstance(value, list)}
    schemas = {name: value for name, value in dependencies.items() if is_schema(value)}
    required |= {name: [value] for name, value in dependencies.items() if isinstance(value, str)}
    if required:
        out["dependentRequired"] = {**_dependent(required), **out.get("dependentRequired", {})}
    if schemas:
        out["dependentSchemas"] = {**schemas, **out.get("dependentSchemas", {})}


def _dependent(value: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        name: list(dict.fromkeys(item for item in names if isinstance(item, str)))
        for name, names in value.items()
        if isinstance(names, list)
    }


def _nullable(out: Schema) -> None:
    kinds = out.get("type")
    if kinds is not None:
        kinds = [kinds] if isinstance(kinds, str) else kinds
        out["type"] = [*kinds, "null"] if "null" not in kinds else kinds
    if "enum" in out and None not in out["enum"]:
        out["enum"] = [*out["enum"], None]
    if out.get("const") is not None:
        out["enum"] = [out.pop("const"), None]
    for name in ("anyOf", "oneOf"):
        if name in out:
            out[name] = [*out[name], {"type": "null"}]
    if "allOf" in out:
        out["anyOf"] = [{"allOf": out.pop("allOf")}, {"type": "null"}]
