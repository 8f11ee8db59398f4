"""Stored conversations: their metadata and their items, for the endpoints and for commands.

Items are added and removed only while no turn runs, so that a turn continues exactly what it has read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from proxy.core.clock import Clock
from proxy.store.database import LOOKUP_SECONDS, Database
from proxy.store.dialogs import check_size, is_free, now_us
from proxy.store.errors import Locked, Missing
from proxy.store.items import Item, Place, insert_items
from proxy.store.values import check_id, check_text, microseconds, seconds, to_json

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


class Conversation(NamedTuple):
    """A conversation without its items. Times are seconds since 1970."""

    id: str
    tenant: str
    metadata: Mapping[str, str]
    created_at: float
    updated_at: float
    items: int = 0  # how many there are; in lists only


class Page(NamedTuple):
    """Some items in the order that was asked for, and whether there are more."""

    items: Sequence[bytes]
    more: bool


class ConversationStore:
    """Every method raises `StoreUnavailable` while the database does not work, and `Missing` for unknown ids.

    A conversation of another tenant is unknown; the tenant `None` of commands is every one.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, id: str, tenant: str, metadata: Mapping[str, str], items: Sequence[Item]) -> Conversation:
        """Create a conversation with its first items."""
        now = microseconds(self._clock.time())
        size = sum(len(item.json) for item in items)
        values = {"id": id, "tenant": tenant, "metadata": to_json(metadata)}
        row = {**values, "created_at": now, "updated_at": now, "length": len(items), "size": size}
        check_size(size)

        async def work(connection: AsyncConnection) -> None:
            from sqlalchemy import insert

            from proxy.store.schema import conversations

            await connection.execute(insert(conversations), row)
            await insert_items(connection, Place(id, tenant, 0), items)

        await self._database.write(work)
        return Conversation(id, tenant, metadata, seconds(now), seconds(now))

    async def get(self, tenant: str | None, id: str) -> Conversation:
        """Return a conversation."""
        check_id(id)
        return await self._database.read(lambda connection: _get(connection, tenant, id), LOOKUP_SECONDS)

    async def set_metadata(self, tenant: str, id: str, metadata: Mapping[str, str]) -> Conversation:
        """Replace the metadata of a conversation."""
        check_id(id)
        text = to_json(metadata)

        async def work(connection: AsyncConnection) -> Conversation:
            from sqlalchemy import update

            from proxy.store.schema import conversations as table

            statement = update(table).where(table.c.id == id, table.c.tenant == tenant).values(metadata=text)
            await connection.execute(statement)
            return await _get(connection, tenant, id)

        return await self._database.write(work)

    async def delete(self, tenant: str | None, id: str, actor: str | None = None) -> None:
        """Delete a conversation with its items and the responses of its turns.

        The audit log records it for an `actor`, who is not the caller that owns it.
        """
        check_id(id)
        entry = None
        if actor is not None:
            time = microseconds(self._clock.time())
            entry = {"time": time, "actor": check_text(actor, "actor"), "action": "delete"}
        await self._database.write(lambda connection: _delete(connection, tenant, id, entry))

    async def list(self, tenant: str | None, after: str | None, limit: int) -> Sequence[Conversation]:
        """Return at most `limit` conversations in the order of their ids, beginning behind `after`."""
        return await self._database.report(lambda connection: _list(connection, tenant, after or "", limit))

    async def add(self, tenant: str, id: str, items: Sequence[Item]) -> Sequence[Item]:
        """Append items, and return them as they are stored. Raises `Locked` while a turn runs, `TooLarge`."""
        check_id(id)
        size = sum(len(item.json) for item in items)

        async def work(connection: AsyncConnection) -> Sequence[Item]:
            row = await _change(connection, tenant, id, len(items), size, self._clock.time())
            check_size(row.size)
            return await insert_items(connection, Place(id, tenant, row.length - len(items)), items)

        return await self._database.write(work)

    async def item(self, tenant: str, id: str, item: str) -> bytes:
        """Return an item."""
        check_id(id)
        check_id(item, "item_id")

        async def work(connection: AsyncConnection) -> bytes:
            from sqlalchemy import select

            from proxy.store.schema import items as table

            await _get(connection, tenant, id)
            query = select(table.c.json).where(table.c.container == id, table.c.id == item).limit(1)
            json = (await connection.execute(query)).scalar_one_or_none()
            if json is None:
                raise Missing(f"there is no item `{item}` in conversation `{id}`")
            return bytes(json)

        return await self._database.read(work, LOOKUP_SECONDS)

    async def remove(self, tenant: str, id: str, item: str) -> Conversation:
        """Delete an item. Raises `Locked` while a turn runs."""
        check_id(id)
        check_id(item, "item_id")

        async def work(connection: AsyncConnection) -> Conversation:
            from sqlalchemy import delete, func

            from proxy.store.schema import items as table

            await _change(connection, tenant, id, 0, 0, self._clock.time())
            where = (table.c.container == id, table.c.id == item)
            removed = await connection.execute(delete(table).where(*where).returning(func.length(table.c.json)))
            sizes = list(removed.scalars())
            if not sizes:
                raise Missing(f"there is no item `{item}` in conversation `{id}`")
            await _change(connection, tenant, id, 0, -sum(sizes), self._clock.time())
            return await _get(connection, tenant, id)

        return await self._database.write(work)

    async def slice(self, id: str, start: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return at most `limit` items from position `start` on, with their positions; for commands."""

        async def work(connection: AsyncConnection) -> Sequence[tuple[int, bytes]]:
            from sqlalchemy import select

            from proxy.store.schema import items as table

            query = select(table.c.position, table.c.json).where(table.c.container == id, table.c.position >= start)
            rows = await connection.execute(query.order_by(table.c.position).limit(limit))
            return [(row.position, row.json) for row in rows.all()]

        return await self._database.read(work)

    async def page(self, tenant: str | None, id: str, *, after: str | None, limit: int, ascending: bool) -> Page:
        """Return some items of a conversation, beginning behind the item `after`. Raises `Missing` for it as well."""
        check_id(id)
        if after is not None:
            check_id(after, "after")
        return await self._database.read(
            lambda connection: _page(connection, tenant, id, after, limit, ascending=ascending)
        )


async def _get(connection: AsyncConnection, tenant: str | None, id: str) -> Conversation:
    from sqlalchemy import select

    from proxy.store.schema import conversations as table

    row = (await connection.execute(select(table).where(*_owned(tenant, id)))).one_or_none()
    if row is None:
        raise _unknown(id)
    return _conversation(row)


async def _change(connection: AsyncConnection, tenant: str, id: str, count: int, size: int, now: float) -> Any:
    """Add to length and size of a conversation in which no turn runs; return both."""
    from sqlalchemy import select, update

    from proxy.store.schema import conversations as table

    statement = (
        update(table)
        .where(*_owned(tenant, id), is_free(table, now_us(connection, now)))
        .values(
            length=table.c.length + count,
            size=table.c.size + size,
            updated_at=microseconds(now),
            lock_owner=None,  # of a turn that did not renew it, and does not know of this change
            lock_until=None,
        )
        .returning(table.c.length, table.c.size)
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        if (await connection.execute(select(table.c.id).where(*_owned(tenant, id)))).one_or_none() is None:
            raise _unknown(id)
        raise Locked(f"conversation `{id}` is locked by a turn")
    return row


async def _delete(connection: AsyncConnection, tenant: str | None, id: str, entry: Mapping[str, Any] | None) -> None:
    from sqlalchemy import delete

    from proxy.store.audit import record
    from proxy.store.schema import conversations as table

    deleted = (await connection.execute(delete(table).where(*_owned(tenant, id)).returning(*table.c))).one_or_none()
    if deleted is None:
        raise _unknown(id)
    await delete_contents(connection, [id])
    if entry is not None:
        await record(connection, entry, "conversation", id, {"tenant": deleted.tenant}, {})


async def delete_contents(connection: AsyncConnection, ids: Sequence[str]) -> None:
    """Delete the items of conversations, and the responses of their turns."""
    from sqlalchemy import delete, select

    from proxy.store.schema import items, response_events, responses

    theirs = select(responses.c.id).where(responses.c.conversation_id.in_(ids))
    await connection.execute(delete(response_events).where(response_events.c.response_id.in_(theirs)))
    await connection.execute(delete(responses).where(responses.c.conversation_id.in_(ids)))
    await connection.execute(delete(items).where(items.c.container.in_(ids)))


async def _list(connection: AsyncConnection, tenant: str | None, after: str, limit: int) -> list[Conversation]:
    from sqlalchemy import func, select

    from proxy.store.schema import conversations as table
    from proxy.store.schema import items

    count = select(func.count()).where(items.c.container == table.c.id).scalar_subquery()
    query = select(table, count.label("items")).where(table.c.id > after).order_by(table.c.id).limit(limit)
    if tenant is not None:
        query = query.where(table.c.tenant == tenant)
    return [_conversation(row)._replace(items=row.items) for row in (await connection.execute(query)).all()]


async def _page(
    connection: AsyncConnection, tenant: str | None, id: str, after: str | None, limit: int, *, ascending: bool
) -> Page:
    from sqlalchemy import func, select

    from proxy.store.schema import items as table

    await _get(connection, tenant, id)
    position = table.c.position
    query = select(table.c.json).where(table.c.container == id).limit(limit + 1)
    if after is not None:
        found = select(func.min(position)).where(table.c.container == id, table.c.id == after)
        start = (await connection.execute(found)).scalar_one_or_none()
        if start is None:
            raise Missing(f"there is no item `{after}` in conversation `{id}`")
        query = query.where(position > start if ascending else position < start)
    query = query.order_by(position if ascending else position.desc())
    rows = list((await connection.execute(query)).scalars())
    return Page(rows[:limit], len(rows) > limit)


def _owned(tenant: str | None, id: str) -> list[Any]:
    from proxy.store.schema import conversations as table

    return [table.c.id == id] if tenant is None else [table.c.id == id, table.c.tenant == tenant]


def _unknown(id: str) -> Missing:
    return Missing(f"there is no conversation `{id}`")


def _conversation(row: Any) -> Conversation:
    metadata = msgspec.json.decode(row.metadata)
    return Conversation(row.id, row.tenant, metadata, seconds(row.created_at), seconds(row.updated_at))
