"""Writes rows of the ledger, and adds them to the sums exactly once.

A row that is new is added; one that is there already is locked, and the difference is added. So rows may be written
again, also by a process that does not know whether its last transaction was committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from msgspec.structs import astuple
from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.ledger import AttemptRow, CallRow
from proxy.store import schema
from proxy.store.statements import add_text, in_driver, insert_columns_text, insert_rows_text, insert_text
from proxy.store.sums import Sums, supersedes, unique_attempts
from proxy.store.values import to_json

if TYPE_CHECKING:
    import sqlite3

AT_ONCE = 50  # rows of one statement of SQLite: its thread gives up the interpreter only once for all of them
_RENAMED = {"user": "user_id", "team": "team_id"}
CALL_COLUMNS = tuple(_RENAMED.get(name, name) for name in CallRow.__struct_fields__)
ATTEMPT_COLUMNS = tuple(_RENAMED.get(name, name) for name in AttemptRow.__struct_fields__)


async def write(connection: AsyncConnection, calls: Sequence[CallRow], attempts: Sequence[AttemptRow]) -> None:
    """Write the rows; the caller commits. Of several rows of one call the last one stays."""
    calls_by_id, attempts_by_id = {call.id: call for call in calls}, unique_attempts(attempts)
    if connection.dialect.name == "sqlite" and await in_driver(
        connection, lambda driver: _written_as_new(driver, calls_by_id, attempts_by_id)
    ):
        return
    sums = Sums()
    await _write_calls(connection, calls_by_id, sums)
    await _write_attempts(connection, attempts_by_id, sums)
    for statement, rows in _sum_rows(connection.dialect.name, sums):
        await connection.exec_driver_sql(statement, rows)


def call_of(row: Sequence[Any]) -> CallRow:
    """Return the call of a row with `CALL_COLUMNS`."""
    return CallRow(**dict(zip(CallRow.__struct_fields__, row, strict=True)))


def attempt_of(row: Sequence[Any]) -> AttemptRow:
    """Return the attempt of a row with `ATTEMPT_COLUMNS`."""
    return AttemptRow(**dict(zip(AttemptRow.__struct_fields__, row, strict=True)))


async def _write_calls(connection: AsyncConnection, calls: dict[str, CallRow], sums: Sums) -> None:
    rest = dict(calls)
    for id in await _insert(connection, schema.calls, CALL_COLUMNS, calls):
        sums.add_call(rest.pop(id))
    changed = []
    for row in await _locked(connection, schema.calls, CALL_COLUMNS, rest):
        before = call_of(row)
        call = rest[before.id]
        if call != before:
            sums.add_call(before, -1)
            sums.add_call(call)
            changed.append(call)
    await _update(connection, schema.calls, CALL_COLUMNS, changed)


async def _write_attempts(connection: AsyncConnection, attempts: dict[str, AttemptRow], sums: Sums) -> None:
    rest = dict(attempts)
    for id in await _insert(connection, schema.attempts, ATTEMPT_COLUMNS, attempts):
        sums.add_attempt(rest.pop(id))
    changed = []
    for row in await _locked(connection, schema.attempts, ATTEMPT_COLUMNS, rest):
        before = attempt_of(row)
        attempt = rest[before.id]
        if attempt != before and supersedes(attempt, before):
            sums.add_attempt(before, -1)
            sums.add_attempt(attempt)
            changed.append(attempt)
    await _update(connection, schema.attempts, ATTEMPT_COLUMNS, changed)


async def _insert(
    connection: AsyncConnection, table: Table, columns: Sequence[str], rows: dict[str, Any]
) -> Sequence[str]:
    """Insert the rows that are new, and return their ids."""
    if not rows:
        return []
    # in the order of their ids, so that two writers of the same rows wait for each other, and not both
    ids = sorted(rows)
    if connection.dialect.name == "postgresql":
        by_column = tuple(map(list, zip(*(astuple(rows[id]) for id in ids), strict=True)))
        inserted = await connection.exec_driver_sql(insert_columns_text(table, columns), by_column)
        return inserted.scalars().all()
    # no other process writes to SQLite during the transaction
    query = f"SELECT id FROM {table.name} WHERE id IN (SELECT value FROM json_each(?))"
    there = set((await connection.exec_driver_sql(query, (to_json(ids),))).scalars())
    new = [id for id in ids if id not in there]
    if new:
        statement = insert_text("sqlite", table, columns)
        await connection.exec_driver_sql(statement, [astuple(rows[id]) for id in new])
    return new


async def _locked(connection: AsyncConnection, table: Table, columns: Sequence[str], ids: Iterable[str]) -> list[Any]:
    """Return the rows that are there, locked until the end of the transaction."""
    wanted = sorted(ids)
    if not wanted:
        return []
    query = select(*(table.c[name] for name in columns)).where(table.c.id.in_(wanted)).order_by(table.c.id)
    return list((await connection.execute(query.with_for_update())).all())


async def _update(connection: AsyncConnection, table: Table, columns: Sequence[str], rows: Sequence[Any]) -> None:
    if not rows:
        return
    others: dict[str, Any] = {name: bindparam(name) for name in columns if name != "id"}
    statement = update(table).where(table.c.id == bindparam("row_id")).values(others)
    await connection.execute(statement, [_values(columns, row) | {"row_id": row.id} for row in rows])


def _values(columns: Sequence[str], row: Any) -> dict[str, Any]:
    return dict(zip(columns, astuple(row), strict=True))


def _sum_rows(dialect: str, sums: Sums) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Yield the statements that add to the sums, each with its rows."""
    names = ("slot", *schema.DIMENSIONS, *schema.MEASURES)
    for table, changes in ((schema.usage_hours, sums.hours), (schema.usage_days, sums.days())):
        rows = [
            (slot, *dimensions, *measures) for (slot, dimensions), measures in sorted(changes.items()) if any(measures)
        ]
        if rows:
            yield add_text(dialect, table, names, schema.MEASURES), rows
    spent = [(*spender, slot, nusd) for (spender, slot), nusd in sorted(sums.spend().items()) if nusd]
    if spent:
        yield add_text(dialect, schema.spend, ("scope", "id", "slot", "nusd"), ("nusd",)), spent


