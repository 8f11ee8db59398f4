"""Check whether a schema is already in a target's language and can be sent unchanged, as most schemas of tools can.

Each node is visited once, without recursion or copies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from proxy.dialects.schema.drafts import NUMBERS, TYPES, is_number
from proxy.dialects.schema.language import ANNOTATIONS, Language, Schema

_TYPES = frozenset(TYPES)
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_PREFIX = "#/$defs/"


def _is_type(value: Any) -> bool:
    if type(value) is str:
        return value in _TYPES
    return _is_names(value) and _TYPES.issuperset(value)


def _is_names(value: Any) -> bool:
    return (type(value) is list and bool(value) and all(type(item) is str for item in value)) and len(
        set(value)
    ) == len(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


_LEAVES: dict[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "required": _is_names,
    "enum": lambda value: type(value) is list and bool(value),
    **dict.fromkeys(("minItems", "maxItems", "minLength", "maxLength"), _is_count),
    **dict.fromkeys(NUMBERS - {"multipleOf"}, is_number),
    **dict.fromkeys(("title", "description", "format"), lambda value: type(value) is str),
    "examples": lambda value: type(value) is list,
    **dict.fromkeys(("default", "const"), lambda value: True),
    "uniqueItems": lambda value: type(value) is bool,
}


def is_plain(schema: Schema, language: Language) -> bool:
    """Whether a schema with an object as root is certainly in an open language."""
    if language.closed or schema.get("type") != "object" or "anyOf" in schema or "$ref" in schema:
        return False
    definitions: Any = schema.get("$defs") if language.keywords is None else None
    root = schema
    if definitions is not None:
        if type(definitions) is not dict:
            return False
        root = {name: value for name, value in schema.items() if name != "$defs"}
    pending = [root, *(definitions.values() if definitions else ())]
    while pending:
        node = pending.pop()
        if type(node) is dict and len(node) <= 2 and _is_usual(node):
            continue
        if type(node) is not dict or not _is_plain_node(node, language, definitions or (), pending):
            return False
    return True


def _is_usual(node: Schema) -> bool:
    """Whether a node has only a type and perhaps a description, as most nodes do."""
    kind = node.get("type")
    return type(kind) is str and kind in _TYPES and (len(node) == 1 or type(node.get("description")) is str)


def _is_plain_node(node: Schema, language: Language, definitions: Collection[str], pending: list[Any]) -> bool:
    """Whether a node is plain apart from its subschemas, which are added to `pending`."""
    for name, value in node.items():
        leaf = _LEAVES.get(name)
        if leaf is not None:
            if not leaf(value) or not language.has(name):
                return False
        elif name == "items" or (name == "additionalProperties" and type(value) is not bool):
            pending.append(value)
        elif name == "properties" or name == "anyOf":
            if not _is_plain_branch(name, value, pending):
                return False
        elif name != "additionalProperties" and (name != "$ref" or not _is_definition(value, node, definitions)):
            return False
    return language.keywords is None or _is_within(node, language)


def _is_plain_branch(name: str, value: Any, pending: list[Any]) -> bool:
    if name == "anyOf":
        pending += value if type(value) is list else ()
        return type(value) is list and bool(value)
    if type(value) is not dict or not all(map(_NAME.fullmatch, value)):
        return False
    pending += value.values()
    return True


def _is_definition(value: Any, node: Schema, definitions: Collection[str]) -> bool:
    """Whether `value` refers to a definition, with only annotations beside it."""
    name = value[len(_PREFIX) :] if type(value) is str and value.startswith(_PREFIX) else None
    known = name is not None and name in definitions and _NAME.fullmatch(name) is not None
    return known and node.keys() - ANNOTATIONS == {"$ref"}


def _is_within(node: Schema, language: Language) -> bool:
    """Whether a node satisfies a language's rules in addition to its keywords."""
    if "enum" in node and not all(type(value) in (language.enum_kinds or ()) for value in node["enum"]):
        return False
    if "format" in node and language.formats is not None and node["format"] not in language.formats:
        return False
    return "required" not in node or set(node["required"]) <= node.get("properties", {}).keys()
