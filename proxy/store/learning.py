"""Labels, versions of what was learned, and the state of learning, in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.store.database import LOOKUP_SECONDS, Database
from proxy.store.values import check_id, to_json

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

SEARCHED = 10  # times as many of the newest labels are searched for those of other keys
CONTROL = "learning"  # the name of a row of `meta`
COLUMNS = ("call_id", "model", "source", "time", "key_id", "score", "weight", "propensity", "features")
Values = Mapping[str, Any]


class LearningStore:
    """Every method raises `StoreUnavailable` while the database does not work. Times are microseconds since 1970."""

    shared = True

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_decisions(self, rows: Sequence[Values]) -> None:
        """Keep decisions for prompts that were routed without a call."""
        await self._database.write(lambda connection: _put(connection, "decisions", ("id",), rows))

    async def decision(self, id: str) -> Mapping[str, Any] | None:
        """Return the row of such a decision, or of a call; `None` if there is none."""
        check_id(id)
        return await self._database.read(lambda connection: _decision(connection, id), LOOKUP_SECONDS)

    async def add_labels(self, labels: Sequence[Values]) -> None:
        """Keep labels in place of earlier ones of the same source."""
        key = ("call_id", "model", "source")
        await self._database.write(lambda connection: _put(connection, "labels", key, labels))

    async def labels(self, since: int, most: int, of_key: int | None = None) -> Sequence[Values]:
        """Return the newest `most` labels from a time on, the oldest first; of each key at most `of_key`."""
        return await self._database.read(lambda connection: _labels(connection, since, most, of_key))

    async def counts(self, since: int, most: int) -> Mapping[str, int]:
        """Return how many answers of each model the newest `most` labels from a time on judge."""
        return await self._database.read(lambda connection: _counts(connection, since, most))

    async def judgements(self, call_id: str) -> Sequence[Values]:
        """Return the labels of a call with their comments, by model and source."""
        return await self._database.read(lambda connection: _judgements(connection, call_id), LOOKUP_SECONDS)

    async def newest(self) -> tuple[int, Mapping[str, Any]]:
        """Return the number of the newest version, 0 without one, and the state of learning."""
        return await self._database.read(_newest, LOOKUP_SECONDS)

    async def load(self, version: int) -> bytes | None:
        """Return a version; `None` if it is not kept."""
        return await self._database.read(lambda connection: _load(connection, version), LOOKUP_SECONDS)

    async def versions(self) -> Sequence[tuple[int, int]]:
        """Return the number and the time of each version that is kept, the newest first."""
        return await self._database.read(_versions, LOOKUP_SECONDS)

    async def publish(self, version: int, time: int, state: bytes, keep: int) -> bool:
        """Keep a version and the `keep` before it; return whether no other process has published that number."""
        return await self._database.write(lambda connection: _publish(connection, version, time, state, keep))

    async def control(self, values: Values) -> None:
        """Replace the state of learning."""
        row = {"name": CONTROL, "value": to_json(values)}
        await self._database.write(lambda connection: _put(connection, "meta", ("name",), [row]))


async def _put(connection: AsyncConnection, table: str, key: Sequence[str], rows: Sequence[Values]) -> None:
    from proxy.store.schema import metadata
    from proxy.store.statements import insert_into

    for values in rows:
        statement = insert_into(connection, metadata.tables[table]).values(dict(values))
        others = {name: value for name, value in values.items() if name not in key}
        await connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=others))


async def _decision(connection: AsyncConnection, id: str) -> Mapping[str, Any] | None:
    from sqlalchemy import select

    from proxy.store.schema import calls, decisions

    row = (await connection.execute(select(decisions).where(decisions.c.id == id))).mappings().one_or_none()
    if row is None:
        columns = ("id", "key_id", "user_id", "team_id", "provider", "upstream_model", "decision", "features")
        query = select(*(calls.c[name] for name in columns)).where(calls.c.id == id)
        row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else dict(row)


async def _labels(connection: AsyncConnection, since: int, most: int, of_key: int | None) -> Sequence[Values]:
    from sqlalchemy import and_, func, or_, select

    from proxy.store.schema import labels

    query = select(*(labels.c[name] for name in COLUMNS)).where(labels.c.time >= since)
    if of_key is not None:
        key = ("call_id", "model", "source")
        some = select(*(labels.c[name] for name in (*key, "key_id", "time"))).where(labels.c.time >= since)
        newest = some.order_by(labels.c.time.desc(), labels.c.call_id).limit(most * SEARCHED).subquery()
        place = func.row_number().over(partition_by=newest.c.key_id, order_by=(newest.c.time.desc(), newest.c.call_id))
        ranked = select(newest, place.label("place")).subquery()
        query = query.join(ranked, and_(*(labels.c[name] == ranked.c[name] for name in key)))
        query = query.where(or_(ranked.c.key_id.is_(None), ranked.c.place <= of_key))
    query = query.order_by(labels.c.time.desc(), labels.c.call_id).limit(most)
    return [dict(row) for row in reversed((await connection.execute(query)).mappings().all())]


async def _counts(connection: AsyncConnection, since: int, most: int) -> Mapping[str, int]:
    from sqlalchemy import func, select

    from proxy.store.schema import labels

    some = select(labels.c.model, labels.c.call_id).where(labels.c.time >= since)
    newest = some.order_by(labels.c.time.desc()).limit(most).subquery()
    query = select(newest.c.model, func.count(newest.c.call_id.distinct()).label("labels")).group_by(newest.c.model)
    return {row.model: row.labels for row in (await connection.execute(query)).all()}


async def _judgements(connection: AsyncConnection, call_id: str) -> Sequence[Values]:
    from sqlalchemy import select

    from proxy.store.schema import labels

    names = ("source", "model", "score", "time", "comment")
    query = select(*(labels.c[name] for name in names)).where(labels.c.call_id == call_id)
    found = (await connection.execute(query.order_by(labels.c.model, labels.c.source))).mappings().all()
    return [dict(row) for row in found]


async def _newest(connection: AsyncConnection) -> tuple[int, Mapping[str, Any]]:
    from sqlalchemy import func, select

    from proxy.store.schema import learned, meta

    version = (await connection.execute(select(func.max(learned.c.version)))).scalar()
    control = (await connection.execute(select(meta.c.value).where(meta.c.name == CONTROL))).scalar()
    return version or 0, {} if control is None else msgspec.json.decode(control, type=dict[str, Any])


async def _load(connection: AsyncConnection, version: int) -> bytes | None:
    from sqlalchemy import select

    from proxy.store.schema import learned

    return (await connection.execute(select(learned.c.state).where(learned.c.version == version))).scalar()


async def _versions(connection: AsyncConnection) -> Sequence[tuple[int, int]]:
    from sqlalchemy import select

    from proxy.store.schema import learned

    rows = await connection.execute(select(learned.c.version, learned.c.created_at).order_by(learned.c.version.desc()))
    return [(row.version, row.created_at) for row in rows.all()]


async def _publish(connection: AsyncConnection, version: int, time: int, state: bytes, keep: int) -> bool:
    from sqlalchemy import delete

    from proxy.store.schema import learned
    from proxy.store.statements import insert_into

    statement = insert_into(connection, learned).values(version=version, created_at=time, state=state)
    done = await connection.execute(statement.on_conflict_do_nothing(index_elements=["version"]))
    if not done.rowcount:
        return False
    await connection.execute(delete(learned).where(learned.c.version < version - keep))
    return True
