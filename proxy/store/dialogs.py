"""The turns of dialogs in the database: what was said before, the lock of a conversation, and what a turn adds.

A response outside of conversations has its own items, those of its input and of its answer, and names the response that
it continues. In a conversation all items belong to the conversation, and a response names its place in it. A turn is
written in one transaction, which also frees the lock.

The lock is a lease in the conversation's row: its owner renews it while the turn runs, and it expires after
`LOCK_SECONDS` if the process has died. A turn whose lock was taken by another one is not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy.core.clock import Clock
from proxy.store.database import Database
from proxy.store.errors import Locked, Missing, TooLarge
from proxy.store.items import Item, Place, insert_items
from proxy.store.values import check_id, microseconds

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

LOCK_SECONDS = 8.0
HISTORY_SECONDS = 5.0  # for reads that a call waits for
MAX_BYTES = 32 * 1024 * 1024  # of the items of a dialog
MAX_REFERENCES = 1000
ENDED = ("completed", "incomplete")  # a response with this status can be continued


class History(NamedTuple):
    """The items of a dialog up to the end of a turn."""

    items: Sequence[bytes]
    size: int  # bytes
    chain: str | None = None  # the first of the responses that continue each other


class Turn(NamedTuple):
    """What a turn adds to a dialog."""

    tenant: str
    owner: str  # of the conversation's lock
    conversation: str | None
    input: Sequence[Item]
    output: Sequence[Item]
    id: str  # of the response
    document: bytes | None  # the response object; `None`: it is not stored
    status: str = "completed"
    background: bool = False
    previous: str | None = None
    before: History = History((), 0)
    again: bool = False  # an earlier commit of the same turn may have succeeded


class DialogStore:
    """Every method raises `StoreUnavailable` while the database does not work, and `InvalidValue` for invalid ids."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def ready(self) -> None:
        """Open the database if it is not open. Raises `StoreUnavailable` if it does not work."""
        if self._database.degraded or not self._database.opened:
            await self._database.open()

    async def history(self, tenant: str, previous: str) -> History:
        """Return the items of a response and of all that it continues.

        Raises `Missing` if one of them does not exist or has not ended, `TooLarge`.
        """
        check_id(previous, "previous_response_id")
        return await self._database.read(lambda connection: history_of(connection, tenant, previous), HISTORY_SECONDS)

    async def lock(self, tenant: str, conversation: str, owner: str) -> History:
        """Lock a conversation and return its items. Raises `Missing`, `Locked` or `TooLarge`."""
        check_id(conversation, "conversation")
        return await self._database.write(
            lambda connection: _lock(connection, tenant, conversation, owner, self._clock.time()), HISTORY_SECONDS
        )

    async def contents(self, tenant: str, conversation: str) -> History:
        """Return the items of a conversation, whether a turn runs or not. Raises `Missing` or `TooLarge`."""
        check_id(conversation, "conversation")
        return await self._database.read(
            lambda connection: contents_of(connection, tenant, conversation), HISTORY_SECONDS
        )

    async def referenced(self, tenant: str, ids: Sequence[str]) -> Mapping[str, bytes]:
        """Return the items with these ids, of all dialogs of the tenant, by id. Raises `TooLarge`."""
        if len(ids) > MAX_REFERENCES:
            raise TooLarge(f"at most {MAX_REFERENCES} items can be referred to")
        for id in ids:
            check_id(id, "item_reference")
        return await self._database.read(lambda connection: _referenced(connection, tenant, ids), HISTORY_SECONDS)

    async def commit(self, turn: Turn) -> None:
        """Write a turn, and free the lock of its conversation. A response that is running is completed.

        Raises `Missing` if the conversation was deleted, `Locked` if its lock has expired and was taken.
        """
        await self._database.write(lambda connection: _commit(connection, turn, self._clock.time()))

    async def renew(self, locks: Mapping[str, str]) -> None:
        """Renew locks; `locks` are their owners by conversation."""
        await self._database.write(lambda connection: _set_locks(connection, locks, self._clock.time(), LOCK_SECONDS))

    async def release(self, locks: Mapping[str, str]) -> None:
        """Free the locks that are still held by these owners."""
        await self._database.write(lambda connection: _set_locks(connection, locks, self._clock.time(), None))


async def history_of(connection: AsyncConnection, tenant: str, previous: str) -> History:
    """Return the items of a response and of all that it continues. Raises `Missing`, `TooLarge`."""
    from sqlalchemy import select

    from proxy.store.schema import responses as table

    query = select(table.c.status, table.c.size, table.c.chain).where(table.c.id == previous, table.c.tenant == tenant)
    last = (await connection.execute(query)).one_or_none()
    if last is None:
        raise Missing(f"there is no response `{previous}`")
    if last.status not in ENDED:
        raise Missing(f"response `{previous}` cannot be continued, because its status is `{last.status}`")
    check_size(last.size)
    return History(await _chained(connection, tenant, previous), last.size, last.chain)


