"""Usage by minute. It has no sums of its own: the records are summed when they are asked for, while they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, FromClause, case, func, literal_column, or_, select

from proxy.store.schema import DIMENSIONS, MEASURES, attempts, calls
from proxy.store.sums import STARTED

MINUTE = 60 * 1_000_000
_NOTHING: ColumnElement[Any] = literal_column("0")
_ONE: ColumnElement[Any] = literal_column("1")
_FAILED = or_(calls.c.status >= 400, calls.c.outcome.in_(("error", "partial")))  # `is_error` of `sums.py`
_COST = func.coalesce(attempts.c.cost_nusd, 0)


def calls_by_minute(start: int, end: int) -> FromClause:
    """Return the calls from `start` to `end` in the columns of the tables of sums."""
    measures = {"requests": _ONE, "errors": case((_FAILED, 1), else_=0)}
    return _rows(calls, {"model": calls.c.upstream_model}, measures, start, end)


def attempts_by_minute(start: int, end: int) -> FromClause:
    """Return the attempts that have ended, in the same columns."""
    measures = {name: func.coalesce(attempts.c[name], 0) for name in MEASURES if name in attempts.c} | {
        "attempts": _ONE,
        "cost_nusd": case((attempts.c.own_key, 0), else_=_COST),
        "own_key_nusd": case((attempts.c.own_key, _COST), else_=0),
    }
    return _rows(attempts, {}, measures, start, end, attempts.c.outcome != STARTED)


def _rows(
    table: Any,
    renamed: Mapping[str, ColumnElement[Any]],
    measures: Mapping[str, ColumnElement[Any]],
    start: int,
    end: int,
    *conditions: ColumnElement[bool],
) -> FromClause:
    return (
        select(
            (table.c.time - table.c.time % MINUTE).label("slot"),
            *(func.coalesce(renamed.get(name, table.c.get(name)), "").label(name) for name in DIMENSIONS),
            *(measures.get(name, _NOTHING).label(name) for name in MEASURES),
        )
        .where(table.c.time >= start, table.c.time < end, *conditions)
        .subquery()
    )