def _written_as_new(
    driver: sqlite3.Connection, calls: Mapping[str, CallRow], attempts: Mapping[str, AttemptRow]
) -> bool:
    """Write rows in the thread of SQLite; write nothing and return false if one of them is there already.

    This is one visit to the thread, where each statement of SQLAlchemy takes three.
    """
    if not (
        _all_inserted(driver, schema.calls, CALL_COLUMNS, calls)
        and _all_inserted(driver, schema.attempts, ATTEMPT_COLUMNS, attempts)
    ):
        driver.execute("ROLLBACK")
        driver.execute("BEGIN IMMEDIATE")
        return False
    sums = Sums()
    for call in calls.values():
        sums.add_call(call)
    for attempt in attempts.values():
        sums.add_attempt(attempt)
    for statement, rows in _sum_rows("sqlite", sums):
        driver.executemany(statement, rows)
    return True


def _all_inserted(driver: sqlite3.Connection, table: Table, columns: Sequence[str], rows: Mapping[str, Any]) -> bool:
    """Insert the rows that are new; return whether all of them are."""
    values = [astuple(rows[id]) for id in sorted(rows)]
    whole = len(values) - len(values) % AT_ONCE
    statement, inserted = insert_rows_text(table, columns, AT_ONCE), 0
    for start in range(0, whole, AT_ONCE):
        inserted += driver.execute(statement, list(chain.from_iterable(values[start : start + AT_ONCE]))).rowcount
    if whole < len(values):
        inserted += driver.executemany(insert_rows_text(table, columns, 1), values[whole:]).rowcount
    return inserted == len(values)
