"""Stored responses: retrieval, deletion, and the items that went into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Raw, Struct
from msgspec.json import decode

from proxy.store.background import RUNNING
from proxy.store.database import LOOKUP_SECONDS, Database
from proxy.store.dialogs import HISTORY_SECONDS, contents_of, history_of, items_before
from proxy.store.errors import Missing
from proxy.store.values import check_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


class StoredResponse(NamedTuple):
    """A response: the object as JSON, and what decides who may do what with it."""

    id: str
    status: str
    background: bool
    document: bytes


class Request(Struct, omit_defaults=True):
    """What goes into a response in the background whose turn is not written yet, or never is."""

    input: list[Raw]
    previous: str | None = None
    conversation: str | None = None


class ResponseStore:
    """Every method raises `StoreUnavailable` while the database does not work, and `Missing` for unknown ids.

    A response of another tenant is unknown.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, tenant: str, id: str) -> StoredResponse:
        """Return a response."""
        check_id(id)
        return await self._database.read(lambda connection: _get(connection, tenant, id), LOOKUP_SECONDS)

    async def delete(self, tenant: str, id: str) -> None:
        """Delete a response with its items and events. Items of a conversation stay in the conversation."""
        check_id(id)
        await self._database.write(lambda connection: _delete(connection, tenant, id))

    async def input_items(self, tenant: str, id: str) -> Sequence[bytes]:
        """Return all items that went into a response: those of the turns before, and its own input.

        Raises `TooLarge`.
        """
        check_id(id)
        return await self._database.read(lambda connection: _input_items(connection, tenant, id), HISTORY_SECONDS)


async def _get(connection: AsyncConnection, tenant: str, id: str) -> StoredResponse:
    row = await _row(connection, tenant, id)
    return StoredResponse(row.id, row.status, row.background, row.document or b"{}")


async def _row(connection: AsyncConnection, tenant: str, id: str) -> Any:
    from sqlalchemy import select

    from proxy.store.schema import responses as table

    query = select(table).where(table.c.id == id, table.c.tenant == tenant)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise Missing(f"there is no response `{id}`")
    return row


async def _delete(connection: AsyncConnection, tenant: str, id: str) -> None:
    from sqlalchemy import delete

    from proxy.store.schema import items, response_events
    from proxy.store.schema import responses as table

    deleted = await connection.execute(delete(table).where(table.c.id == id, table.c.tenant == tenant))
    if not deleted.rowcount:
        raise Missing(f"there is no response `{id}`")
    await connection.execute(delete(items).where(items.c.container == id))
    await connection.execute(delete(response_events).where(response_events.c.response_id == id))


async def _input_items(connection: AsyncConnection, tenant: str, id: str) -> Sequence[bytes]:
    from sqlalchemy import select

    from proxy.store.schema import items

    row = await _row(connection, tenant, id)
    if row.request is not None:
        return await _of_request(connection, tenant, decode(row.request, type=Request), running=row.status in RUNNING)
    own = (items.c.response_id == id, items.c.output.is_(False))
    container = row.conversation_id or id
    query = select(items.c.json).where(items.c.container == container, *own).order_by(items.c.position)
    mine = list((await connection.execute(query)).scalars())
    if row.previous_id is not None:
        return [*(await history_of(connection, tenant, row.previous_id)).items, *mine]
    if row.conversation_id is not None:
        return [*await items_before(connection, row.conversation_id, id), *mine]
    return mine


async def _of_request(connection: AsyncConnection, tenant: str, request: Request, *, running: bool) -> Sequence[bytes]:
    """Return what goes into a response; what its conversation had before is known only while it is locked."""
    before: Sequence[bytes] = ()
    if request.previous is not None:
        before = (await history_of(connection, tenant, request.previous)).items
    elif request.conversation is not None and running:
        before = (await contents_of(connection, tenant, request.conversation)).items
    return [*before, *map(bytes, request.input)]
