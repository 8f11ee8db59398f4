"""Writes rows of the ledger, and adds them to the sums exactly once.

A row that is new is added; one that is there already is locked, and the difference is added. So rows may be written
again, also by a process that does not know whether its last transaction was committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.ledger import AttemptRow, CallRow
from proxy.store import schema
from proxy.store.statements import add_text, insert_columns_text, insert_text
from proxy.store.sums import Sums, supersedes, unique_attempts
from proxy.store.values import to_json

_RENAMED = {"user": "user_id", "team": "team_id"}
CALL_COLUMNS = tuple(_RENAMED.get(name, name) for name in CallRow.__struct_fields__)
ATTEMPT_COLUMNS = tuple(_RENAMED.get(name, name) for name in AttemptRow.__struct_fields__)


async def write(connection: AsyncConnection, calls: Sequence[CallRow], attempts: Sequence[AttemptRow]) -> None:
    """Write the rows; the caller commits. Of several rows of one call the last one stays."""
    sums = Sums()
    await _write_calls(connection, {call.id: call for call in calls}, sums)
    await _write_attempts(connection, unique_attempts(attempts), sums)
    await _write_sums(connection, sums)


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
        by_column = tuple(map(list, zip(*(msgspec.structs.astuple(rows[id]) for id in ids), strict=True)))
        inserted = await connection.exec_driver_sql(insert_columns_text(table, columns), by_column)
        return inserted.scalars().all()
    # no other process writes to SQLite during the transaction
    query = f"SELECT id FROM {table.name} WHERE id IN (SELECT value FROM json_each(?))"
    there = set((await connection.exec_driver_sql(query, (to_json(ids),))).scalars())
    new = [id for id in ids if id not in there]
    if new:
        statement = insert_text(connection, table, columns)
        await connection.exec_driver_sql(statement, [msgspec.structs.astuple(rows[id]) for id in new])
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
    return dict(zip(columns, msgspec.structs.astuple(row), strict=True))


async def _write_sums(connection: AsyncConnection, sums: Sums) -> None:
    names = ("slot", *schema.DIMENSIONS, *schema.MEASURES)
    for table, changes in ((schema.usage_hours, sums.hours), (schema.usage_days, sums.days())):
        rows = [
            (slot, *dimensions, *measures) for (slot, dimensions), measures in sorted(changes.items()) if any(measures)
        ]
        if rows:
            await connection.exec_driver_sql(add_text(connection, table, names, schema.MEASURES), rows)
    spent = [(*spender, slot, nusd) for (spender, slot), nusd in sorted(sums.spend().items()) if nusd]
    if spent:
        statement = add_text(connection, schema.spend, ("scope", "id", "slot", "nusd"), ("nusd",))
        await connection.exec_driver_sql(statement, spent)
