"""Responses that run in the background: their state, the lease of the process that runs them, and their events.

The process renews its lease while a response runs. When the lease expires, the process has died, and the response has
failed. A response ends once: whatever ends it first is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy.core.clock import Clock
from proxy.store.database import LOOKUP_SECONDS, Database
from proxy.store.dialogs import HISTORY_SECONDS, now_us
from proxy.store.errors import Missing
from proxy.store.values import check_id, microseconds

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

LEASE_SECONDS = 10.0
RUNNING = ("queued", "in_progress")
MOST_ROWS = 64  # of events that one read returns


class NewResponse(NamedTuple):
    """A response that is about to run."""

    id: str
    tenant: str
    owner: str  # the process and its call
    document: bytes  # the response object as JSON
    events: Sequence[bytes]  # the first ones, from number 0; empty: the answer's events are not kept
    request: bytes | None = None  # what goes into it, as JSON: see `responses.Request`


class Batch(NamedTuple):
    """What a running response has come to since the last batch."""

    id: str
    owner: str
    first: int  # the number of the first event
    events: Sequence[bytes]
    document: bytes | None = None  # it is in progress now; `None`: that is known


class StoredEvents(NamedTuple):
    """Some events that follow each other."""

    first: int
    last: int
    data: bytes


class View(NamedTuple):
    """A response as others see it."""

    status: str
    document: bytes
    owner: str  # empty when it has ended
    expired: bool  # its lease
    streamed: bool  # its events are kept
    events: Sequence[StoredEvents]  # the next ones
    more: bool  # there are events behind these


class BackgroundStore:
    """Every method raises `StoreUnavailable` while the database does not work."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, response: NewResponse) -> None:
        """Insert a response that is queued."""
        await self._database.write(
            lambda connection: _create(connection, response, self._clock.time()), HISTORY_SECONDS
        )

    async def append(self, batches: Sequence[Batch]) -> Sequence[str]:
        """Write what has happened since; return the ids of responses that have ended or were deleted meanwhile."""
        now = self._clock.time()

        async def work(connection: AsyncConnection) -> Sequence[str]:
            return [batch.id for batch in batches if not await _append(connection, batch, now)]

        return await self._database.write(work)

    async def renew(self, owners: Sequence[str]) -> Sequence[str]:
        """Renew the leases of these owners; return the ids of their responses that still run."""
        return await self._database.write(lambda connection: _renew(connection, owners, self._clock.time()))

    async def end(self, tenant: str, id: str, status: str, document: bytes) -> bool:
        """End a response that runs; return whether it was running."""
        return await self._database.write(
            lambda connection: _end(connection, tenant, id, status, document, self._clock.time())
        )

    async def view(self, tenant: str, id: str, after: int | None) -> View:
        """Return a response with its events behind number `after`, or with none. Raises `Missing`."""
        check_id(id)
        now = self._clock.time()
        return await self._database.read(lambda connection: _view(connection, tenant, id, after, now), LOOKUP_SECONDS)


async def _create(connection: AsyncConnection, response: NewResponse, now: float) -> None:
    from sqlalchemy import insert

    from proxy.store.schema import response_events, responses

    time = microseconds(now)
    row = {
        "id": response.id,
        "tenant": response.tenant,
        "chain": response.id,
        "size": 0,
        "status": RUNNING[0],
        "document": response.document,
        "created_at": time,
        "updated_at": time,
        "background": True,
        "cancelled": False,
        "request": response.request,
        "owner": response.owner,
        "owned_until": now_us(connection, now) + microseconds(LEASE_SECONDS),
    }
    await connection.execute(insert(responses).values(row))
    if events := response.events:
        row = {"response_id": response.id, "first": 0, "last": len(events) - 1, "data": b"".join(events)}
        await connection.execute(insert(response_events), row)


async def _append(connection: AsyncConnection, batch: Batch, now: float) -> bool:
    """Write a batch; return whether its response still runs."""
    from sqlalchemy import select, update

    from proxy.store.schema import response_events, responses
    from proxy.store.statements import insert_into

    running = (responses.c.id == batch.id, responses.c.owner == batch.owner, responses.c.status.in_(RUNNING))
    query = select(responses.c.id).where(*running).with_for_update()
    if (await connection.execute(query)).one_or_none() is None:
        return False
    if batch.document is not None:
        values = {"status": RUNNING[1], "document": batch.document, "updated_at": microseconds(now)}
        await connection.execute(update(responses).where(*running).values(values))
    if batch.events:
        new = {"last": batch.first + len(batch.events) - 1, "data": b"".join(batch.events)}
        statement = insert_into(connection, response_events).values(response_id=batch.id, first=batch.first, **new)
        key = ["response_id", "first"]  # a batch is written again, with more events, if it is unknown whether it was
        await connection.execute(statement.on_conflict_do_update(index_elements=key, set_=new))
    return True


async def _renew(connection: AsyncConnection, owners: Sequence[str], now: float) -> Sequence[str]:
    from sqlalchemy import update

    from proxy.store.schema import responses as table

    until = now_us(connection, now) + microseconds(LEASE_SECONDS)
    statement = (
        update(table)
        .where(table.c.owner.in_(list(owners)), table.c.status.in_(RUNNING))
        .values(owned_until=until)
        .returning(table.c.id)
    )
    return list((await connection.execute(statement)).scalars())


async def _end(connection: AsyncConnection, tenant: str, id: str, status: str, document: bytes, now: float) -> bool:
    from sqlalchemy import update

    from proxy.store.schema import responses as table

    statement = (
        update(table)
        .where(table.c.id == id, table.c.tenant == tenant, table.c.status.in_(RUNNING))
        .values(
            status=status,
            document=document,
            cancelled=status == "cancelled",
            owner=None,
            owned_until=None,
            updated_at=microseconds(now),
        )
    )
    return bool((await connection.execute(statement)).rowcount)


async def _view(connection: AsyncConnection, tenant: str, id: str, after: int | None, now: float) -> View:
    from sqlalchemy import select

    from proxy.store.schema import response_events as events
    from proxy.store.schema import responses as table

    expired = (table.c.owned_until < now_us(connection, now)).label("expired")
    columns = (table.c.status, table.c.document, table.c.owner, expired)
    row: Any = (
        await connection.execute(select(*columns).where(table.c.id == id, table.c.tenant == tenant))
    ).one_or_none()
    if row is None:
        raise Missing(f"there is no response `{id}`")
    own = events.c.response_id == id
    rows: Sequence[Any] = ()
    if after is not None:  # all events are there if it has ended: they are written before
        query = select(events.c.first, events.c.last, events.c.data).where(own, events.c.last > after)
        rows = (await connection.execute(query.order_by(events.c.first).limit(MOST_ROWS + 1))).all()
    streamed = bool(rows) or (await connection.execute(select(events.c.first).where(own).limit(1))).first() is not None
    found = [StoredEvents(each.first, each.last, each.data) for each in rows[:MOST_ROWS]]
    return View(row.status, row.document, row.owner or "", bool(row.expired), streamed, found, len(rows) > MOST_ROWS)
