"""Whether a JSON value has the form that a client's JSON schema asks for. Pure, and bounded for any schema.

It reads the keywords that structured output consists of: `type`, `enum`, `const`, `properties`, `required`,
`additionalProperties: false`, `items`, `anyOf`, and `$ref` to a definition of the same schema. Others, and what is
nested or long beyond the bounds, count as satisfied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MOST_LEVELS = 30
MOST_VALUES = 5_000
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: not isinstance(value, bool) and isinstance(value, int | float) and value == value // 1,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def conforms(value: Any, schema: Any) -> bool:
    """Return whether a value conforms to a schema."""
    return _Check(schema).passes(value, schema, 0)


class _Check:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = MOST_VALUES

    def passes(self, value: Any, schema: Any, level: int) -> bool:
        self._left -= 1
        if not isinstance(schema, dict):
            return schema is not False
        for name in ("type", "enum", "required"):
            if isinstance(listed := schema.get(name), list):
                self._left -= len(listed) // 10  # these cost less than values
        if level > MOST_LEVELS or self._left < 0:
            return True
        if isinstance(reference := schema.get("$ref"), str):
            return self.passes(value, self._definition(reference), level + 1)
        options = schema.get("anyOf")
        if isinstance(options, list) and not any(self.passes(value, option, level + 1) for option in options):
            return False
        return (
            _is_of_type(value, schema.get("type"))
            and _is_listed(value, schema)
            and (not isinstance(value, dict) or self._has_members(value, schema, level))
            and (not isinstance(value, list) or self._has_items(value, schema.get("items"), level))
        )

    def _has_members(self, value: Mapping[str, Any], schema: Mapping[str, Any], level: int) -> bool:
        properties, required = schema.get("properties"), schema.get("required")
        known = properties if isinstance(properties, dict) else {}
        if isinstance(required, list) and any(isinstance(name, str) and name not in value for name in required):
            return False
        if schema.get("additionalProperties") is False and any(name not in known for name in value):
            return False
        return all(self.passes(each, known[name], level + 1) for name, each in value.items() if name in known)

    def _has_items(self, value: list[Any], schema: Any, level: int) -> bool:
        return schema is None or all(self.passes(each, schema, level + 1) for each in value)

    def _definition(self, reference: str) -> Any:
        """Return the schema that a `$ref` names; one that accepts everything if it is unknown."""
        found = self._root
        for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            found = found.get(step) if isinstance(found, dict) else None
        return True if found is None else found


def _is_of_type(value: Any, wanted: Any) -> bool:
    names = wanted if isinstance(wanted, list) else [wanted]
    checks = [_TYPES[name] for name in names if isinstance(name, str) and name in _TYPES]
    return not checks or any(check(value) for check in checks)


def _is_listed(value: Any, schema: Mapping[str, Any]) -> bool:
    listed = schema.get("enum")
    if isinstance(listed, list) and value not in listed:
        return False
    return "const" not in schema or bool(value == schema["const"])
