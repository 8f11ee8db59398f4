"""Virtual keys, users and teams in the database. Each change writes a row of the audit log in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from proxy.core.accounts import Account, Team, User, VirtualKey
from proxy.core.clock import Clock
from proxy.store.database import LOOKUP_SECONDS, Database
from proxy.store.errors import Exists, InUse, Missing
from proxy.store.values import check_id, check_text, microseconds

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Entity = TypeVar("Entity", VirtualKey, User, Team)

MAX_LIST = 1000


class Accounts:
    """Every method raises `StoreUnavailable` while the database does not work, and `InvalidValue` for invalid ids."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def find_key(self, digest: bytes) -> Account | None:
        """Return the key with this digest, with its user and team; the team is the key's own, else the user's."""
        return await self._database.read(lambda connection: _find_key(connection, digest), LOOKUP_SECONDS)

    async def key_digests(self, most: int) -> Sequence[bytes]:
        """Return the digests of all keys; none if there are more than `most`."""
        return await self._database.read(lambda connection: _key_digests(connection, most), LOOKUP_SECONDS)

    async def find_user(self, user_id: str) -> Account | None:
        """Return a user with the team."""
        check_id(user_id)
        return await self._database.read(lambda connection: _find_user(connection, user_id), LOOKUP_SECONDS)

    async def find_team(self, team_id: str) -> Team | None:
        """Return a team; for principals that name one without being its member."""
        return await self.get(Team, team_id)

    async def get(self, of: type[Entity], id: str) -> Entity | None:
        """Return the row with this id."""
        check_id(id)
        return await self._database.read(lambda connection: _get(connection, of, id), LOOKUP_SECONDS)

    async def list(self, of: type[Entity], after: str | None = None, limit: int = 100) -> Sequence[Entity]:
        """Return at most `limit` rows, in the order of their ids, beginning behind the id `after`."""
        if after is not None:
            check_id(after, "after")
        return await self._database.read(lambda connection: _list(connection, of, after, min(limit, MAX_LIST)))

    async def create(self, row: Entity, actor: str) -> None:
        """Insert a row. Raises `Exists`."""
        await self._database.write(lambda connection: _create(connection, row, self._entry("create", actor)))

    async def replace(self, row: Entity, actor: str) -> None:
        """Replace the row with this id. Raises `Missing`."""
        await self._database.write(lambda connection: _replace(connection, row, self._entry("replace", actor)))

    async def move_key(self, before: bytes, after: bytes, pepper_id: str) -> None:
        """Store a key under another pepper: replace its digest, if it is still `before`."""
        await self._database.write(lambda connection: _move_key(connection, before, after, pepper_id))

    async def change(self, of: type[Entity], id: str, change: Callable[[Entity], Entity], actor: str) -> Entity:
        """Replace the row with this id by what `change` returns for it, in one transaction, and return that.

        Raises `Missing`, and what `change` raises. `change` may be called again after a conflict.
        """
        check_id(id)
        entry = self._entry("replace", actor)
        return await self._database.write(lambda connection: _change(connection, of, id, change, entry))

    async def delete(self, of: type[Entity], id: str, actor: str) -> None:
        """Delete a row. A user's virtual keys and provider keys are deleted too.

        Raises `Missing`, and `InUse` for a team that has users or keys.
        """
        check_id(id)
        await self._database.write(lambda connection: _delete(connection, of, id, self._entry("delete", actor)))

    def _entry(self, action: str, actor: str) -> dict[str, Any]:
        return {"time": microseconds(self._clock.time()), "actor": check_text(actor, "actor"), "action": action}


