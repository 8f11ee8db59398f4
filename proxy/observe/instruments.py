"""Counters, gauges and histograms: the values of one process, changed in its event loop and read in a thread."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from proxy.observe.exposition import Combine, Family, series

Labels = tuple[str, ...]


class Cell:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`, which is not negative."""
        self.value += amount


class Counter:
    """A counter with labels; `at_zero` names series that are shown before they have counted."""

    def __init__(self, name: str, text: str, names: Labels) -> None:
        self._name = name
        self._text = text
        self.label_names = names
        self._cells: dict[Labels, Cell] = {}
        self._zeros: dict[str, float] = {}

    def labels(self, *values: str) -> Cell:
        """Return the series with these values, in the order of the label names."""
        cell = self._cells.get(values)
        if cell is None:
            cell = self._cells[values] = Cell()
        return cell

    def at_zero(self, wanted: Iterable[Labels]) -> None:
        """Show these series with the value 0 until they count, and none of an earlier call.

        Prometheus sees no increase in a series whose first value is 1. Their names are formatted here and not at each
        scrape: a configuration can have thousands.
        """
        self._zeros = {self._series(values): 0.0 for values in wanted}

    def family(self) -> Family:
        """Return the values of now."""
        counted = {self._series(values): cell.value for values, cell in list(self._cells.items())}
        return Family(self._name, "counter", self._text, self._zeros | counted)

    def _series(self, values: Labels) -> str:
        return series(self._name, zip(self.label_names, values, strict=True))


class Gauge:
    """A gauge without labels; the gauges of several processes are combined by `combine`."""

    def __init__(self, name: str, text: str, combine: Combine = "sum") -> None:
        self._name = name
        self._text = text
        self._combine: Combine = combine
        self.value = 0.0

    def set(self, value: float) -> None:
        """Set the value."""
        self.value = value

    def family(self) -> Family:
        """Return the value of now."""
        return Family(self._name, "gauge", self._text, {self._name: self.value}, self._combine)


class Histogram:
    """A histogram without labels; `bounds` are the upper bounds of its buckets, ascending, without infinity."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._text = text
        self._bounds = tuple(map(float, bounds))
        self._series = [series(f"{name}_bucket", [("le", repr(bound))]) for bound in self._bounds]
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self) -> Family:
        """Return the values of now; each bucket includes those below it."""
        *counts, beyond = list(self._counts)
        values: dict[str, float] = {}
        total = 0
        for name, count in zip(self._series, counts, strict=True):
            total += count
            values[name] = total
        total += beyond
        values[series(f"{self._name}_bucket", [("le", "+Inf")])] = total
        values[f"{self._name}_count"], values[f"{self._name}_sum"] = total, self._sum
        return Family(self._name, "histogram", self._text, values)
