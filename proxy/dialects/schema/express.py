"""Conversion of a schema to a target's language: an equivalent schema, or a more permissive one with its lost keywords.

References become references into `$defs` of the root, so the work is linear in the size of the document; only the
references in `allOf` are expanded, within a budget. Cycles and deep nesting are bounded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.dialects.schema.cycles import break_cycles, has_cycle
from proxy.dialects.schema.document import Document
from proxy.dialects.schema.drafts import COUNTS, LISTS, NAMED, NUMBERS, SINGLE, Ref
from proxy.dialects.schema.language import ANNOTATIONS, EXACT, UNEVALUATED, Language, NotExpressible, Schema
from proxy.dialects.schema.merge import Joined, both, either, types_of
from proxy.dialects.schema.objects import closed, is_false, is_object
from proxy.dialects.schema.patterns import Patterns
from proxy.dialects.schema.values import restrict_values

DEEPEST = 128  # levels of nodes
_CHAIN = 40  # nested references that are expanded
_LONGEST_NOTE = 200  # characters of a constraint that is written into the description
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_.-]")
_STRUCTURAL = NAMED | LISTS | SINGLE
_ASSERTIONS = (
    _STRUCTURAL | COUNTS | NUMBERS | {"type", "required", "dependentRequired", "pattern", "format", "uniqueItems"}
)
_PAIRS = (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1))


@dataclass(frozen=True, slots=True)
class Expressed:
    """A schema in a target's language, and the keywords that are not fully expressed."""

    schema: Schema
    lost: tuple[str, ...] = ()


def express(schema: Mapping[str, Any], language: Language, names: Mapping[str, str] | None = None) -> Expressed:
    """Convert `schema`; `names` replaces property names. Raises `NotExpressible` if the language cannot express it."""
    document = Document(dict(schema))
    writer = _Writer(document, language, names or {})
    out = writer.write()
    if writer.is_narrower:
        writer = _Writer(document, language, names or {}, careful=True)
        out = writer.write()
    return Expressed(out, tuple(sorted(writer.lost)))


