"""Cycles of references between definitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.dialects.schema.language import Schema

_PREFIX = "#/$defs/"


@dataclass(slots=True)
class _Edge:
    """A reference: its node, and the outermost required member on its path."""

    target: str
    holder: Schema
    required_by: Schema | None = None
    member: str = ""
    optional: bool = False  # an optional member is on the path


def has_cycle(definitions: Mapping[str, Schema]) -> bool:
    """Whether the references between definitions have a cycle."""
    return bool(_back_edges({name: list(_edges(schema)) for name, schema in definitions.items()}))


def break_cycles(definitions: Mapping[str, Schema], lost: set[str]) -> None:
    """Make every cycle pass through an optional member; a reference outside of members then accepts any value.

    Modifies `definitions`, and adds the lost keywords to `lost`.
    """
    edges = {name: [edge for edge in _edges(schema) if not edge.optional] for name, schema in definitions.items()}
    for edge in _back_edges(edges):
        if edge.required_by is None:
            edge.holder.clear()
            lost.add("$ref")
        elif edge.member in edge.required_by.get("required", ()):
            left = [name for name in edge.required_by["required"] if name != edge.member]
            edge.required_by["required"] = left
            if not left:
                del edge.required_by["required"]
            lost.add("required")


def _back_edges(graph: Mapping[str, list[_Edge]]) -> list[_Edge]:
    """Return edges without which the graph has no cycles (iterative depth-first search)."""
    found: list[_Edge] = []
    done: set[str] = set()
    for start in graph:
        if start in done:
            continue
        path = {start}
        stack = [(start, iter(graph[start]))]
        while stack:
            name, edges = stack[-1]
            edge = next(edges, None)
            if edge is None:
                stack.pop()
                path.discard(name)
                done.add(name)
            elif edge.target in path:
                found.append(edge)
            elif edge.target not in done and edge.target in graph:
                path.add(edge.target)
                stack.append((edge.target, iter(graph[edge.target])))
    return found


def _edges(schema: Schema) -> Iterator[_Edge]:
    pending: list[tuple[Any, Schema | None, str, bool]] = [(schema, None, "", False)]
    while pending:
        node, holder, member, optional = pending.pop()
        if not isinstance(node, dict):
            continue
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield _Edge(reference.removeprefix(_PREFIX), node, holder, member, optional)
        for name, inner in node.get("properties", {}).items():
            is_optional = name not in node.get("required", ())
            if is_optional or holder is not None:
                pending.append((inner, holder, member, optional or is_optional))
            else:
                pending.append((inner, node, name, optional))
        others = [node.get("items"), node.get("additionalProperties")]
        others += [inner for name in ("anyOf", "prefixItems") for inner in node.get(name, ())]
        pending += [(inner, holder, member, optional) for inner in others]
