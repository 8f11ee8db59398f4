"""Stored prompts with their profiles. A prompt of another tenant is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy.store.database import LOOKUP_SECONDS, Database
from proxy.store.errors import Missing
from proxy.store.values import check_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_COLUMNS = ("id", "tenant", "time", "json")


class PromptRow(NamedTuple):
    """A prompt and its profile as JSON; `time` is in microseconds since 1970."""

    id: str
    tenant: str
    time: int
    json: bytes


class PromptPage(NamedTuple):
    """Some prompts, and whether there are more."""

    items: Sequence[bytes]
    more: bool


class PromptStore:
    """Every method raises `StoreUnavailable` while the database does not work, and `Missing` for unknown ids."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, rows: Sequence[PromptRow]) -> None:
        """Write prompts; those that are there already stay as they are."""
        await self._database.write(lambda connection: _write(connection, rows))

    async def get(self, tenant: str, id: str) -> bytes:
        """Return one prompt."""
        check_id(id)
        return await self._database.read(lambda connection: _get(connection, tenant, id), LOOKUP_SECONDS)

    async def page(self, tenant: str, *, after: str | None, limit: int, ascending: bool) -> PromptPage:
        """Return prompts in the order of time, beginning behind the one with the id `after`."""
        if after is not None:
            check_id(after, "after")
        return await self._database.read(
            lambda connection: _page(connection, tenant, after, limit, ascending=ascending)
        )

    async def delete(self, tenant: str, id: str) -> None:
        """Delete one prompt."""
        check_id(id)
        await self._database.write(lambda connection: _delete(connection, tenant, id))


async def _write(connection: AsyncConnection, rows: Sequence[PromptRow]) -> None:
    from proxy.store.schema import prompts
    from proxy.store.statements import insert_text

    statement = f"{insert_text(connection.dialect.name, prompts, _COLUMNS)} ON CONFLICT DO NOTHING"
    await connection.exec_driver_sql(statement, [tuple(row) for row in sorted(rows)])


async def _get(connection: AsyncConnection, tenant: str, id: str) -> bytes:
    from sqlalchemy import select

    from proxy.store.schema import prompts as table

    query = select(table.c.json).where(table.c.id == id, table.c.tenant == tenant)
    found: bytes | None = (await connection.execute(query)).scalar_one_or_none()
    if found is None:
        raise _unknown(id)
    return found


async def _page(
    connection: AsyncConnection, tenant: str, after: str | None, limit: int, *, ascending: bool
) -> PromptPage:
    from sqlalchemy import select, tuple_

    from proxy.store.schema import prompts as table

    place: Any = tuple_(table.c.time, table.c.id)
    query = select(table.c.json).where(table.c.tenant == tenant).limit(limit + 1)
    if after is not None:
        found = select(table.c.time, table.c.id).where(table.c.id == after, table.c.tenant == tenant)
        start = (await connection.execute(found)).one_or_none()
        if start is None:
            raise _unknown(after)
        query = query.where(place > tuple(start) if ascending else place < tuple(start))
    columns = (table.c.time, table.c.id)
    query = query.order_by(*(columns if ascending else [column.desc() for column in columns]))
    rows = list((await connection.execute(query)).scalars())
    return PromptPage(rows[:limit], len(rows) > limit)


async def _delete(connection: AsyncConnection, tenant: str, id: str) -> None:
    from sqlalchemy import delete

    from proxy.store.schema import prompts as table

    deleted = await connection.execute(delete(table).where(table.c.id == id, table.c.tenant == tenant))
    if not deleted.rowcount:
        raise _unknown(id)


def _unknown(id: str) -> Missing:
    return Missing(f"there is no prompt `{id}`")
