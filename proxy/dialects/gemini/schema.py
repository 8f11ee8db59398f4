"""JSON Schema as Gemini reads it: `parametersJsonSchema` and `responseJsonSchema`.

These take JSON Schema as it is, with `$ref`, `$defs`, `anyOf`, `additionalProperties` and lists of types, but pass over
the keywords that they do not know. What can be said in the known ones is: `const` as an `enum` of one, `allOf` merged,
`definitions` as `$defs`, exclusive bounds of integers. The rest is left in and reported.
Source: ai.google.dev/api/generate-content (GenerationConfig.responseJsonSchema), and what the service was seen to take.
"""

from __future__ import annotations

from typing import Any

_IGNORED = {
    "pattern",
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "multipleOf",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "exclusiveMinimum",
    "exclusiveMaximum",
}
_NAMED = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")  # their members are schemas
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_DEEPEST = 200


def plain(schema: Any, lost: set[str], depth: int = 0) -> Any:
    """The schema in the words that Gemini knows; adds to `lost` the keywords that it passes over."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return schema
    made = {_name(name): _member(name, value, lost, depth + 1) for name, value in schema.items()}
    for part in made.pop("allOf", None) or []:
        made = _merged(made, part, lost)
    if "const" in made:
        made["enum"] = [made.pop("const")]
    _bound(made, "exclusiveMinimum", "minimum", 1)
    _bound(made, "exclusiveMaximum", "maximum", -1)
    lost |= _IGNORED & made.keys()
    return made


def _name(name: str) -> str:
    return "$defs" if name == "definitions" else name


def _member(name: str, value: Any, lost: set[str], depth: int) -> Any:
    if name in _NAMED and isinstance(value, dict):
        return {key: plain(member, lost, depth) for key, member in value.items()}
    if name in _LISTS and isinstance(value, list):
        return [plain(member, lost, depth) for member in value]
    if name in _SINGLE:
        return plain(value, lost, depth)
    if name == "$ref" and isinstance(value, str) and value.startswith("#/definitions/"):
        return "#/$defs/" + value.removeprefix("#/definitions/")
    return value


def _merged(into: dict[str, Any], part: Any, lost: set[str]) -> dict[str, Any]:
    """One schema that holds what both say; where they differ, the first is kept and the loss reported."""
    if not isinstance(part, dict):
        return into
    made = dict(into)
    for name, value in part.items():
        before = made.get(name, value)
        if isinstance(before, dict) and isinstance(value, dict):
            made[name] = {**value, **before}
        elif name == "required" and isinstance(before, list) and isinstance(value, list):
            made[name] = before + [item for item in value if item not in before]
        else:
            made[name] = before
            if before != value and name not in ("title", "description"):
                lost.add("allOf")
    return made


def _bound(schema: dict[str, Any], exclusive: str, inclusive: str, step: int) -> None:
    """An integer that must be more than 2 must be at least 3."""
    bound = schema.get(exclusive)
    whole = isinstance(bound, int) and not isinstance(bound, bool)
    if schema.get("type") == "integer" and whole and inclusive not in schema:
        schema[inclusive] = schema.pop(exclusive) + step
