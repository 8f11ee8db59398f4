"""A tree of nodes to plain data, with the line of every value: merges, expands variables, finds duplicate keys.

The schema's shape leads: where a text is wanted a scalar keeps its characters, elsewhere it is read as YAML. What is
wrong is noted and reading goes on, so that one run finds all there is to mend. Values are never part of a message.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.config import document
from proxy.config.describe import Shape
from proxy.config.document import Node, Scalar, Sequence, YamlError
from proxy.config.expand import Expansion, expand
from proxy.config.providers import Unset

Path = tuple[str | int, ...]

MAX_VALUES = 100_000

_SHORTEST_SECRET = 8  # characters: shorter values are words that a message may use itself


@dataclass(slots=True)
class Reading:
    """The data of a file, where each value stands, and what is wrong or worth a warning."""

    data: dict[str, Any] = field(default_factory=dict, repr=False)  # secrets are still plain here
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[Path, int | None, str]] = field(default_factory=list)
    warnings: list[tuple[Path, int | None, str]] = field(default_factory=list)
    brought: dict[str, str] = field(default_factory=dict, repr=False)  # what variables held, and their names

    def without_values(self, text: str) -> str:
        """The text with what a variable held, which may be a secret, shown as that variable."""
        for value in sorted(self.brought, key=len, reverse=True):
            text = text.replace(value, f"${{{self.brought[value]}}}")
        return text

    def line(self, path: Path) -> int | None:
        """The line of a value, or of the nearest thing around it."""
        for length in range(len(path), -1, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return None


def read(root: document.Mapping, shape: Shape, environ: Mapping[str, str]) -> Reading:
    """Read a whole document. Raises `YamlError` when its aliases unfold to more than we want to hold."""
    reader = _Reader(environ)
    reader.reading.data = reader.mapping(root, shape, (), fresh=True)
    return reader.reading


class _Reader:
    """One walk over the tree. `fresh` is text of the file; what a variable brought is not expanded again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._count = 0
        self.reading = Reading()

    def mapping(self, node: document.Mapping, shape: Shape, path: Path, *, fresh: bool) -> dict[str, Any]:
        """A mapping with its merges; a key of its own beats a merged one."""
        values: dict[str, Any] = {}
        for key, inner in self._pairs(node, path):
            at = (*path, key.text)
            self.reading.lines[at] = key.line
            values[key.text] = self._value(inner, shape.under(key.text), at, fresh=fresh)
        return values

    def _pairs(self, node: document.Mapping, path: Path, depth: int = 0) -> Iterator[tuple[Scalar, Node]]:
        """Own pairs first, then merged ones, each key once."""
        self._counted(node.line, depth)
        seen: dict[str, int] = {}
        merges: list[tuple[Scalar, Node]] = []
        for key, inner in node.pairs:
            if not isinstance(key, Scalar):
                self._problem(path, key.line, "has a key that is a list or a mapping; keys are texts")
            elif key.text == "<<" and key.plain:
                merges.append((key, inner))
            elif key.text in seen:
                where = f"the first one is on line {seen[key.text]}"
                self._problem((*path, key.text), key.line, f"stands here a second time, {where}; remove one of them")
            else:
                seen[key.text] = key.line
                yield key, inner
        for key, inner in merges:
            for source in inner.items if isinstance(inner, Sequence) else [inner]:
                if not isinstance(source, document.Mapping):
                    self._problem(path, key.line, "`<<` merges mappings only, such as `<<: *defaults`")
                    continue
                for merged, value in self._pairs(source, path, depth + 1):
                    if merged.text not in seen:
                        seen[merged.text] = merged.line
                        yield merged, value

    def _value(self, node: Node, shape: Shape, path: Path, *, fresh: bool) -> Any:
        self._counted(node.line, len(path))
        if shape.container == "list" and shape.each is not None and not isinstance(node, Sequence):
            return self._list_of_one(node, shape, shape.each, path, fresh=fresh)
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
            # where a text may stand for a whole section, its variables are those of the section's value
            return self._expanded(node, shape, (*path, "value") if shape.fields and shape.unset_disables else path)
        return _plain(node, shape)

    def _list_of_one(self, node: Node, shape: Shape, each: Shape, path: Path, *, fresh: bool) -> Any:
        """A value where a list is wanted: a variable may hold a whole list, any other value is the list's only one."""
        if isinstance(node, Sequence):
            raise TypeError("a list is no list of one")
        if isinstance(node, document.Mapping):
            alone = any(isinstance(key, Scalar) and key.text in each.fields for key, _ in node.pairs)
            value = self.mapping(node, each, (*path, 0) if alone else path, fresh=fresh)
            return [value] if alone else value
        if document.is_null(node):
            return _plain(node, shape)
        if fresh and "${" in node.text and not (each.unset_disables and not self._holds_list(node)):
            value = self._expanded(node, shape, path)
            return value if value is None or isinstance(value, list | dict) else _items(value, each)
        return _items(self._scalar(node, each, (*path, 0), fresh=fresh), each)

    def _holds_list(self, node: Scalar) -> bool:
        return expand(node.text, self._environ).text.lstrip().startswith("[")

    def _expanded(self, node: Scalar, shape: Shape, path: Path) -> Any:
        """A scalar with variables: wholly one expansion is read again as YAML, anything else is a text."""
        expansion = expand(node.text, self._environ)
        for name in expansion.variables:
            if len(value := self._environ.get(name, "")) >= _SHORTEST_SECRET:
                self.reading.brought[value] = name
        if expansion.malformed:
            self._problem(
                path, node.line, "has a `${` that is no `${VAR}` or `${VAR:-default}`; a literal one is `$${`"
            )
            return None
        if shape.unset_disables:
            return self._key_value(expansion, path, node.line)
        if expansion.unset:
            names = ", ".join(dict.fromkeys(expansion.unset))
            mend = f"set it, or give a default: `${{{expansion.unset[0]}:-...}}`"
            self._problem(path, node.line, f"{names} is not set; {mend}")
            return None
        if not expansion.whole:
            return expansion.text
        if shape.secret:
            return expansion.text or None
        return self._again(expansion.text, node.line, shape, path)

    def _key_value(self, expansion: Expansion, path: Path, line: int) -> Any:
        """The value of a key: a variable that is unset or empty disables it, with one warning."""
        if expansion.empty or not expansion.text.strip():
            names = tuple(dict.fromkeys(expansion.empty or expansion.variables))
            self.reading.warnings.append((path[:-1], line, f"{', '.join(names)} is not set; this key is not used"))
            return Unset(names)
        return expansion.text

    def _again(self, text: str, line: int, shape: Shape, path: Path) -> Any:
        """The text of a variable as YAML, where it is any."""
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
        """Stop where aliases of aliases make a small file large or deep."""
        self._count += 1
        if depth > document.MAX_DEPTH:
            raise YamlError(f"unfolds to more than {document.MAX_DEPTH} levels; do not nest aliases of aliases", line)
        if self._count > MAX_VALUES:
            raise YamlError(f"unfolds to more than {MAX_VALUES} values; do not repeat aliases of aliases", line)

    def _problem(self, path: Path, line: int | None, message: str) -> None:
        self.reading.problems.append((path, line, message))


def _items(value: Any, each: Shape) -> list[Any]:
    """The list that one value stands for; a text may hold several names with commas between."""
    if isinstance(value, str) and each.text and not each.secret:
        return [name for part in value.split(",") if (name := part.strip())]
    return [value]


def _plain(node: Scalar, shape: Shape) -> Any:
    """A scalar as the shape wants it; an empty section, mapping or list is one without entries."""
    if document.is_null(node):
        if shape.container is None or shape.optional or shape.text:
            return None
        return [] if shape.container == "list" else {}
    return node.text if shape.text else document.value(node)
