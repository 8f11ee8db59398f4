"""Transactions that delete a slice of what is older than its retention: at most about `rows`. Each returns how many."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, exists, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.store.conversations import delete_contents
from proxy.store.schema import conversations, items, labels, response_events, responses

DIALOGS = 10  # rows that count like one conversation or response, which has many items


async def delete_rows(table: Any, connection: AsyncConnection, before: int, rows: int) -> int:
    """Delete rows of a table with a time, such as `calls`. Labels of one call are deleted together."""
    id = table.c.call_id if table is labels else table.c.id
    old = select(id).where(table.c.time < before).order_by(table.c.time).limit(rows)
    return (await connection.execute(delete(table).where(id.in_(old)))).rowcount


async def delete_responses(connection: AsyncConnection, before: int, rows: int) -> int:
    """Delete responses. One that a newer response continues stays, because that one needs its items."""
    newer = responses.alias()
    continued = exists().where(newer.c.chain == responses.c.chain, newer.c.updated_at >= before)
    query = select(responses.c.id).where(responses.c.updated_at < before, ~continued)
    ids = list(
        (await connection.execute(query.order_by(responses.c.updated_at).limit(max(1, rows // DIALOGS)))).scalars()
    )
    if ids:
        await connection.execute(delete(response_events).where(response_events.c.response_id.in_(ids)))
        await connection.execute(delete(items).where(items.c.container.in_(ids)))
        await connection.execute(delete(responses).where(responses.c.id.in_(ids)))
    return len(ids)


async def delete_events(connection: AsyncConnection, before: int, rows: int) -> int:
    """Delete the events of responses that have ended before that time."""
    ended = responses.c.updated_at < before, responses.c.status.not_in(("queued", "in_progress"))
    some = select(response_events.c.response_id, response_events.c.first)
    some = some.join(responses, responses.c.id == response_events.c.response_id).where(*ended).limit(rows)
    key = tuple_(response_events.c.response_id, response_events.c.first)
    return (await connection.execute(delete(response_events).where(key.in_(some)))).rowcount


async def delete_conversations(connection: AsyncConnection, before: int, rows: int) -> int:
    """Delete conversations with their items, but for those in which a turn runs."""
    old = conversations.c.updated_at < before
    idle = or_(conversations.c.lock_owner.is_(None), conversations.c.lock_until < before)
    some = (
        select(conversations.c.id).where(old, idle).order_by(conversations.c.updated_at).limit(max(1, rows // DIALOGS))
    )
    statement = delete(conversations).where(conversations.c.id.in_(some), old, idle).returning(conversations.c.id)
    ids = list((await connection.execute(statement)).scalars())
    if ids:
        await delete_contents(connection, ids)
    return len(ids)
