"""A schema document: resolves references, and counts nodes.

A reference is a JSON pointer, an anchor, or a URL relative to the enclosing `$id`. References to other documents are
not resolved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from proxy.dialects.schema.drafts import DEFINITIONS, LISTS, NAMED, REFERENCES, SINGLE, Ref, is_old, is_schema, normal
from proxy.dialects.schema.language import Schema

_ALIASES = 50  # length of a chain of references to references


class Document:
    """The nodes of a schema; `size` counts them."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        self.size = 0
        self._old = is_old(root)
        self._bases: dict[int, str] = {}  # by the node's identity; `root` keeps the nodes alive
        self._resources: dict[str, Schema] = {"": root}
        self._anchors: dict[str, Schema] = {}
        self._dynamic: dict[str, Schema] = {}
        self._walk()

    def normal(self, node: Any, lost: set[str]) -> Schema:
        """Return the node in the syntax of 2020-12, with a `Ref` as `$ref`; adds unresolved references to `lost`."""
        out = normal(node, old=self._old)
        for name in REFERENCES:
            if name not in out:
                continue
            reference = out.pop(name)
            target = reference if isinstance(reference, Ref) else self._target(name, reference, node)
            if target is None:
                lost.add("$ref")
            elif "$ref" in out:
                out["allOf"] = [*out.get("allOf", []), {"$ref": target}]
            else:
                out["$ref"] = target
        if "$ref" in out and isinstance(node, dict) and node.get("nullable") is True:
            out["anyOf"] = [{"$ref": out.pop("$ref")}, {"type": "null"}]
        return out

    def _target(self, keyword: str, reference: str, node: Any) -> Ref | None:
        """Return the target of a reference after chains of references; None if external or circular."""
        for _ in range(_ALIASES):
            found = self._lookup(keyword, reference, self._bases.get(id(node), ""))
            if found is None or not is_schema(found.node):
                return None
            following = found.node.get("$ref") if isinstance(found.node, dict) and len(found.node) == 1 else None
            if not isinstance(following, str):
                return found
            keyword, reference, node = "$ref", following, found.node
        return None

    def _lookup(self, keyword: str, reference: str, base: str) -> Ref | None:
        if keyword != "$ref" and len(self._resources) > 2:
            return None  # a dynamic reference: its node depends on the path
        address, fragment = urldefrag(_joined(base, reference))
        fragment = unquote(fragment)
        name = fragment.rsplit("/", 1)[-1].replace("~1", "/").replace("~0", "~")
        if fragment and not fragment.startswith("/"):
            anchor = self._anchors.get(f"{address}#{fragment}")
            if anchor is None and keyword == "$dynamicRef":
                anchor = self._dynamic.get(fragment)
            return None if anchor is None else Ref(anchor, name)
        resource = self._resources.get(address)
        if resource is None:
            resource = self._resources.get(address + "#")
        if resource is None:
            return None
        found = _pointed(resource, fragment) or (_pointed(self.root, fragment) if reference.startswith("#") else None)
        return None if found is None else Ref(found[0], name or address.rstrip("/").rsplit("/", 1)[-1])

    def _walk(self) -> None:
        pending: list[tuple[Any, str]] = [(self.root, "")]
        while pending:
            node, base = pending.pop()
            self.size += 1
            if isinstance(node, dict):
                base = self._register(node, base)
                self._bases[id(node)] = base
                pending += [(inner, base) for inner in subschemas(node)]

    def _is_address(self, node: Schema) -> bool:
        """Whether `id` is a URL, as in draft 4, which a document need not declare."""
        return isinstance(node.get("id"), str) and ("#" in node["id"] or "/" in node["id"])

    def _register(self, node: Schema, base: str) -> str:
        """Register the node's URL and anchors; return the base URL for its subschemas."""
        id = node.get("$id", node.get("id") if self._old or self._is_address(node) else None)
        if isinstance(id, str) and id.startswith("#"):
            self._anchors.setdefault(f"{base}{id}", node)
        elif isinstance(id, str) and id:
            base = urldefrag(_joined(base, id))[0]
            self._resources.setdefault(base, node)
        for keyword in ("$anchor", "$dynamicAnchor"):
            anchor = node.get(keyword)
            if isinstance(anchor, str):
                self._anchors.setdefault(f"{base}#{anchor}", node)
                if keyword == "$dynamicAnchor":
                    self._dynamic.setdefault(anchor, node)
        return base


def subschemas(node: Schema) -> Iterator[Any]:
    """Yield the subschemas of a node, for all drafts."""
    for name, value in node.items():
        if isinstance(value, dict) and (name in NAMED or name in DEFINITIONS or name == "dependencies"):
            yield from value.values()
        elif isinstance(value, list) and (name in LISTS or name == "items"):
            yield from value
        elif name in SINGLE or name == "additionalItems":
            yield value


def _joined(base: str, reference: str) -> str:
    try:
        return urljoin(base, reference) if base else reference
    except ValueError:
        return reference


def _pointed(root: Any, pointer: str) -> tuple[Any] | None:
    """Return the target of a JSON pointer in a tuple; None if it does not exist."""
    found = root
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and len(step) < 9 and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return (found,)
