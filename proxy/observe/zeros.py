"""Zero series: the exposition text of counters without events, formatted once per configuration.

A configuration can have thousands of series, and formatting one takes about 8 µs: a scrape formats the series with
events and copies the text of the others.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter

Labels = tuple[str, ...]


class Zeros:
    """The series of one counter with the value 0."""

    def __init__(self, counter: Counter, name: str, names: Labels) -> None:
        self._counter = counter
        self._name = name
        self._names = names
        self._lines: dict[Labels, bytes] = {}

    def replace(self, wanted: Iterable[Labels]) -> None:
        """Replace all series by those of `wanted`."""
        self._lines = {labels: self._line(labels) for labels in wanted}

    def added_to(self, text: bytes) -> bytes:
        """Return the exposition with those series added that have no events yet."""
        counted = {tuple(sample.labels.values()) for each in self._counter.collect() for sample in each.samples}
        head = f"# TYPE {self._name} counter\n".encode()
        lines = b"".join(line for labels, line in self._lines.items() if labels not in counted)
        return text.replace(head, head + lines, 1)

    def _line(self, labels: Labels) -> bytes:
        pairs = sorted(zip(self._names, labels, strict=True))
        inside = ",".join([f'{name}="{_escaped(value)}"' for name, value in pairs])
        return f"{self._name}{{{inside}}} 0.0\n".encode()


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
