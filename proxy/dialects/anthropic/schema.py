"""JSON schemas in the language that Anthropic takes.

Tools take any JSON Schema whose root is an object without `anyOf`, `oneOf` or `allOf`. Strict tools and structured
output take less. Source: Anthropic's documentation, "Structured outputs", JSON Schema limitations: objects are closed,
no recursion, no outside `$ref`, no bounds of numbers, strings and arrays (but `minItems` 0 and 1), no complex patterns.
A bound that cannot be said is told to the model in the description; a schema that means something else when closed
is refused with `NotExpressible`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]

_AS_IT_IS = {"type", "enum", "const", "description", "title", "default", "required", "$ref"}
_SCHEMAS = {"properties", "$defs", "definitions"}  # members that hold schemas by name
_LISTS = {"anyOf", "allOf", "oneOf"}
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
_SILENT = {"$schema", "$id", "$comment", "nullable", "additionalProperties", "examples", "deprecated", "readOnly"}
_ODD_PATTERN = re.compile(r"\(\?|\\[bB1-9]")  # look-around, boundaries, back references
_DEEPEST = 60


class NotExpressible(ValueError):
    """The schema has no strict form."""


def object_schema(schema: Any) -> Schema:
    """A tool's schema: its root is an object, alternatives at the root are merged into one."""
    if not isinstance(schema, dict):
        return {"type": "object", "properties": {}}
    merged = dict(schema)
    for name in _LISTS & set(schema):
        _merge(merged, merged.pop(name), every=name == "allOf")
    return merged if merged.get("type") == "object" else {**merged, "type": "object"}


def _merge(into: Schema, branches: Any, *, every: bool) -> None:
    """Join the branches' members: all are possible, and required is what all (with `allOf`, any) require."""
    branches = [branch for branch in branches if isinstance(branch, dict)] if isinstance(branches, list) else []
    properties = _properties(into)
    for branch in branches:
        properties = {**_properties(branch), **properties}
    required = [set(_required(branch)) for branch in branches] or [set()]
    names = set.union(*required) if every else set.intersection(*required)
    wanted = [*dict.fromkeys([*_required(into), *sorted(names)])]
    into["properties"] = properties
    if wanted:
        into["required"] = wanted


def _properties(schema: Schema) -> Schema:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _required(schema: Schema) -> list[str]:
    found = schema.get("required")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def strict_schema(schema: Mapping[str, Any]) -> Schema:
    """The strict form of a schema. Raises `NotExpressible`."""
    if _is_recursive(schema):
        raise NotExpressible("the schema is recursive, or refers to another document")
    return _strict(schema, 0)


def _strict(schema: Any, depth: int) -> Schema:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        raise NotExpressible("a part of the schema is not an object, or lies too deep")
    out: Schema = {}
    told: list[str] = []
    for name, value in schema.items():
        if name in _AS_IT_IS:
            out[name] = value
        elif name in _SCHEMAS and isinstance(value, Mapping):
            out[name] = {key: _strict(inner, depth + 1) for key, inner in value.items()}
        elif name in _LISTS and isinstance(value, list):
            out["anyOf" if name == "oneOf" else name] = [_strict(inner, depth + 1) for inner in value]
        elif name == "items":
            out[name] = _strict(value, depth + 1)
        elif _is_taken(name, value):
            out[name] = value
        elif name not in _SILENT:
            told.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    if told:
        out["description"] = "; ".join([*([str(out["description"])] if out.get("description") else []), *told])
    return _closed(out, schema.get("additionalProperties"))


def _is_taken(name: str, value: Any) -> bool:
    if name == "format":
        return value in _FORMATS if isinstance(value, str) else False
    if name == "pattern":
        return isinstance(value, str) and not _ODD_PATTERN.search(value)
    return name == "minItems" and value in (0, 1)


def _closed(schema: Schema, additional: Any) -> Schema:
    """An object takes no members but its own; one that lives from others cannot be closed."""
    kinds = schema.get("type")
    if "properties" not in schema and kinds != "object" and not (isinstance(kinds, list) and "object" in kinds):
        return schema
    if additional not in (None, False) or (additional is None and not schema.get("properties")):
        raise NotExpressible("an object of the schema has members that it does not name")
    return {**schema, "additionalProperties": False}


def _is_recursive(schema: Mapping[str, Any]) -> bool:
    """Whether following the references comes back to where it was, or leaves the document."""
    shelves = {f"#/{shelf}/": schema.get(shelf) for shelf in ("$defs", "definitions")}
    definitions = {
        prefix + name: inner
        for prefix, shelf in shelves.items()
        if isinstance(shelf, Mapping)
        for name, inner in shelf.items()
    }
    edges = {name: set(_references(inner, 0)) for name, inner in definitions.items()}
    everything = set(_references(schema, 0))
    if not everything <= set(definitions):
        return True
    while leaves := [name for name, targets in edges.items() if not targets & set(edges)]:
        for name in leaves:
            del edges[name]
    return bool(edges)


def _references(value: Any, depth: int) -> Iterator[str]:
    if depth > 2 * _DEEPEST:
        raise NotExpressible("the schema lies too deep")
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner, depth + 1)
