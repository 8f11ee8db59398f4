"""Queries of the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.store.database import Database

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

FILTERS = ("actor", "action", "kind", "id")


class AuditLog:
    """Raises `StoreUnavailable` while the database does not work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, filters: Mapping[str, list[str]], after: int | None, limit: int) -> list[dict[str, Any]]:
        """Return changes, the newest first, those before the change with the number `after`.

        A row has `number`, `time` (microseconds), `actor`, `action`, `kind`, `id` and `changes`: by field, the values
        before and after.
        """
        return await self._database.read(lambda connection: _list(connection, filters, after, limit))


async def _list(
    connection: AsyncConnection, filters: Mapping[str, list[str]], after: int | None, limit: int
) -> list[dict[str, Any]]:
    from sqlalchemy import select

    from proxy.store.schema import audit

    query = select(audit).order_by(audit.c.number.desc()).limit(limit)
    for name, values in filters.items():
        query = query.where(audit.c[name].in_(values))
    if after is not None:
        query = query.where(audit.c.number < after)
    rows = (await connection.execute(query)).mappings()
    return [{**row, "changes": msgspec.json.decode(row["changes"])} for row in rows]
