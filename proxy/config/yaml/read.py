"""Converts a tree of nodes to plain data with line numbers: merges, expands variables, finds duplicate keys.

The schema's shape decides how a scalar is read: as characters where a text is expected, else as YAML. Problems are
collected, so that one run reports all of them. Messages never contain values.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.config.yaml import document
from proxy.config.yaml.document import Node, Scalar, Sequence, YamlError
from proxy.config.yaml.expand import Expansion, Unset, expand
from proxy.config.yaml.shape import Shape

Path = tuple[str | int, ...]

MAX_VALUES = 100_000

_SHORTEST_SECRET = 8  # characters; shorter values could be ordinary words of a message


@dataclass(slots=True)
class Reading:
    """The data of a file, the line of each value, problems and warnings."""

    data: dict[str, Any] = field(default_factory=dict, repr=False)  # contains secrets in plain text
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[Path, int | None, str]] = field(default_factory=list)
    warnings: list[tuple[Path, int | None, str]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict, repr=False)  # their values to their names

    def without_values(self, text: str) -> str:
        """Replace values of variables, which may be secrets, by the variable's name."""
        for value in sorted(self.variables, key=len, reverse=True):
            text = text.replace(value, f"${{{self.variables[value]}}}")
        return text

    def line(self, path: Path) -> int | None:
        """The line of a value, else of the nearest enclosing value."""
        for length in range(len(path), -1, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return None


def read(root: document.Mapping, shape: Shape, environ: Mapping[str, str]) -> Reading:
    """Read a whole document. Raises `YamlError` if its aliases expand beyond the limits."""
    reader = _Reader(environ)
    reader.reading.data = reader.mapping(root, shape, (), fresh=True)
    return reader.reading


class _Reader:
    """One walk over the tree. Only `fresh` text, which is from the file, is expanded; values of variables are not."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._count = 0
        self.reading = Reading()

    def mapping(self, node: document.Mapping, shape: Shape, path: Path, *, fresh: bool) -> dict[str, Any]:
        """A mapping with its merges; its own keys override merged ones."""
        values: dict[str, Any] = {}
        for key, inner in self._pairs(node, path):
            at = (*path, key.text)
            self.reading.lines[at] = key.line
            values[key.text] = self._value(inner, shape.under(key.text), at, fresh=fresh)
        return values

    def _pairs(self, node: document.Mapping, path: Path, depth: int = 0) -> Iterator[tuple[Scalar, Node]]:
        """The mapping's own pairs, then merged ones, each key once."""
        self._counted(node.line, depth)
        seen: dict[str, int] = {}
        merges: list[tuple[Scalar, Node]] = []
        for key, inner in node.pairs:
            if not isinstance(key, Scalar):
                self._problem(path, key.line, "has a key that is a list or a mapping; keys must be strings")
            elif key.text == "<<" and key.plain:
                merges.append((key, inner))
            elif key.text in seen:
                where = f"the first one is on line {seen[key.text]}"
                self._problem((*path, key.text), key.line, f"is repeated, {where}; remove one of them")
            else:
                seen[key.text] = key.line
                yield key, inner
        for key, inner in merges:
            for source in inner.items if isinstance(inner, Sequence) else [inner]:
                if not isinstance(source, document.Mapping):
                    self._problem(path, key.line, "has a `<<` that does not merge a mapping; write `<<: *defaults`")
                    continue
                for merged, value in self._pairs(source, path, depth + 1):
                    if merged.text not in seen:
                        seen[merged.text] = merged.line
                        yield merged, value

    def _value(self, node: Node, shape: Shape, path: Path, *, fresh: bool) -> Any:
        self._counted(node.line, len(path))
        if shape.container == "list" and shape.item is not None and not isinstance(node, Sequence):
            return self._list_of_one(node, shape, shape.item, path, fresh=fresh)
        if isinstance(node, document.Mapping):
            return self.mapping(node, shape, path, fresh=fresh)
        if isinstance(node, Sequence):
            values = []
            for index, item in enumerate(node.items):
                self.reading.lines[(*path, index)] = item.line
                values.append(self._value(item, shape.under(index), (*path, index), fresh=fresh))
            return values
        return self._scalar(node, shape, path, fresh=fresh)

    def _scalar(self, node: Scalar, shape: Shape, path: Path, *, fresh: bool) -> Any:
        if fresh and "${" in node.text:
            # a text in place of a section is the section's `value`
            return self._expanded(node, shape, (*path, "value") if shape.fields and shape.unset_disables else path)
        return _plain(node, shape)

    def _list_of_one(self, node: Node, shape: Shape, item: Shape, path: Path, *, fresh: bool) -> Any:
        """A value in place of a list: a variable may contain a whole list; any other value is the only item."""
        if isinstance(node, Sequence):
            raise TypeError("the node is already a list")
        if isinstance(node, document.Mapping):
            alone = any(isinstance(key, Scalar) and key.text in item.fields for key, _ in node.pairs)
            value = self.mapping(node, item, (*path, 0) if alone else path, fresh=fresh)
            return [value] if alone else value
        if document.is_null(node):
            return _plain(node, shape)
        if fresh and "${" in node.text and not (item.unset_disables and not self._holds_list(node)):
            value = self._expanded(node, shape, path)
            return value if value is None or isinstance(value, list | dict) else _items(value, item)
        return _items(self._scalar(node, item, (*path, 0), fresh=fresh), item)

    def _holds_list(self, node: Scalar) -> bool:
        return expand(node.text, self._environ).text.lstrip().startswith("[")

    def _expanded(self, node: Scalar, shape: Shape, path: Path) -> Any:
        """Expand a scalar. If it is a single expansion, its value is read as YAML; else it is a text."""
        expansion = expand(node.text, self._environ)
        for name in expansion.variables:
            if len(value := self._environ.get(name, "")) >= _SHORTEST_SECRET:
                self.reading.variables[value] = name
        if expansion.malformed:
            self._problem(
                path, node.line, "has an invalid `${`; write `${VAR}` or `${VAR:-default}`, or `$${` for a literal `${`"
            )
            return None
        if shape.unset_disables:
            return self._key_value(expansion, path, node.line)
        if expansion.unset:
            names = ", ".join(dict.fromkeys(expansion.unset))
            remedy = f"set it, or add a default: `${{{expansion.unset[0]}:-...}}`"
            self._problem(path, node.line, f"{names} is not set; {remedy}")
            return None
        if not expansion.whole:
            return expansion.text
        if shape.secret:
            return expansion.text or None
        return self._again(expansion.text, node.line, shape, path)

    def _key_value(self, expansion: Expansion, path: Path, line: int) -> Any:
        """The value of a key; an unset or empty variable disables the key, with one warning."""
        if expansion.empty or not expansion.text.strip():
            names = tuple(dict.fromkeys(expansion.empty or expansion.variables))
            self.reading.warnings.append((path[:-1], line, f"{', '.join(names)} is not set; this key is not used"))
            return Unset(names)
        return expansion.text

    def _again(self, text: str, line: int, shape: Shape, path: Path) -> Any:
        """Read the value of a variable as YAML, or as a text if it is not valid YAML."""
        try:
            node = document.parse(text, line=line)
        except YamlError:
            return text
        if node is None:
            return _plain(Scalar("", line), shape)
        if shape.text and not isinstance(node, Scalar):
            return text
        return self._value(node, shape, path, fresh=False)

    def _counted(self, line: int, depth: int) -> None:
        """Raise if aliases of aliases expand to too many values or levels."""
        self._count += 1
        if depth > document.MAX_DEPTH:
            raise YamlError(f"expands to more than {document.MAX_DEPTH} levels; do not nest aliases of aliases", line)
        if self._count > MAX_VALUES:
            raise YamlError(f"expands to more than {MAX_VALUES} values; do not repeat aliases of aliases", line)

    def _problem(self, path: Path, line: int | None, message: str) -> None:
        self.reading.problems.append((path, line, message))


def _items(value: Any, item: Shape) -> list[Any]:
    """Convert a single value to a list; a text may contain several names separated by commas."""
    if isinstance(value, str) and item.text and not item.secret:
        return [name for part in value.split(",") if (name := part.strip())]
    return [value]


def _plain(node: Scalar, shape: Shape) -> Any:
    """Convert a scalar according to the shape; null is an empty section, mapping or list."""
    if document.is_null(node):
        if shape.container is None or shape.optional or shape.text:
            return None
        return [] if shape.container == "list" else {}
    return node.text if shape.text else document.value(node)