async def _find_key(connection: AsyncConnection, digest: bytes) -> Account | None:
    from sqlalchemy import func, select

    from proxy.store.rows import MAPPERS, columns
    from proxy.store.schema import keys, teams, users

    labelled = [
        column.label(f"{prefix}{column.name}")
        for prefix, table in (("k_", keys), ("u_", users), ("t_", teams))
        for column in table.columns
    ]
    joined = keys.outerjoin(users, users.c.id == keys.c.user_id).outerjoin(
        teams, teams.c.id == func.coalesce(keys.c.team_id, users.c.team_id)
    )
    row = (
        (await connection.execute(select(*labelled).select_from(joined).where(keys.c.digest == digest)))
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    key, user, team = (columns(row, prefix) for prefix in ("k_", "u_", "t_"))
    return Account(
        MAPPERS[VirtualKey].read(key),
        MAPPERS[User].read(user) if user["id"] is not None else None,
        MAPPERS[Team].read(team) if team["id"] is not None else None,
    )


async def _key_digests(connection: AsyncConnection, most: int) -> Sequence[bytes]:
    from sqlalchemy import select

    from proxy.store.schema import keys

    digests = (await connection.execute(select(keys.c.digest).limit(most + 1))).scalars().all()
    return digests if len(digests) <= most else ()


async def _find_user(connection: AsyncConnection, user_id: str) -> Account | None:
    user = await _get(connection, User, user_id)
    if user is None:
        return None
    return Account(None, user, None if user.team is None else await _get(connection, Team, user.team))


async def _get(connection: AsyncConnection, of: type[Entity], id: str, *, lock: bool = False) -> Entity | None:
    from sqlalchemy import select

    from proxy.store.rows import MAPPERS

    mapper = MAPPERS[of]
    query = select(mapper.table).where(mapper.table.c.id == id)
    if lock:
        query = query.with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else mapper.read(dict(row))


async def _list(connection: AsyncConnection, of: type[Entity], after: str | None, limit: int) -> list[Entity]:
    from sqlalchemy import select

    from proxy.store.rows import MAPPERS

    mapper = MAPPERS[of]
    table = mapper.table
    query = select(table).order_by(table.c.id).limit(limit)
    if after is not None:
        query = query.where(table.c.id > after)
    return [mapper.read(dict(row)) for row in (await connection.execute(query)).mappings()]


async def _create(connection: AsyncConnection, row: Entity, entry: dict[str, Any]) -> None:
    from proxy.store.audit import record
    from proxy.store.rows import MAPPERS
    from proxy.store.statements import insert_new

    mapper = MAPPERS[type(row)]
    values = mapper.values(row)
    inserted = await connection.execute(insert_new(connection, mapper.table), values)
    if inserted.rowcount != 1:
        raise Exists(f"{mapper.kind} `{row.id}` exists already")
    await record(connection, entry, mapper.kind, row.id, {}, values)


async def _replace(connection: AsyncConnection, row: Entity, entry: dict[str, Any]) -> None:
    await _change(connection, type(row), row.id, lambda _: row, entry)


async def _change(
    connection: AsyncConnection, of: type[Entity], id: str, change: Callable[[Entity], Entity], entry: dict[str, Any]
) -> Entity:
    from sqlalchemy import update

    from proxy.store.audit import record
    from proxy.store.rows import MAPPERS

    mapper = MAPPERS[of]
    before = await _get(connection, of, id, lock=True)
    if before is None:
        raise Missing(f"there is no {mapper.kind} `{id}`")
    row = change(before)
    values = mapper.values(row)
    await connection.execute(update(mapper.table).where(mapper.table.c.id == id).values(values))
    await record(connection, entry, mapper.kind, id, mapper.values(before), values)
    return row


async def _move_key(connection: AsyncConnection, before: bytes, after: bytes, pepper_id: str) -> None:
    from sqlalchemy import update

    from proxy.store.schema import keys

    await connection.execute(update(keys).where(keys.c.digest == before).values(digest=after, pepper_id=pepper_id))


async def _delete(connection: AsyncConnection, of: type[Any], id: str, entry: dict[str, Any]) -> None:
    from sqlalchemy import delete, select

    from proxy.store.audit import record
    from proxy.store.rows import MAPPERS
    from proxy.store.schema import keys, provider_keys, users

    mapper = MAPPERS[of]
    if of is Team:
        for table, what in ((users, "users"), (keys, "keys")):
            if (await connection.execute(select(table.c.id).where(table.c.team_id == id).limit(1))).first():
                raise InUse(f"it has {what}; delete them or move them to another team first")
    before = await _get(connection, of, id, lock=True)
    if before is None:
        raise Missing(f"there is no {mapper.kind} `{id}`")
    await connection.execute(delete(mapper.table).where(mapper.table.c.id == id))
    await record(connection, entry, mapper.kind, id, mapper.values(before), {})
    if of is User:
        for table, kind in ((keys, "key"), (provider_keys, "provider_key")):
            theirs = await connection.execute(delete(table).where(table.c.user_id == id).returning(table.c.id))
            for (deleted,) in theirs.all():
                await record(connection, entry, kind, deleted, {"user_id": id}, {})