class _Writer:
    """Converts one document. `careful`: keywords that need exact subschemas are omitted."""

    def __init__(
        self, document: Document, language: Language, names: Mapping[str, str], *, careful: bool = False
    ) -> None:
        self.lost: set[str] = set()
        self._document = document
        self._language = language
        self._names = names
        self._careful = careful
        self._budget = 1000 + 8 * document.size
        self._regular = Patterns()
        self._inner_lost = False
        self._wants_exact = False  # a keyword was written that needs exact subschemas
        self._definitions: dict[int, str] = {}
        self._taken: set[str] = set()
        self._pending: list[tuple[str, Any]] = []

    @property
    def is_narrower(self) -> bool:
        """Whether a keyword may have become stricter, because something was lost in its subschemas."""
        return self._wants_exact and self._inner_lost

    def write(self) -> Schema:
        is_flat = self._language.object_root or not self._language.has("allOf")
        root = self._flat(self._document.root, force=True) if is_flat else self._node(self._document.root)
        if self._language.object_root:
            root = {**self._object(root, 0), "type": "object"}
        outside, self.lost = self.lost, set()
        out = self._emit(root, 0)
        definitions: dict[str, Schema] = {}
        while self._pending:
            name, node = self._pending.pop()
            definitions[name] = self._visit(node, 1)
        self._inner_lost = bool(self.lost)
        self.lost |= outside
        if self._language.recursion == "none" and has_cycle(definitions):
            raise NotExpressible("the schema is recursive")
        if self._language.recursion == "optional":
            break_cycles(definitions, self.lost)
        return {**out, "$defs": definitions} if definitions else out

    # Expanding

    def _flat(self, node: Any, active: tuple[int, ...] = (), *, force: bool = False) -> Schema:
        """Return the node with `allOf` merged into it; a reference remains only if it is the only member.

        `force`: without references.
        """
        self._budget -= 1
        out = self._document.normal(node, self.lost)
        parts = out.pop("allOf", [])
        reference = out.get("$ref")
        is_bare = not force and not out.keys() - ANNOTATIONS - {"$ref"}
        if is_bare and len(parts) + (reference is not None) == 1:
            return {**self._flat(parts[0], active), **out} if parts else out
        if reference is not None:
            del out["$ref"]
            parts = [reference, *parts]
        for part in parts:
            target = part.node if isinstance(part, Ref) else part
            if id(target) in active or len(active) > _CHAIN or self._budget < 0:
                self.lost.add("$ref" if isinstance(part, Ref) else "allOf")
            else:
                out = both(out, self._flat(target, (*active, id(target)), force=True), self.lost)
        return out

    def _node(self, node: Any) -> Schema:
        """Return the converted node with its original subschemas."""
        if self._language.has("allOf") and not isinstance(node, Joined):
            return self._document.normal(node, self.lost)
        if not self._language.has("allOf"):
            return self._flat(node)
        before = set(self.lost)
        out = self._flat(node, force=True)
        if self.lost != before:
            self.lost = before
            return self._document.normal(node, self.lost)
        return out

    def _object(self, schema: Schema, depth: int) -> Schema:
        """Return a flat node as an object without alternatives."""
        for keyword in ("anyOf", "oneOf"):
            if keyword not in schema:
                continue
            branches = schema.pop(keyword)
            if depth > _CHAIN or self._budget < 0:
                self.lost.add(keyword)
                continue
            flat = [self._flat(branch, force=True) for branch in branches]
            objects = [self._object(one, depth + 1) for one in flat if "object" in (types_of(one) or ["object"])]
            schema = both(schema, either(objects, self.lost), self.lost)
        return schema

    # Writing

    def _visit(self, node: Any, depth: int) -> Schema:
        self._budget -= 1
        if depth > DEEPEST or self._budget < 0:
            self.lost.add("depth")
            if self._language.closed:
                raise NotExpressible("the schema is too deep or too large")
            return {}
        return self._emit(self._node(node), depth)

    def _emit(self, schema: Schema, depth: int) -> Schema:
        language = self._language
        if language.keywords is not None:
            if language.closed and "anyOf" in (schema := self._one_list(schema)) and is_object(schema):
                return self._distributed(schema, depth)
            schema = self._adapted(self._one_list(schema))
        elif "patternProperties" in schema and (self._names or not self._are_regular(schema["patternProperties"])):
            schema = dict(schema)
            self._patterns(schema)
        out: Schema = {}
        notes: list[str] = []
        for name, value in schema.items():
            self._write(out, name, value, schema, notes, depth)
        if notes and language.describes:
            out["description"] = "; ".join([*([out["description"]] if out.get("description") else []), *notes])
        if language.requires_all and out.get("properties", {}).keys() - set(out.get("required", ())):
            self.lost.add("strict")
        if language.closed:
            return closed(out, schema)
        if "$ref" in out and len(out) > 1 and not language.ref_siblings:
            return {"anyOf": [{"$ref": out.pop("$ref")}], **out}
        return out

    def _one_list(self, schema: Schema) -> Schema:
        """Convert `oneOf` to `anyOf`, if the language has only that."""
        if "oneOf" not in schema or self._language.has("oneOf"):
            return schema
        rest = {name: value for name, value in schema.items() if name != "oneOf"}
        return both(rest, {"anyOf": schema["oneOf"]}, self.lost)

    def _distributed(self, schema: Schema, depth: int) -> Schema:
        """Convert an object with alternatives to alternatives that are objects."""
        if depth > _CHAIN:
            raise NotExpressible("the schema has too many nested alternatives")
        notes = {name: value for name, value in schema.items() if name in ("title", "description")}
        base = {name: value for name, value in schema.items() if name != "anyOf" and name not in notes}
        branches = [both(base, self._flat(branch, force=True), self.lost) for branch in schema["anyOf"]]
        self._budget -= len(branches)
        if self._budget < 0:
            raise NotExpressible("the schema is too large")
        written = [self._emit(branch, depth + 1) for branch in branches if branch.get("not") != {}]
        return {**notes, "anyOf": written} if written else self._emit(base, depth + 1)

    def _adapted(self, schema: Schema) -> Schema:
        """Return the node with unsupported keywords replaced by equivalent ones."""
        out = restrict_values(schema, self._language, self.lost)
        if out is schema:
            out = dict(schema)
        self._exclusive(out)
        if "unevaluatedProperties" in out and not out.keys() & {"anyOf", "if", "$ref", "dependentSchemas"}:
            out.setdefault("additionalProperties", out.pop("unevaluatedProperties"))
        if "patternProperties" in out and not self._language.has("patternProperties"):
            self._patterns(out)
        if "prefixItems" in out and not self._language.has("prefixItems"):
            first, rest = out.pop("prefixItems"), out.get("items", True)
            is_whole = rest is False or out.get("maxItems", len(first) + 1) <= len(first)
            branches = first if is_whole else [*first, rest]
            out["items"] = True if True in branches or {} in branches else {"anyOf": branches}
            self.lost.add("prefixItems")
        if out.get("items") is False:
            del out["items"]
            length = len(out.get("prefixItems", []))
            out["maxItems"] = min(out.get("maxItems", length), length)
        if self._language.declares_required:
            self._declare(out)
        return out

    def _exclusive(self, out: Schema) -> None:
        for exclusive, inclusive, step in _PAIRS:
            if exclusive not in out or self._language.has(exclusive) or not self._language.has(inclusive):
                continue
            bound = out[exclusive]
            if set(types_of(out) or ()) <= {"integer", "null"} and out.get("type"):
                bound = math.floor(bound) + 1 if step > 0 else math.ceil(bound) - 1
                del out[exclusive]
            out[inclusive] = (max if step > 0 else min)(bound, out.get(inclusive, bound))

    def _patterns(self, out: Schema) -> None:
        patterns = list(out.pop("patternProperties").values())
        more = out.get("additionalProperties", True)
        self.lost.add("patternProperties")
        if self._language.closed:
            raise NotExpressible("an object of the schema has members that it does not name")
        if more is not True and patterns:
            branches = [*patterns, *([] if more is False else [more])]
            out["additionalProperties"] = branches[0] if len(branches) == 1 else {"anyOf": branches}

    def _are_regular(self, patterns: Mapping[str, Any]) -> bool:
        return all(map(self._regular.takes, patterns))

    def _declare(self, out: Schema) -> None:
        missing = [name for name in out.get("required", ()) if name not in out.get("properties", {})]
        if missing:
            more = out.get("additionalProperties", True)
            members = dict.fromkeys(missing, True if more is False else more)
            out["properties"] = {**out.get("properties", {}), **members}

    def _write(self, out: Schema, name: str, value: Any, schema: Schema, notes: list[str], depth: int) -> None:
        if name == "$ref":
            out["$ref"] = "#/$defs/" + self._definition(value)
        elif name in ANNOTATIONS or name in ("enum", "const"):
            if self._language.has(name):
                out[name] = self._renamed(value)
        elif not self._takes(name, value):
            self._leave_out(name, value, notes)
        elif name in _STRUCTURAL:
            self._structure(out, name, value, schema, depth)
        elif name == "required":
            out[name] = [self._names.get(item, item) for item in value]
        elif name == "dependentRequired":
            out[name] = {
                self._names.get(key, key): [self._names.get(item, item) for item in items]
                for key, items in value.items()
            }
        else:
            out[name] = value

    def _takes(self, name: str, value: Any) -> bool:
        language = self._language
        if (name in EXACT or name in UNEVALUATED) and language.has(name) and value not in ({}, True):
            self._wants_exact = True
            if self._careful:
                return False
        if self._names and name in ("patternProperties", "propertyNames"):
            return False  # they refer to replaced names
        if name == "pattern" and language.has(name) and not self._regular.takes(value):
            return False
        if name == "format" and language.formats is not None and value not in language.formats:
            return False
        return language.has(name) and language.takes(name, value)

    def _leave_out(self, name: str, value: Any, notes: list[str]) -> None:
        if name not in _ASSERTIONS:
            return
        self.lost.add(name)
        if name not in _STRUCTURAL:
            note = f"{name}: {json.dumps(value, ensure_ascii=False)}"
            if len(note) <= _LONGEST_NOTE:
                notes.append(note)

    def _structure(self, out: Schema, name: str, value: Any, schema: Schema, depth: int) -> None:
        if name in NAMED:
            out[name] = self._members(name, value, schema, depth)
        elif name in LISTS:
            self._alternatives(out, name, value, depth)
        elif name == "additionalProperties" and isinstance(value, bool):
            out[name] = value
        else:
            out[name] = self._visit(value, depth + 1)

    def _members(self, keyword: str, value: Mapping[str, Any], schema: Schema, depth: int) -> Schema:
        members: Schema = {}
        for name, inner in value.items():
            if is_false(inner) and not self._language.has("not"):
                if schema.get("additionalProperties") is not False:
                    self.lost.add(keyword)
                if not self._language.declares_required or name not in schema.get("required", ()):
                    continue
            written = self._visit(inner, depth + 1)
            if keyword == "patternProperties":
                members[name] = written
            elif name in self._names and (self._language.ref_siblings or "$ref" not in written):
                members[self._names[name]] = {"title": name, **written}
            else:
                members[self._names.get(name, name)] = written
        return members

    def _alternatives(self, out: Schema, keyword: str, value: list[Any], depth: int) -> None:
        if keyword == "oneOf":
            self._wants_exact = True
            keyword = "anyOf" if self._careful and "anyOf" not in out else "oneOf"
            if self._careful and keyword == "oneOf":
                self.lost.add("oneOf")
                return
        if keyword in ("anyOf", "oneOf") or (keyword == "allOf" and not self._language.has("not")):
            value = [inner for inner in value if not is_false(inner)]  # a false part of `allOf` makes all of it false
        branches = [self._visit(inner, depth + 1) for inner in value]
        if keyword == "anyOf" and {} in branches:
            return  # any value is valid
        if branches:
            out[keyword] = branches
        else:
            self.lost.add(keyword)

    def _renamed(self, value: Any) -> Any:
        if not self._names:
            return value
        if isinstance(value, dict):
            return {self._names.get(name, name): self._renamed(inner) for name, inner in value.items()}
        return [self._renamed(inner) for inner in value] if isinstance(value, list) else value

    def _definition(self, reference: Ref) -> str:
        """Return the name in `$defs` for the target of a reference."""
        known = self._definitions.get(id(reference.node))
        if known is not None:
            return known
        base = _NOT_IN_NAMES.sub("_", reference.name)[:60] or "Root"
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        self._definitions[id(reference.node)] = name
        self._pending.append((name, reference.node))
        return name
