"""Overrides of models in the database. Each change writes a row of the audit log in the same transaction."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from proxy.core.clock import Clock
from proxy.store.database import Database
from proxy.store.errors import Missing, StoreUnavailable
from proxy.store.values import check_id, check_text, microseconds, to_json

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

PEEK_SECONDS = 1.0  # for which another process may lock the file


class ModelStore:
    """Every method raises `StoreUnavailable` while the database does not work."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def all(self) -> dict[str, dict[str, Any]]:
        """Return the overridden fields of each model. A SQLite file is neither created for it, nor opened for long."""
        location = self._database.location
        if location.kind == "sqlite" and not self._database.opened:
            return await asyncio.to_thread(_peek, location.target)
        return await self._database.read(_all)

    async def put(self, id: str, fields: Mapping[str, Any], actor: str) -> None:
        """Store the overridden fields of a model in place of its earlier ones. Raises `InvalidValue`."""
        check_id(id)
        text, entry = to_json(fields), self._entry("replace", actor)
        await self._database.write(lambda connection: _put(connection, id, text, entry))

    async def delete(self, id: str, actor: str) -> None:
        """Remove the override of a model. Raises `Missing`."""
        check_id(id)
        entry = self._entry("delete", actor)
        await self._database.write(lambda connection: _delete(connection, id, entry))

    def _entry(self, action: str, actor: str) -> dict[str, Any]:
        return {"time": microseconds(self._clock.time()), "actor": check_text(actor, "actor"), "action": action}


def _peek(path: str) -> dict[str, dict[str, Any]]:
    """Return what a SQLite file contains before the database is opened; nothing if there is no file."""
    if not os.path.exists(path):
        return {}
    import sqlite3  # only here: most services have no such file

    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=PEEK_SECONDS)) as connection:
            return _decoded(connection.execute("SELECT id, json FROM model_overrides"))
    except sqlite3.Error as exc:
        if "no such table" in str(exc):  # the schema is migrated when the database is opened
            return {}
        raise StoreUnavailable(f"the store {path} is unavailable: {exc}") from None


async def _all(connection: AsyncConnection) -> dict[str, dict[str, Any]]:
    from sqlalchemy import select

    from proxy.store.schema import model_overrides

    rows = await connection.execute(select(model_overrides.c.id, model_overrides.c.json))
    return _decoded(tuple(row) for row in rows.all())


def _decoded(rows: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    return {id: msgspec.json.decode(text, type=dict[str, Any]) for id, text in rows}


async def _put(connection: AsyncConnection, id: str, text: str, entry: Mapping[str, Any]) -> None:
    from proxy.store.audit import record
    from proxy.store.schema import model_overrides
    from proxy.store.statements import insert_into

    before = await _fields(connection, id)
    values = {"json": text, "updated_at": entry["time"]}
    statement = insert_into(connection, model_overrides).values(id=id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))
    await record(connection, entry, "model", id, before or {}, msgspec.json.decode(text))


async def _delete(connection: AsyncConnection, id: str, entry: Mapping[str, Any]) -> None:
    from sqlalchemy import delete

    from proxy.store.audit import record
    from proxy.store.schema import model_overrides

    before = await _fields(connection, id)
    if before is None:
        raise Missing(f"there is no override of `{id}`")
    await connection.execute(delete(model_overrides).where(model_overrides.c.id == id))
    await record(connection, entry, "model", id, before, {})


async def _fields(connection: AsyncConnection, id: str) -> dict[str, Any] | None:
    from sqlalchemy import select

    from proxy.store.schema import model_overrides

    query = select(model_overrides.c.json).where(model_overrides.c.id == id).with_for_update()
    text = (await connection.execute(query)).scalar()
    return None if text is None else msgspec.json.decode(text, type=dict[str, Any])