async def _chained(connection: AsyncConnection, tenant: str, previous: str) -> list[bytes]:
    """Return the items of a chain of responses, the oldest first."""
    from sqlalchemy import and_, literal, select

    from proxy.store.schema import items
    from proxy.store.schema import responses as table

    def columns(of: Any, depth: Any) -> list[Any]:
        return [of.c.id, of.c.previous_id, of.c.conversation_id, of.c.position, depth.label("depth")]

    newest = select(*columns(table, literal(0))).where(table.c.id == previous, table.c.tenant == tenant)
    chain: Any = newest.cte("chain", recursive=True)
    older = select(*columns(table, chain.c.depth + 1)).where(
        table.c.id == chain.c.previous_id, table.c.tenant == tenant
    )
    chain = chain.union_all(older)
    own = and_(items.c.container == chain.c.id, chain.c.conversation_id.is_(None))
    query = (
        select(chain.c.id, chain.c.previous_id, chain.c.conversation_id, chain.c.position, items.c.json)
        .select_from(chain.outerjoin(items, own))
        .order_by(chain.c.depth.desc(), items.c.position)
    )
    rows = (await connection.execute(query)).all()
    if not rows:  # it was deleted since its size was read
        raise Missing(f"there is no response `{previous}`")
    first = rows[0]
    if first.previous_id is not None:
        raise Missing(f"response `{first.previous_id}`, which `{first.id}` continues, was deleted")
    before = []
    if first.conversation_id is not None:
        before = await _items(connection, first.conversation_id, items.c.position < first.position)
    return [*before, *(row.json for row in rows if row.json is not None)]


async def _items(connection: AsyncConnection, container: str, *where: Any) -> list[bytes]:
    from sqlalchemy import select

    from proxy.store.schema import items

    query = select(items.c.json).where(items.c.container == container, *where).order_by(items.c.position)
    return list((await connection.execute(query)).scalars())


async def items_before(connection: AsyncConnection, conversation: str, response: str) -> list[bytes]:
    """Return the items that a conversation had before the turn of this response."""
    from sqlalchemy import func, select

    from proxy.store.schema import items

    first = (
        select(func.min(items.c.position))
        .where(items.c.container == conversation, items.c.response_id == response)
        .scalar_subquery()
    )
    return await _items(connection, conversation, items.c.position < first)


def check_size(size: int) -> None:
    """Raise `TooLarge` if a dialog has too many bytes."""
    if size > MAX_BYTES:
        raise TooLarge(f"the dialog has {size} bytes; at most {MAX_BYTES} are supported")


async def _lock(connection: AsyncConnection, tenant: str, conversation: str, owner: str, now: float) -> History:
    from sqlalchemy import select, update

    from proxy.store.schema import conversations as table

    time = now_us(connection, now)
    statement = (
        update(table)
        .where(table.c.id == conversation, table.c.tenant == tenant, is_free(table, time))
        .values(lock_owner=owner, lock_until=time + microseconds(LOCK_SECONDS))
        .returning(table.c.size)
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        query = select(table.c.lock_owner).where(table.c.id == conversation, table.c.tenant == tenant)
        locked = (await connection.execute(query)).one_or_none()
        if locked is None:
            raise Missing(f"there is no conversation `{conversation}`")
        raise Locked(f"conversation `{conversation}` is locked by another turn", locked.lock_owner)
    check_size(row.size)
    return History(await _items(connection, conversation), row.size)


async def contents_of(connection: AsyncConnection, tenant: str, conversation: str) -> History:
    """Return the items of a conversation. Raises `Missing` or `TooLarge`."""
    from sqlalchemy import select

    from proxy.store.schema import conversations as table

    query = select(table.c.size).where(table.c.id == conversation, table.c.tenant == tenant)
    size = (await connection.execute(query)).scalar_one_or_none()
    if size is None:
        raise Missing(f"there is no conversation `{conversation}`")
    check_size(size)
    return History(await _items(connection, conversation), size)


def is_free(table: Any, time: Any) -> Any:
    """Return the condition that no turn runs in a conversation."""
    from sqlalchemy import or_

    return or_(table.c.lock_owner.is_(None), table.c.lock_until < time)


def now_us(connection: AsyncConnection, now: float) -> Any:
    """Return the time for locks: PostgreSQL's own, because the clocks of replicas may differ; else `now`."""
    from sqlalchemy import BigInteger, cast, extract, func, literal

    if connection.dialect.name == "postgresql":
        return cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)
    return literal(microseconds(now), BigInteger)


