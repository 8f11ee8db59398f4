"""Weighted ridge regression on sparse rows, by conjugate gradients, in slices short enough for an event loop.

    minimise  sum(weight * (value - intercept - row . x) ** 2) + penalty * |x| ** 2

Columns that fewer than two rows have are left out: they can explain one row only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter, mul
from typing import Any

ITERATIONS = 20
TOLERANCE = 1e-3  # of the residual, relative to that of the start
SLICE = 20_000  # values that are multiplied between two yields: about 2 ms
_ROWS = 50  # that are sorted by columns between two yields: about as long

Vector = list[float]


@dataclass(frozen=True, slots=True)
class Row:
    """One example: values by column, what they explain, and how much the example counts."""

    columns: Sequence[int]
    values: Sequence[float]
    value: float
    weight: float


class _Lines:
    """The rows or the columns of a sparse matrix: each gives the sum of its products with a vector.

    They consist of tuples, in which the garbage collector does not search for cycles again and again.
    """

    def __init__(self) -> None:
        self.lines: list[tuple[Callable[[Vector], Sequence[float]], Sequence[float]]] = []
        self._breaks: list[int] = []  # where a slice ends

    def take(self, lines: Sequence[tuple[Sequence[int], Sequence[float]]]) -> Generator[None, None, _Lines]:
        """Take the lines, and return itself; yield often."""
        values = 0
        for number, (places, factors) in enumerate(lines):
            if len(places) == 1:  # `itemgetter` of one place returns no sequence
                places, factors = (places[0], places[0]), (factors[0], 0.0)
            self.lines.append((itemgetter(*places) if places else _nothing, tuple(factors)))
            values += len(places) + 5
            if values > SLICE:
                self._breaks.append(number + 1)
                values = 0
                yield
        self._breaks.append(len(lines))
        return self

    def times(self, vector: Vector) -> Generator[None, None, Vector]:
        """Return the products with a vector."""
        out: Vector = []
        for end in self._breaks:
            out += [sum(map(mul, get(vector), factors)) for get, factors in self.lines[len(out) : end]]
            yield
        return out


def freed(items: list[Any]) -> Generator[None, None, None]:
    """Empty a list of rows in slices: to free millions of numbers at once takes a twentieth of a second."""
    while items:
        del items[-2 * _ROWS :]
        yield


def _nothing(vector: Vector) -> Sequence[float]:
    return ()


def solve(
    rows: Sequence[Row], penalty: float, start: Mapping[int, float] | None = None
) -> Generator[None, None, tuple[float, dict[int, float]]]:
    """Return the intercept and the weights by column; yield often. `start` is a solution of similar rows."""
    seen: Counter[int] = Counter()
    for number, row in enumerate(rows):
        seen.update(row.columns)
        if number % _ROWS == _ROWS - 1:
            yield
    position = {column: at for at, column in enumerate(sorted(column for column, times in seen.items() if times > 1))}
    columns = list(position)
    yield
    lines: list[tuple[tuple[int, ...], tuple[float, ...]]] = []
    by_column: list[tuple[list[int], list[float]]] = [([], []) for _ in columns]
    for number, row in enumerate(rows):
        places, values = _known(row, position)
        lines.append((places, values))
        for place, value in zip(places, values, strict=True):
            by_column[place][0].append(number)
            by_column[place][1].append(value)
        if number % _ROWS == _ROWS - 1:
            yield
    weights = [row.weight for row in rows]
    mean = sum([row.weight * row.value for row in rows]) / sum(weights)
    targets = [row.weight * (row.value - mean) for row in rows]
    by_row = yield from _Lines().take(lines)
    by_col = yield from _Lines().take(by_column)
    x = [0.0] * len(columns) if start is None else [start.get(column, 0.0) for column in columns]
    wanted = yield from by_col.times(targets)

    def product(vector: Vector) -> Generator[None, None, Vector]:
        rows_by = yield from by_row.times(vector)
        back = yield from by_col.times(list(map(mul, weights, rows_by)))
        return [value + penalty * own for value, own in zip(back, vector, strict=True)]

    now = yield from product(x)
    residual = [value - own for value, own in zip(wanted, now, strict=True)]
    yield from _descend(product, x, residual, TOLERANCE * TOLERANCE * _dot(wanted, wanted))
    for held in (lines, by_column, by_row.lines, by_col.lines):
        yield from freed(held)
    return mean, dict(zip(columns, x, strict=True))


def _descend(
    product: Callable[[Vector], Generator[None, None, Vector]], x: Vector, residual: Vector, enough: float
) -> Generator[None, None, None]:
    direction, size = list(residual), _dot(residual, residual)
    for _ in range(ITERATIONS):
        if size <= enough:
            return
        image = yield from product(direction)
        step = size / _dot(direction, image)
        x[:] = [value + step * each for value, each in zip(x, direction, strict=True)]
        residual = [value - step * each for value, each in zip(residual, image, strict=True)]
        before, size = size, _dot(residual, residual)
        ratio = size / before
        direction = [value + ratio * each for value, each in zip(residual, direction, strict=True)]
        yield


def _known(row: Row, position: Mapping[int, int]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    pairs = [
        (position[column], value) for column, value in zip(row.columns, row.values, strict=True) if column in position
    ]
    return tuple([place for place, _ in pairs]), tuple([value for _, value in pairs])


def _dot(first: Vector, second: Vector) -> float:
    return math.fsum(map(mul, first, second))


def finish(work: Generator[Any, None, Any]) -> Any:
    """Run a generator to its end, and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value
