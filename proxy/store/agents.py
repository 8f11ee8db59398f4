"""Agents in the database: versions that never change, and labels that point to them.

Each change writes a row of the audit log in the same transaction. A deleted agent keeps its row, so that the versions
of a later one with its id continue the numbers.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from proxy.core.agents import StoredAgent, StoredVersion
from proxy.core.clock import Clock
from proxy.store.database import LOOKUP_SECONDS, Database
from proxy.store.errors import Exists, Missing, StoreUnavailable
from proxy.store.models import PEEK_SECONDS
from proxy.store.values import check_id, check_text, microseconds, to_json

if TYPE_CHECKING:
    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from proxy.store.pool import Work

Fields = Mapping[str, Any]  # a definition: the members of `agents.*` in the file
Define = Callable[[Fields], Fields]  # returns the next version of a definition
Labels = Mapping[str, int | None]  # by label: the number of a version, `NEWEST`, or `None` to remove the label
NEWEST = 0
MAX_VERSIONS = 1001  # one more than a page, to see whether there is another one
T = TypeVar("T")


class AgentStore:
    """Every method raises `StoreUnavailable` while the database does not work."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def revisions(self) -> dict[str, int]:
        """Return the revision of each agent, which every change of the agent raises.

        A SQLite file is neither created for it, nor opened for long.
        """
        location = self._database.location
        if location.kind == "sqlite" and not self._database.opened:
            return await asyncio.to_thread(_peek, location.target)
        return await self._read(_revisions, LOOKUP_SECONDS)

    async def load(self, ids: Collection[str]) -> dict[str, StoredAgent]:
        """Return agents with the newest version and those that have a label."""
        return await self._read(lambda connection: _load(connection, sorted(ids)), LOOKUP_SECONDS)

    async def version(self, id: str, version: int) -> StoredVersion | None:
        """Return one version of an agent."""
        versions = await self._read(lambda connection: _versions(connection, id, version), LOOKUP_SECONDS)
        return versions[0] if versions else None

    async def versions(self, id: str, before: int | None, limit: int) -> list[StoredVersion]:
        """Return versions of an agent, the newest first; `before` is the last one of the previous page."""
        most = min(limit, MAX_VERSIONS)
        return await self._read(lambda connection: _versions(connection, id, before=before, limit=most))

    async def create(self, id: str, fields: Fields, labels: Labels, actor: str) -> None:
        """Create an agent with one version. Raises `Exists`, `Missing` and `InvalidValue`."""
        change = _Change(check_id(id), "create", actor, self._clock.time())
        await self._write(lambda connection: change.create(connection, fields, labels))

    async def change(self, id: str, define: Define | None, labels: Labels, actor: str) -> None:
        """Add a version, which `define` makes of the newest one, and move labels.

        Raises `Missing` if there is no such agent, version or label, and what `define` raises.
        """
        change = _Change(id, "replace", actor, self._clock.time())
        await self._write(lambda connection: change.change(connection, define, labels))

    async def delete(self, id: str, actor: str) -> None:
        """Delete an agent with all versions. Raises `Missing`."""
        change = _Change(id, "delete", actor, self._clock.time())
        await self._write(change.delete)

    async def _read(self, work: Work[T], seconds: float = 15.0) -> T:
        await self._database.open()
        return await self._database.read(work, seconds)

    async def _write(self, work: Work[T]) -> T:
        await self._database.open()
        return await self._database.write(work)


