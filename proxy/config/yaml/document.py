"""Parses YAML to a tree of nodes with line numbers, without converting values or creating Python objects.

Aliases share the node of their anchor. Documents that are too deep, too large or recursive are rejected.
Scalars follow YAML 1.2 (`on` and `2024-10-21` are texts), so that a setting means what it looks like.

The parser's events are used instead of `yaml.compose`: libyaml's composer overflows the C stack, and so ends the
process, on texts that are nested deep enough, and it rejects an anchor that is defined again.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_DEPTH = 64
MAX_NODES = 100_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same events, faster
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_SPECIAL = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}
_TAG = "tag:yaml.org,2002:"
_KNOWN_TAGS = ("str", "int", "float", "bool", "null", "seq", "map")


class YamlError(Exception):
    """Invalid YAML, or YAML that is not supported."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class Scalar:
    """A text; `plain` if it has no quotes and so may be a number."""

    text: str = field(repr=False)
    line: int
    plain: bool = True


@dataclass(slots=True)
class Sequence:
    """A list."""

    line: int
    items: list["Node"] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    """Keys and values in their order, duplicates included, `<<` not yet merged."""

    line: int
    pairs: list[tuple["Node", "Node"]] = field(default_factory=list)


Node = Scalar | Sequence | Mapping


def parse(text: str, *, line: int | None = None) -> Node | None:
    """Read one document; None if it is empty. With `line`, every node gets that line."""
    try:
        return _Composer(yaml.parse(text, Loader=_LOADER), line).document()
    except yaml.reader.ReaderError as exc:
        at = text.count("\n", 0, exc.position) + 1 if isinstance(exc.position, int) else None
        raise YamlError("contains a control character, which YAML does not allow", line or at) from None
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        raise YamlError(_reason(exc), line or (None if mark is None else mark.line + 1)) from None


def value(scalar: Scalar) -> Any:
    """The value of a scalar: null, a bool, a number or a text."""
    text = scalar.text
    if not scalar.plain:
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text) and len(text) < 100:
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text.rstrip("_").replace("_", ""))
    if _FLOAT.fullmatch(text):
        return float(text)
    return _SPECIAL.get(text.lower(), text)


def is_null(scalar: Scalar) -> bool:
    """Whether a scalar is YAML's null."""
    return scalar.plain and _NULL.fullmatch(scalar.text) is not None


class _Composer:
    """Builds nodes from events."""

    def __init__(self, events: Iterator[yaml.Event], line: int | None) -> None:
        self._events = events
        self._line = line
        self._anchors: dict[str, Node | None] = {}  # None: still being read
        self._count = 0

    def document(self) -> Node | None:
        """The first document; a second one is an error."""
        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise YamlError("contains a second document; keep one and remove `---`", self._at(event))
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, 1)
        return None if isinstance(root, Scalar) and is_null(root) else root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        line = self._at(event)
        self._count += 1
        if depth > MAX_DEPTH:
            raise YamlError(f"is nested more than {MAX_DEPTH} levels deep", line)
        if self._count > MAX_NODES:
            raise YamlError(f"contains more than {MAX_NODES} values", line)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line)
        tag = self._tag(event, line)
        anchor: str | None = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = None
        node = self._new(event, tag, line, depth)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: yaml.AliasEvent, line: int) -> Node:
        if event.anchor not in self._anchors:
            raise YamlError("has an alias without an anchor before it; put texts that begin with `*` in quotes", line)
        node = self._anchors[event.anchor]
        if node is None:
            raise YamlError("has an anchor that contains an alias of itself", line)
        return node

    def _new(self, event: yaml.Event, tag: str, line: int, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(event.value, line, plain=event.style in (None, "") and tag != "str")
        if isinstance(event, yaml.SequenceStartEvent):
            sequence = Sequence(line)
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                sequence.items.append(self._node(item, depth + 1))
            return sequence
        mapping = Mapping(line)
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            pair = self._node(key, depth + 1), self._node(next(self._events), depth + 1)
            mapping.pairs.append(pair)
        return mapping

    def _tag(self, event: Any, line: int) -> str:
        """The short name of an explicit standard tag; other tags could create objects and are rejected."""
        tag = event.tag
        if tag is None or tag == "!":
            return "str" if tag == "!" else ""
        short = str(tag).removeprefix(_TAG)
        if short not in _KNOWN_TAGS:
            raise YamlError("has a tag, which is not allowed; put texts that begin with `!` in quotes", line)
        return short

    def _at(self, event: yaml.Event) -> int:
        if self._line is not None or event.start_mark is None:
            return self._line or 1
        return int(event.start_mark.line) + 1


def _reason(exc: yaml.MarkedYAMLError) -> str:
    """The parser's message, without quotations from the file."""
    problem = re.sub(r"'[^']{2,}'", "…", exc.problem or "cannot be read")
    return f"is not valid YAML: {problem}; check indentation, quotes and brackets"
