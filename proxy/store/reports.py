"""Queries of the ledger: usage from the sums, and single calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, func, null, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.ledger import AttemptRow, CallRow
from proxy.store import schema
from proxy.store.errors import InvalidValue, Missing
from proxy.store.minutes import MINUTE, attempts_by_minute, calls_by_minute
from proxy.store.recording import ATTEMPT_COLUMNS, CALL_COLUMNS, attempt_of, call_of
from proxy.store.sums import DAY, HOUR
from proxy.store.values import check_id

Filter = str | int | Sequence[str | int]
Usage = dict[str, Any]

_DIMENSIONS = {
    "key": "key_id",
    "user": "user_id",
    "team": "team_id",
    "provider": "provider",
    "model": "model",
    "route": "route",
}
_LARGE = ("decision", "features")  # columns that only the record of one call has
_SLOTS = {"day": DAY, "hour": HOUR, "minute": MINUTE}
MAX_GROUPS = 10_000
GROUPS = (*_DIMENSIONS, *_SLOTS)
_CALLS = {**_DIMENSIONS, "status": "status", "outcome": "outcome", "client_id": "client_id", "agent": "agent"}


async def usage(
    connection: AsyncConnection, group_by: Sequence[str], filters: Mapping[str, Filter], start: int, end: int
) -> list[Usage]:
    """Return the sums from `start` to `end`, both rounded outward to full hours (or minutes), by group."""
    if unknown := [name for name in group_by if name not in GROUPS]:
        raise InvalidValue(f"cannot group by `{unknown[0]}`; use {', '.join(GROUPS)}")
    sums: dict[tuple[Any, ...], list[int]] = {}
    for table, first, last in _ranges(start, end, group_by):
        groups = [_group(table, name) for name in group_by]
        measures = [func.coalesce(func.sum(table.c[name]), 0) for name in schema.MEASURES]
        query = select(*groups, *measures).where(table.c.slot >= first, table.c.slot < last)
        for name, value in filters.items():
            query = query.where(_matches(table, _DIMENSIONS, name, value))
        if groups:
            query = query.group_by(*groups).limit(MAX_GROUPS + 1)
        for row in (await connection.execute(query)).all():
            group, values = tuple(row[: len(groups)]), [int(value) for value in row[len(groups) :]]
            before = sums.get(group)
            sums[group] = values if before is None else [a + b for a, b in zip(before, values, strict=True)]
        if len(sums) > MAX_GROUPS:
            raise InvalidValue(f"there are more than {MAX_GROUPS} groups; choose a shorter time, or filter")
    return [
        dict(zip(group_by, (value if value != "" else None for value in group), strict=True))
        | dict(zip(schema.MEASURES, values, strict=True))
        for group, values in sorted(sums.items())
    ]


async def spent(connection: AsyncConnection, scope: str, id: str, start: int, end: int) -> int:
    """Return the nano-dollars that a scope spent in the quarter hours that begin from `start` to `end`."""
    table = schema.spend
    query = select(func.coalesce(func.sum(table.c.nusd), 0)).where(
        table.c.scope == scope, table.c.id == id, table.c.slot >= start, table.c.slot < end
    )
    return int((await connection.execute(query)).scalar_one())


async def requests(
    connection: AsyncConnection, filters: Mapping[str, Filter], after: str | None, limit: int
) -> list[CallRow]:
    """Return calls, the newest first, without their decision records; `after` is the id of the last one seen."""
    table = schema.calls
    query = select(*(null() if name in _LARGE else table.c[name] for name in CALL_COLUMNS))
    for name, value in filters.items():
        query = query.where(_call_filter(name, value))
    if after is not None:
        seen = (await connection.execute(select(table.c.time).where(table.c.id == check_id(after, "after")))).scalar()
        if seen is None:
            raise Missing(f"there is no request `{after}`")
        query = query.where(tuple_(table.c.time, table.c.id) < tuple_(seen, after))
    query = query.order_by(table.c.time.desc(), table.c.id.desc()).limit(limit)
    return [call_of(row) for row in (await connection.execute(query)).all()]


async def decided(
    connection: AsyncConnection, start: tuple[int, str], end: int, model: Filter | None, limit: int
) -> list[CallRow]:
    """Return calls with their decision records, after `start` (a time and an id) and before `end`, in this order."""
    table = schema.calls
    query = select(*(table.c[name] for name in CALL_COLUMNS))
    query = query.where(tuple_(table.c.time, table.c.id) > tuple_(*start), table.c.time < end)
    if model is not None:
        query = query.where(_call_filter("model", model))
    query = query.order_by(table.c.time, table.c.id).limit(limit)
    return [call_of(row) for row in (await connection.execute(query)).all()]


async def time_of_newest(connection: AsyncConnection, start: int, end: int, number: int) -> int | None:
    """Return the time of the `number`th newest call from `start` to `end`; `None` if there are not so many."""
    table = schema.calls
    query = select(table.c.time).where(table.c.time >= start, table.c.time < end)
    query = query.order_by(table.c.time.desc(), table.c.id.desc()).offset(number - 1).limit(1)
    return (await connection.execute(query)).scalar()


async def request(connection: AsyncConnection, id: str) -> tuple[CallRow, list[AttemptRow]] | None:
    """Return one call with its attempts."""
    calls, attempts = schema.calls, schema.attempts
    query = select(*(calls.c[name] for name in CALL_COLUMNS)).where(calls.c.id == check_id(id))
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    of_call = (
        select(*(attempts.c[name] for name in ATTEMPT_COLUMNS))
        .where(attempts.c.call_id == id)
        .order_by(attempts.c.number)
    )
    return call_of(row), [attempt_of(each) for each in (await connection.execute(of_call)).all()]


def _ranges(start: int, end: int, group_by: Sequence[str]) -> Iterator[tuple[FromClause, int, int]]:
    """Yield the table and the part of the range for which it is used: days for whole days, hours for the rest."""
    if "minute" in group_by:
        start, end = start - start % MINUTE, end + -end % MINUTE
        yield calls_by_minute(start, end), start, end
        yield attempts_by_minute(start, end), start, end
        return
    start, end = start - start % HOUR, end + -end % HOUR
    first_day, last_day = start + -start % DAY, end - end % DAY
    if "hour" in group_by or first_day >= last_day:
        yield schema.usage_hours, start, end
        return
    for table, first, last in (
        (schema.usage_hours, start, first_day),
        (schema.usage_days, first_day, last_day),
        (schema.usage_hours, last_day, end),
    ):
        if first < last:
            yield table, first, last


def _group(table: FromClause, name: str) -> ColumnElement[Any]:
    if name in _DIMENSIONS:
        return table.c[_DIMENSIONS[name]]
    return table.c.slot - table.c.slot % _SLOTS[name]


def _call_filter(name: str, value: Filter) -> ColumnElement[bool]:
    table = schema.calls
    if name == "start":
        return table.c.time >= value
    if name == "end":
        return table.c.time < value
    if name == "model":  # as the client named it, or as the provider does
        names = _listed(name, value)
        return or_(table.c.model.in_(names), table.c.upstream_model.in_(names))
    return _matches(table, _CALLS, name, value)


def _matches(table: FromClause, columns: Mapping[str, str], name: str, value: Filter) -> ColumnElement[bool]:
    if name not in columns:
        raise InvalidValue(f"cannot filter by `{name}`; use {', '.join(columns)}")
    return table.c[columns[name]].in_(_listed(name, value))


def _listed(name: str, value: Filter) -> list[str | int]:
    values = [value] if isinstance(value, str | int) else list(value)
    return [check_id(each, name) if isinstance(each, str) else each for each in values]
