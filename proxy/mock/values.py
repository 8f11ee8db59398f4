"""Plausible values for a JSON schema, for the mock's tool arguments and structured answers.

The schema comes from a client and may be anything: an unknown construct counts as "any value", recursion and size are
bounded, and no schema is rejected. This is not a validator: `pattern`, `not`, `if` and `dependent*` are ignored, so a
value may not satisfy a schema that depends on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from urllib.parse import unquote
from uuid import UUID

_NODES = 1000  # values in one instance; beyond it only required ones, and the simplest
_DEPTH = 24
_LONGEST = 4096  # characters in one string
_MOST = 64  # items in one array
_LARGEST = 10.0**15  # larger bounds are ignored
_SMALLEST = 10.0**-9  # smaller steps are ignored

_FORMATS = {
    "date": "2025-01-01",
    "date-time": "2025-01-01T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1M",
    "email": "mock@example.com",
    "hostname": "mock.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/mock",
    "url": "https://example.com/mock",
}
_BARE: Mapping[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "null": None}
_HINTS = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minimum": "number",
    "maximum": "number",
}


@dataclass(frozen=True, slots=True)
class _Position:
    """A position in the instance: `refs` are the references around it; with `minimal`, optional values are left out."""

    name: str
    depth: int = 0
    refs: frozenset[str] = frozenset({"#"})
    minimal: bool = False

    def under(self, name: str) -> _Position:
        return replace(self, name=name[:60], depth=self.depth + 1)


def instance(schema: Any, rng: Random, name: str = "value") -> Any:
    """A value that satisfies `schema` where it can be understood; the same for the same state of `rng`."""
    return _Generator(schema, rng).value(schema, _Position(name))


def arguments(schema: Any, rng: Random) -> dict[str, Any]:
    """Arguments for a function whose `parameters` are `schema`: always an object."""
    value = instance(schema, rng) if isinstance(schema, Mapping) else {}
    return value if isinstance(value, dict) else {}


class _Generator:
    def __init__(self, root: Any, rng: Random) -> None:
        self._root = root
        self._rng = rng
        self._left = _NODES
        self._by_type: Mapping[str, Callable[[Mapping[str, Any], _Position], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
            "boolean": lambda schema, position: self._rng.random() < 0.5,
            "null": lambda schema, position: None,
        }

    def value(self, schema: Any, position: _Position) -> Any:
        flat, position = self._flat(schema, position)
        if "const" in flat:
            return flat["const"]
        if isinstance(enum := flat.get("enum"), list) and enum:
            return self._rng.choice([item for item in enum if item is not None] or enum)
        for value in _offered(flat):
            if _fits(value, flat):
                return value
        kind = _kind(flat, minimal=position.minimal)
        if kind in _BARE and (self._left < 0 or position.depth > _DEPTH):
            return _BARE[kind]
        return self._by_type[kind](flat, position)

    def _flat(self, schema: Any, position: _Position) -> tuple[Mapping[str, Any], _Position]:
        """Follow references, join `allOf`, choose from `anyOf` and `oneOf`, until a plain schema is left."""
        self._left -= 1
        if self._left < 0 or position.depth >= _DEPTH:
            return schema if isinstance(schema, Mapping) else {}, replace(position, minimal=True)
        flat: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
        deeper = replace(position, depth=position.depth + 1)
        if isinstance(ref := flat.get("$ref"), str):
            deeper = replace(deeper, minimal=position.minimal or ref in position.refs, refs=position.refs | {ref})
            target, deeper = self._flat(_resolved(self._root, ref), deeper)
            flat = _merged(target, _without(flat, "$ref"))
            position = replace(deeper, depth=position.depth)
        if isinstance(parts := flat.get("allOf"), list):
            flat = _without(flat, "allOf")
            for part in parts:
                flat = _merged(flat, self._flat(part, deeper)[0])
        for word in ("anyOf", "oneOf"):
            if isinstance(options := flat.get(word), list) and options:
                chosen, deeper = self._flat(_chosen(options, position), replace(position, depth=position.depth + 1))
                flat = _merged(_without(flat, word), chosen)
                position = replace(deeper, depth=position.depth)
        return flat, position

    def _object(self, schema: Mapping[str, Any], position: _Position) -> dict[str, Any]:
        if position.depth > _DEPTH:
            return {}
        properties = schema.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        required = dict.fromkeys(_strings(schema.get("required")))
        members = {}
        for name in [*properties, *(name for name in required if name not in properties)]:
            if name in required or not (position.minimal or self._left < 0):
                members[name] = self.value(properties.get(name), position.under(name))
        others = schema.get("additionalProperties")
        if not members and not position.minimal and isinstance(others, Mapping):
            members["key"] = self.value(others, position.under("key"))
        return members

    def _array(self, schema: Mapping[str, Any], position: _Position) -> list[Any]:
        if position.depth > _DEPTH or self._left < 0:
            return []
        first = schema.get("prefixItems")
        first = first if isinstance(first, list) else []
        count = max(_size(schema, "minItems", 0), len(first), 0 if position.minimal else 1)
        count = min(count, _size(schema, "maxItems", _MOST), _MOST)
        values: list[Any] = []
        for number in range(count * 4 if schema.get("uniqueItems") is True else count):
            if len(values) == count:
                break
            items = first[number] if number < len(first) else schema.get("items")
            item = self.value(items, position.under(f"{position.name} {number + 1}"))
            if schema.get("uniqueItems") is not True or item not in values:
                values.append(item)
        return values

    def _string(self, schema: Mapping[str, Any], position: _Position) -> str:
        form = schema.get("format")
        if form == "uuid":
            return str(UUID(int=self._rng.getrandbits(128), version=4))
        text = _FORMATS.get(form) if isinstance(form, str) else None
        if text is None:
            text = f"[MOCK] {position.name}"
        short = min(_size(schema, "minLength", 0), _LONGEST) - len(text)
        if short > 0:
            text += (" mock" * (short // 5 + 1))[:short]
        return text[: _size(schema, "maxLength", _LONGEST)]

    def _integer(self, schema: Mapping[str, Any], position: _Position) -> int:
        step = _bound(schema, "multipleOf") or 1.0
        step = step if step >= 1 and step.is_integer() else 1.0
        low, high = _range(schema, gap=1.0)
        first, last = math.ceil(low / step), math.floor(high / step)
        return int(step) * (self._rng.randint(first, last) if first < last else first)

    def _number(self, schema: Mapping[str, Any], position: _Position) -> float:
        low, high = _range(schema, gap=0.0)
        step = _bound(schema, "multipleOf")
        if step is not None and step > _SMALLEST:
            return min(math.ceil(low / step) + 1, max(math.floor(high / step), math.ceil(low / step))) * step
        value = round(low + (high - low) * self._rng.uniform(0.25, 0.75), 2)
        return value if low < value < high else (low + high) / 2


def _resolved(root: Any, ref: str) -> Any:
    """The target of a local reference; `None` for a remote reference, or one without a target."""
    path, target = ref.removeprefix("#"), root
    if not ref.startswith("#") or (path and not path.startswith("/")):
        return None
    for part in path.split("/")[1:]:
        part = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and part.isascii() and part.isdigit() and len(part) < 6:
            target = target[int(part)] if int(part) < len(target) else None
        else:
            target = target.get(part) if isinstance(target, Mapping) else None
    return target


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both schemas in one: properties and required names are joined; of other members, the second's count."""
    both = {**first, **second}
    if isinstance(one := first.get("properties"), Mapping) and isinstance(other := second.get("properties"), Mapping):
        both["properties"] = {**one, **other}
    if "required" in first and "required" in second:
        both["required"] = [*_strings(first["required"]), *_strings(second["required"])]
    return both


