"""Merging of schema nodes: intersection of two, and union of several.

The nodes are in the syntax of 2020-12 (`Document.normal`). Their subschemas are not examined: a member of both
becomes a new node with both in `allOf` or `anyOf`, which is visited later. If the result is more permissive, the
keyword is added to `lost`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from proxy.dialects.schema.drafts import TYPES
from proxy.dialects.schema.language import ANNOTATIONS, Schema

FALSE: Schema = {"not": {}}
_HIGHEST = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"}
_LOWEST = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"}
_TIED = (  # keywords that depend on each other
    ("contains", "minContains", "maxContains"),
    ("if", "then", "else"),
    ("unevaluatedProperties",),
    ("unevaluatedItems",),
    ("not",),
    ("propertyNames",),
    ("pattern",),
    ("format",),
    ("multipleOf",),
    ("$ref",),
)
_OBJECT = ("properties", "patternProperties", "additionalProperties")


def key_of(value: Any) -> str:
    """Return the same text for values that are equal in JSON Schema (1 and 1.0)."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    return value


def types_of(schema: Schema) -> list[str] | None:
    """Return the types that a node allows; None: any."""
    kinds = schema.get("type")
    return [kinds] if isinstance(kinds, str) else kinds


def values_of(schema: Schema) -> list[Any] | None:
    """Return the values that `const` and `enum` allow; None: any."""
    values = schema.get("enum")
    if "const" in schema:
        keys = None if values is None else {key_of(value) for value in values}
        return [schema["const"]] if keys is None or key_of(schema["const"]) in keys else []
    return values


def both(first: Schema, second: Schema, lost: set[str]) -> Schema:
    """Return the intersection of two nodes."""
    if not first or not second or first == second:
        return dict(first or second)
    out = {name: value for name, value in second.items() if name in ANNOTATIONS} | first
    _join_types(out, first, second)
    _join_values(out, first, second)
    _join_members(out, first, second, lost)
    _join_items(out, first, second)
    _join_bounds(out, second)
    _join_dependencies(out, first, second)
    _join_alternatives(out, second, lost)
    _join_tied(out, second, lost)
    known = {*_OBJECT, *_HIGHEST, *_LOWEST, "type", "enum", "const", "prefixItems", "items", "anyOf", "oneOf"}
    known |= {name for group in _TIED for name in group}
    known |= {"required", "dependentRequired", "dependentSchemas", "uniqueItems"}
    for name, value in second.items():
        if name not in known and name not in out:
            out[name] = value
    return out


def _join_types(out: Schema, first: Schema, second: Schema) -> None:
    here, there = types_of(first), types_of(second)
    if there is None:
        return
    if here is None:
        out["type"] = second["type"]
        return
    kinds = [kind for kind in here if kind in there or (kind == "integer" and "number" in there)]
    kinds += [kind for kind in there if kind == "integer" and "number" in here and kind not in kinds]
    if kinds:
        out["type"] = kinds[0] if len(kinds) == 1 else kinds
    else:
        out.update(FALSE)


def _join_values(out: Schema, first: Schema, second: Schema) -> None:
    here, there = values_of(first), values_of(second)
    if there is None:
        return
    if here is not None:
        keys = {key_of(value) for value in there}
        there = [value for value in here if key_of(value) in keys]
    out.pop("const", None)
    if there:
        out["enum"] = there
    else:
        out.pop("enum", None)
        out.update(FALSE)


def _join_members(out: Schema, first: Schema, second: Schema, lost: set[str]) -> None:
    """Merge members; those of one side only are not checked against the other's `additionalProperties`."""
    for holder in ("properties", "patternProperties"):
        here, there = first.get(holder, {}), second.get(holder, {})
        if there:
            out[holder] = {
                **here,
                **{name: _and(here[name], new) if name in here else new for name, new in there.items()},
            }
    more = [side.get("additionalProperties", True) for side in (first, second)]
    if first.get("patternProperties") or second.get("patternProperties"):
        if any(side is not True for side in more):
            lost.add("allOf")
    elif any(_differs(one, other, extra) for one, other, extra in ((first, second, more[1]), (second, first, more[0]))):
        lost.add("allOf")
    if False in more:
        out["additionalProperties"] = False
    elif more[1] is not True:
        out["additionalProperties"] = more[1] if more[0] is True else _and(more[0], more[1])
    required = [*first.get("required", []), *second.get("required", [])]
    if required:
        out["required"] = list(dict.fromkeys(required))


def _differs(one: Schema, other: Schema, additional: Any) -> bool:
    """Whether `one` declares members that `other` restricts as additional ones."""
    return additional is not True and not one.get("properties", {}).keys() <= other.get("properties", {}).keys()


def _join_items(out: Schema, first: Schema, second: Schema) -> None:
    here, there = first.get("prefixItems", []), second.get("prefixItems", [])
    rest, other = first.get("items", True), second.get("items", True)
    if here or there:
        longest = max(len(here), len(there))
        here = [*here, *[rest] * (longest - len(here))]
        there = [*there, *[other] * (longest - len(there))]
        out["prefixItems"] = [_and(one, two) for one, two in zip(here, there, strict=True)]
    joined = _and(rest, other)
    if joined is not True:
        out["items"] = joined
    if second.get("uniqueItems"):
        out["uniqueItems"] = True


def _join_bounds(out: Schema, second: Schema) -> None:
    for names, pick in ((_HIGHEST, max), (_LOWEST, min)):
        for name in names & second.keys() - {"minContains", "maxContains"}:
            out[name] = pick(out[name], second[name]) if name in out else second[name]