class _Change:
    """One change of one agent, in a transaction."""

    def __init__(self, id: str, action: str, actor: str, now: float) -> None:
        self._id = id
        self._time = microseconds(now)
        self._entry = {"time": self._time, "actor": check_text(actor, "actor"), "action": action}

    async def create(self, connection: AsyncConnection, fields: Fields, labels: Labels) -> None:
        await self._reserve(connection)
        row = await self._locked(connection)
        if not row["deleted"]:
            raise Exists(f"there is an agent `{self._id}`")
        latest: int = row["latest"] + 1
        await self._insert(connection, latest, fields)
        state = {"latest": latest, "labels": await self._moved(connection, {}, labels, latest)}
        await self._put(connection, state, {}, revision=row["revision"] + 1, deleted=False, created_at=self._time)

    async def change(self, connection: AsyncConnection, define: Define | None, labels: Labels) -> None:
        row = await self._existing(connection)
        before, latest = _state(row), row["latest"]
        if define is not None:
            [newest] = await _versions(connection, self._id, latest)
            latest += 1
            await self._insert(connection, latest, define(newest.fields))
        state = {"latest": latest, "labels": await self._moved(connection, before["labels"], labels, latest)}
        await self._put(connection, state, before, revision=row["revision"] + 1)

    async def _moved(
        self, connection: AsyncConnection, labels: Mapping[str, int], moves: Labels, latest: int
    ) -> dict[str, int]:
        """Return the labels after `moves`. Raises `Missing`."""
        moved = dict(labels)
        for label, version in moves.items():
            if version is None:
                if label not in moved:
                    raise Missing(f"there is no label `{label}`")
                del moved[label]
                continue
            moved[label] = version or latest
            if moved[label] != latest and not await _versions(connection, self._id, version):
                raise Missing(f"there is no version {version}")
        return moved

    async def delete(self, connection: AsyncConnection) -> None:
        from sqlalchemy import delete

        from proxy.store.schema import agent_versions

        row = await self._existing(connection)
        await connection.execute(delete(agent_versions).where(agent_versions.c.agent_id == self._id))
        state = {"latest": row["latest"], "labels": {}}
        await self._put(connection, state, _state(row), revision=row["revision"] + 1, deleted=True)

    async def _reserve(self, connection: AsyncConnection) -> None:
        """Make sure that the agent has a row, so that of several creations at the same time one succeeds."""
        from proxy.store.schema import agents
        from proxy.store.statements import insert_new

        times = {"created_at": self._time, "updated_at": self._time}
        row = {"id": self._id, "revision": 0, "latest": 0, "labels": "{}", "deleted": True, **times}
        await connection.execute(insert_new(connection, agents).values(row))

    async def _locked(self, connection: AsyncConnection) -> RowMapping:
        """Return the row of the agent, locked until the end of the transaction. Raises `Missing`."""
        from sqlalchemy import select

        from proxy.store.schema import agents

        query = select(agents).where(agents.c.id == self._id).with_for_update()
        row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise Missing(f"there is no agent `{self._id}`")
        return row

    async def _existing(self, connection: AsyncConnection) -> RowMapping:
        row = await self._locked(connection)
        if row["deleted"]:
            raise Missing(f"there is no agent `{self._id}`")
        return row

    async def _insert(self, connection: AsyncConnection, version: int, fields: Fields) -> None:
        from sqlalchemy import insert

        from proxy.store.schema import agent_versions

        values = {"created_at": self._time, "created_by": self._entry["actor"], "json": to_json(fields)}
        await connection.execute(insert(agent_versions).values(agent_id=self._id, version=version, **values))

    async def _put(
        self, connection: AsyncConnection, state: Mapping[str, Any], before: Mapping[str, Any], **columns: Any
    ) -> None:
        """Write the row of the agent, and what has changed to the audit log."""
        from sqlalchemy import update

        from proxy.store.audit import record
        from proxy.store.schema import agents

        row = {"latest": state["latest"], "labels": to_json(state["labels"]), "updated_at": self._time, **columns}
        await connection.execute(update(agents).where(agents.c.id == self._id).values(row))
        await record(connection, self._entry, "agent", self._id, before, state)


def _state(row: RowMapping) -> dict[str, Any]:
    """Return what the audit log shows of an agent."""
    return {"latest": row["latest"], "labels": msgspec.json.decode(row["labels"], type=dict[str, int])}


def _peek(path: str) -> dict[str, int]:
    """Return the revisions in a SQLite file before the database is opened; nothing if there is no file."""
    if not os.path.exists(path):
        return {}
    import sqlite3  # only here: most services have no such file

    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=PEEK_SECONDS)) as connection:
            return dict(connection.execute("SELECT id, revision FROM agents WHERE NOT deleted").fetchall())
    except sqlite3.Error as exc:
        if "no such table" in str(exc):  # the schema is migrated when the database is opened
            return {}
        raise StoreUnavailable(f"the store {path} is unavailable: {exc}") from None


async def _revisions(connection: AsyncConnection) -> dict[str, int]:
    from sqlalchemy import select

    from proxy.store.schema import agents

    rows = await connection.execute(select(agents.c.id, agents.c.revision).where(agents.c.deleted.is_(False)))
    return {row.id: row.revision for row in rows.all()}


async def _load(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, StoredAgent]:
    from sqlalchemy import select, tuple_

    from proxy.store.schema import agent_versions, agents

    query = select(agents).where(agents.c.id.in_(ids), agents.c.deleted.is_(False))
    rows = (await connection.execute(query)).mappings().all()
    labels = {row["id"]: _state(row)["labels"] for row in rows}
    wanted = {(row["id"], version) for row in rows for version in (row["latest"], *labels[row["id"]].values())}
    key = tuple_(agent_versions.c.agent_id, agent_versions.c.version)
    versions: dict[str, dict[int, StoredVersion]] = {row["id"]: {} for row in rows}
    for each in (await connection.execute(select(agent_versions).where(key.in_(sorted(wanted))))).mappings().all():
        versions[each["agent_id"]][each["version"]] = _version(each)
    return {
        row["id"]: StoredAgent(
            id=row["id"],
            revision=row["revision"],
            latest=row["latest"],
            labels=labels[row["id"]],
            versions=versions[row["id"]],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )
        for row in rows
    }


async def _versions(
    connection: AsyncConnection,
    id: str,
    number: int | None = None,
    *,
    before: int | None = None,
    limit: int = 1,
) -> list[StoredVersion]:
    """Return one version of an agent, or those before another one, the newest first."""
    from sqlalchemy import select

    from proxy.store.schema import agent_versions as table

    query = select(table).where(table.c.agent_id == id).order_by(table.c.version.desc()).limit(limit)
    if number is not None:
        query = query.where(table.c.version == number)
    if before is not None:
        query = query.where(table.c.version < before)
    return [_version(row) for row in (await connection.execute(query)).mappings().all()]


def _version(row: RowMapping) -> StoredVersion:
    return StoredVersion(
        version=row["version"],
        fields=msgspec.json.decode(row["json"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
    )
