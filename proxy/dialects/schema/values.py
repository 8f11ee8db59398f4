"""`enum` and `const` for languages that restrict the types of `enum` values."""

from __future__ import annotations

from typing import Any

from proxy.dialects.schema.language import Language, Schema
from proxy.dialects.schema.merge import types_of, values_of

_KINDS = ("string", "number", "boolean", "null", "array", "object")


def kind_of(value: Any) -> str:
    """Return the type of a value; integers are numbers."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _is_of(value: Any, kinds: list[str] | None) -> bool:
    kind = kind_of(value)
    if kinds is None or kind in kinds:
        return True
    return kind == "number" and "integer" in kinds and _is_whole(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def restrict_values(schema: Schema, language: Language, lost: set[str]) -> Schema:
    """Return the node with values that the language supports."""
    values = values_of(schema)
    if values is None or language.enum_kinds is None:
        return schema
    written = [*values, *schema.get("enum", ())]  # `const` and `enum` together may leave fewer values, or none
    if values and language.enum_mixes and all(type(value) in language.enum_kinds for value in written):
        return schema
    kinds = types_of(schema)
    values = [value for value in values if _is_of(value, kinds)]
    out = {name: value for name, value in schema.items() if name not in ("enum", "const", "type")}
    if not values:
        lost.add("enum")
        return {**out, "type": schema["type"]} if kinds else out
    branches = [_of_kind(kind, [v for v in values if kind_of(v) == kind], language, lost) for kind in _KINDS]
    branches = [branch for branch in branches if branch]
    if len(branches) == 1:
        kept = branches[0] if kinds or "enum" not in branches[0] else {"enum": branches[0]["enum"]}
        return {**kept, **out}
    if "anyOf" in out:
        lost.add("enum")
        return {**out, "type": [branch["type"] for branch in branches]}
    return {**out, "anyOf": branches}


def _of_kind(kind: str, values: list[Any], language: Language, lost: set[str]) -> Schema:
    if not values:
        return {}
    if kind == "number" and all(_is_whole(value) for value in values):
        kind = "integer"
    taken = language.enum_kinds or ()
    if kind == "null":
        return {"type": kind}
    if all(type(value) in taken for value in values):
        return {"type": kind, "enum": values}
    if kind != "boolean" or len(set(values)) < 2:
        lost.add("enum")
    return {"type": kind}