def _join_dependencies(out: Schema, first: Schema, second: Schema) -> None:
    required = dict(first.get("dependentRequired", {}))
    for name, names in second.get("dependentRequired", {}).items():
        required[name] = list(dict.fromkeys([*required.get(name, []), *names]))
    schemas = dict(first.get("dependentSchemas", {}))
    for name, schema in second.get("dependentSchemas", {}).items():
        schemas[name] = _and(schemas[name], schema) if name in schemas else schema
    if required:
        out["dependentRequired"] = required
    if schemas:
        out["dependentSchemas"] = schemas


_PRODUCT = 32  # maximum number of merged alternatives


def _join_alternatives(out: Schema, second: Schema, lost: set[str]) -> None:
    for name in ("anyOf", "oneOf"):
        if name not in second or out.get(name) == second[name]:
            continue
        if name not in out:
            out[name] = second[name]
        elif name == "anyOf" and len(out[name]) * len(second[name]) <= _PRODUCT:
            out[name] = [_and(one, other) for one in out[name] for other in second[name]]
        else:
            lost.add(name)


def _join_tied(out: Schema, second: Schema, lost: set[str]) -> None:
    for group in _TIED:
        theirs = {name: second[name] for name in group if name in second}
        ours = {name: out[name] for name in group if name in out}
        if theirs and not ours:
            out.update(theirs)
        elif theirs and theirs != ours and ours.get("not") != {}:
            if theirs.get("not") == {}:
                out["not"] = {}
            else:
                lost.add(group[0])


class Joined(dict[str, Any]):
    """A merged node, whose `allOf` can be expanded."""


def _and(one: Any, other: Any) -> Any:
    if one is True or one == {} or one == other:
        return other
    return one if other is True or other == {} else Joined(allOf=[one, other])


def either(branches: Sequence[Schema], lost: set[str]) -> Schema:
    """Return the union of several objects as one object without alternatives.

    A member that one of them declares keeps its schema if another, open one does not declare it.
    """
    branches = [branch for branch in branches if branch.get("not") != {}]
    if len(branches) < 2:
        return dict(branches[0]) if branches else {}
    out: Schema = {}
    holders: dict[str, list[Any]] = {}
    for branch in branches:
        for name, schema in branch.get("properties", {}).items():
            holders.setdefault(name, []).append(schema)
    for branch in branches:
        _allow_others(holders, branch)
    if holders:
        out["properties"] = {name: _or(schemas) for name, schemas in holders.items()}
    required = set.intersection(*(set(branch.get("required", [])) for branch in branches))
    if required:
        out["required"] = [name for name in branches[0]["required"] if name in required]
    _join_additional(out, branches)
    for name, value in branches[0].items():
        if name not in (*_OBJECT, "required", *ANNOTATIONS) and all(branch.get(name) == value for branch in branches):
            out[name] = value
    lost.add("anyOf")
    return out


def _allow_others(holders: dict[str, list[Any]], branch: Schema) -> None:
    """Allow a branch's additional members under the names of the other branches."""
    more = branch.get("additionalProperties", True)
    others = [more] if isinstance(more, dict) and more else []
    others += branch.get("patternProperties", {}).values()
    for name in holders.keys() - branch.get("properties", {}).keys() if others else ():
        holders[name] += others


def _join_additional(out: Schema, branches: Sequence[Schema]) -> None:
    more: list[Any] = [branch.get("additionalProperties", True) for branch in branches]
    more += [schema for branch in branches for schema in branch.get("patternProperties", {}).values()]
    if True not in more and {} not in more:
        schemas = [schema for schema in more if schema is not False]
        out["additionalProperties"] = _or(schemas) if schemas else False


def _or(schemas: list[Any]) -> Any:
    """Return the union of several schemas; those that only list values are merged."""
    distinct = _distinct(schemas)
    if len(distinct) == 1:
        return distinct[0]
    if any(schema is True or schema == {} for schema in distinct):
        return {}
    joined = _joined_values(distinct)
    return joined if joined is not None else {"anyOf": distinct}


def _joined_values(schemas: list[Any]) -> Schema | None:
    """Return all values as one `enum`, if the schemas have only a type and annotations besides."""
    values: dict[str, Any] = {}
    kinds: list[str] = []
    for schema in schemas:
        if not isinstance(schema, dict) or not schema.keys() - {"type", *ANNOTATIONS} <= {"const", "enum"}:
            return None
        listed = values_of(schema)
        kind = schema.get("type")
        if not isinstance(listed, list) or not (kind is None or kind in TYPES):
            return None
        kinds += [kind] if isinstance(kind, str) else []
        values.update((key_of(value), value) for value in listed)
    distinct = list(dict.fromkeys(kinds))
    typed = {name: schemas[0][name] for name in ANNOTATIONS & schemas[0].keys() if _is_same(schemas, name)}
    if len(kinds) == len(schemas):
        typed["type"] = distinct[0] if len(distinct) == 1 else distinct
    if len(distinct) > 1 or not values:
        return None
    return {**typed, "enum": list(values.values())}


def _is_same(schemas: list[Any], name: str) -> bool:
    return all(schema.get(name) == schemas[0][name] for schema in schemas)


def _distinct(schemas: Iterable[Any]) -> list[Any]:
    found: dict[str, Any] = {}
    for schema in schemas:
        found.setdefault(_identity(schema), schema)
    return list(found.values())


def _identity(schema: Any) -> str:
    try:
        return json.dumps(schema, sort_keys=True)
    except TypeError:
        return str(id(schema))  # it contains a resolved reference