async def _referenced(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> dict[str, bytes]:
    from sqlalchemy import func, select

    from proxy.store.schema import items

    where = (items.c.tenant == tenant, items.c.id.in_(ids))
    size = select(func.coalesce(func.sum(func.length(items.c.json)), 0)).where(*where)
    check_size(int((await connection.execute(size)).scalar_one()))
    rows = await connection.execute(select(items.c.id, items.c.json).where(*where))
    return {row.id: row.json for row in rows.all()}


async def _commit(connection: AsyncConnection, turn: Turn, now: float) -> None:
    if turn.again and await _is_written(connection, turn):
        return
    size = sum(len(item.json) for item in (*turn.input, *turn.output))
    time = microseconds(now)
    position = 0 if turn.conversation is None else await _append(connection, turn, size, time)
    stored = turn.document is not None and await _write_response(connection, turn, position, size, time)
    if not stored and turn.conversation is None:
        return
    place = Place(turn.conversation or turn.id, turn.tenant, position, turn.id)
    await insert_items(connection, place, turn.input, turn.output)


async def _is_written(connection: AsyncConnection, turn: Turn) -> bool:
    from sqlalchemy import select

    from proxy.store.schema import items, responses

    if turn.document is not None:
        query = select(responses.c.id).where(responses.c.id == turn.id, responses.c.status.in_(ENDED))
    else:
        query = select(items.c.id).where(items.c.container == turn.conversation, items.c.response_id == turn.id)
    return (await connection.execute(query.limit(1))).first() is not None


async def _append(connection: AsyncConnection, turn: Turn, size: int, time: int) -> int:
    """Make room for the items of a turn in its conversation, and free the lock; return the first position."""
    from sqlalchemy import select, update

    from proxy.store.schema import conversations as table

    count = len(turn.input) + len(turn.output)
    statement = (
        update(table)
        .where(table.c.id == turn.conversation, table.c.tenant == turn.tenant, table.c.lock_owner == turn.owner)
        .values(
            length=table.c.length + count, size=table.c.size + size, updated_at=time, lock_owner=None, lock_until=None
        )
        .returning(table.c.length)
    )
    length = (await connection.execute(statement)).scalar_one_or_none()
    if length is None:
        query = select(table.c.id).where(table.c.id == turn.conversation, table.c.tenant == turn.tenant)
        if (await connection.execute(query)).one_or_none() is None:
            raise Missing(f"conversation `{turn.conversation}` was deleted")
        raise Locked(f"the lock of conversation `{turn.conversation}` has expired")
    return int(length) - count


async def _write_response(connection: AsyncConnection, turn: Turn, position: int, size: int, time: int) -> bool:
    """Insert the response, or complete one that runs in the background; return whether that was possible.

    Raises `Missing` if one in the background does not run any more.

    The ids of native answers are the provider's. If it uses one again, the newest response replaces the earlier one,
    unless that belongs to another tenant or the new one continues another.
    """
    from sqlalchemy import delete, update

    from proxy.store.schema import items
    from proxy.store.schema import responses as table
    from proxy.store.statements import insert_new

    inside = turn.conversation is not None
    values = {
        "conversation_id": turn.conversation,
        "position": position + len(turn.input) + len(turn.output) if inside else None,
        "previous_id": turn.previous,
        "chain": turn.before.chain or turn.id,
        "size": turn.before.size + size,
        "status": turn.status,
        "document": turn.document,
        "updated_at": time,
        "request": None,
        "owner": None,
        "owned_until": None,
    }
    mine = (table.c.id == turn.id, table.c.tenant == turn.tenant)
    if turn.background:
        running = table.c.status.in_(("queued", "in_progress"))
        if not (await connection.execute(update(table).where(*mine, running).values(values))).rowcount:
            raise Missing(f"response `{turn.id}` has ended already, or was deleted")
        return True
    new = {"id": turn.id, "tenant": turn.tenant, "background": False, "cancelled": False}
    if (await connection.execute(insert_new(connection, table), {**values, **new, "created_at": time})).rowcount:
        return True
    if turn.previous is not None:  # no response may come to continue itself
        return False
    if not (await connection.execute(update(table).where(*mine).values(values))).rowcount:
        return False
    await connection.execute(delete(items).where(items.c.container == turn.id))
    return True


async def _set_locks(connection: AsyncConnection, locks: Mapping[str, str], now: float, seconds: float | None) -> None:
    """Let locks expire after `seconds`; `None`: free them."""
    from sqlalchemy import update

    from proxy.store.schema import conversations as table

    held = table.c.id.in_(list(locks)), table.c.lock_owner.in_(list(locks.values()))
    if seconds is None:
        values: dict[str, Any] = {"lock_owner": None, "lock_until": None}
    else:
        values = {"lock_until": now_us(connection, now) + microseconds(seconds)}
    await connection.execute(update(table).where(*held).values(values))