def _without(schema: Mapping[str, Any], word: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != word}


def _chosen(options: Sequence[Any], position: _Position) -> Any:
    """The first option that is not null; in a recursion, one that ends it."""
    schemas = [option for option in options if isinstance(option, Mapping)] or [{}]
    ends = [option for option in schemas if option.get("type") == "null"]
    values = [option for option in schemas if option.get("type") != "null"]
    if not position.minimal:
        return (values or ends)[0]
    leaves = [option for option in values if option.get("$ref") not in position.refs]
    return (ends or leaves or values)[0]


def _offered(schema: Mapping[str, Any]) -> list[Any]:
    """The values in the schema itself: its first example, then its default."""
    examples = schema.get("examples")
    values = list(examples[:1]) if isinstance(examples, list) else []
    return [*values, schema["default"]] if "default" in schema else values


def _types(schema: Mapping[str, Any]) -> list[str]:
    declared = schema.get("type")
    named = _strings(declared) if isinstance(declared, list) else _strings([declared])
    return [name for name in named if name in ("object", "array", *_BARE)]


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value has the declared type; an example in a schema may be wrong."""
    fits = {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "null": value is None,
    }
    declared = _types(schema)
    return not declared or any(fits[name] for name in declared)


def _kind(schema: Mapping[str, Any], *, minimal: bool) -> str:
    """The first declared type that is not null, or null if allowed and `minimal`; a guess if none is declared."""
    if declared := _types(schema):
        if minimal and "null" in declared:
            return "null"
        return next((name for name in declared if name != "null"), "null")
    return next((kind for word, kind in _HINTS.items() if word in schema), "string")


def _strings(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _size(schema: Mapping[str, Any], word: str, default: int) -> int:
    value = schema.get(word)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default


def _bound(schema: Mapping[str, Any], word: str) -> float | None:
    value = schema.get(word)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST <= value <= _LARGEST:
        return None
    return float(value)


def _range(schema: Mapping[str, Any], *, gap: float) -> tuple[float, float]:
    """The lowest and highest value; an exclusive bound excludes `gap`. Without bounds 1 to 100."""
    lows = [(_bound(schema, "minimum"), 0.0), (_bound(schema, "exclusiveMinimum"), gap)]
    highs = [(_bound(schema, "maximum"), 0.0), (_bound(schema, "exclusiveMaximum"), gap)]
    low = max((bound + off for bound, off in lows if bound is not None), default=None)
    high = min((bound - off for bound, off in highs if bound is not None), default=None)
    if low is None:
        low = 1.0 if high is None or high >= 1 else high - 99
    return (low, low + 99) if high is None else (low, max(low, high))
