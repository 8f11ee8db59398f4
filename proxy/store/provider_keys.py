"""Users' own provider keys in the database: one for each user and provider, encrypted (`proxy/store/envelope.py`).

A key keeps its id when it is replaced, and its `version` grows. Only its fingerprint is ever shown: the first 12
hexadecimal digits of its SHA-256, which `printf %s "$KEY" | sha256sum` prints too. Provider keys are long random texts,
so that nothing follows from these digits.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy.core.clock import Clock
from proxy.core.model import ProviderKey
from proxy.store.database import LOOKUP_SECONDS, Database
from proxy.store.envelope import Envelope, EnvelopeError, Place, Sealed, UnknownKek
from proxy.store.errors import Exists, Missing
from proxy.store.values import check_id, check_text, microseconds, seconds

if TYPE_CHECKING:
    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

_LOG = logging.getLogger(__name__)

MAX_LIST = 1000
PAGE = 100  # rows of one transaction of a rotation
_CIPHER = "cryptography.hazmat.primitives.ciphers.aead"
_TABLE, _KIND = "provider_keys", "provider_key"
_AUDITED = ("user_id", "provider", "fingerprint", "version")


class StoredKey(NamedTuple):
    """What is shown of a key. Times are seconds since 1970."""

    id: str
    user: str
    provider: str
    fingerprint: str
    version: int
    created_at: float
    updated_at: float


class Rotation(NamedTuple):
    """The result of a rotation."""

    rotated: int
    unknown: Mapping[str, int]  # KEKs that are not configured, with the number of their rows
    damaged: Sequence[str]  # ids of rows that do not decrypt


def fingerprint(value: str) -> str:
    """Return what is shown of a key."""
    return hashlib.sha256(value.encode()).hexdigest()[:12]


class ProviderKeys:
    """Every method raises `StoreUnavailable` while the database does not work, and `InvalidValue` for invalid ids."""

    def __init__(self, database: Database, envelope: Envelope, clock: Clock) -> None:
        self._database = database
        self._envelope = envelope
        self._clock = clock
        self._reported: set[tuple[str, int]] = set()  # keys that do not decrypt

    async def put(self, user: str, provider: str, value: str, actor: str, *, registered: bool = False) -> StoredKey:
        """Store a key in place of the one that the user had for this provider.

        `registered`: raise `Missing` if the user has no row.
        """
        check_id(user, "user")
        check_id(provider, "provider")
        await _load()
        now = microseconds(self._clock.time())
        new = {"user_id": user, "provider": provider, "fingerprint": fingerprint(value), "updated_at": now}
        entry = {"time": now, "actor": check_text(actor, "actor")}

        async def work(connection: AsyncConnection) -> StoredKey:
            if registered:
                await _check_user(connection, user)
            before = await _find(connection, user, provider)
            if before is None:
                before = {"id": f"pk_{secrets.token_hex(8)}", "version": 0, "created_at": now}
            row = {**new, "id": before["id"], "version": before["version"] + 1, "created_at": before["created_at"]}
            sealed = self._envelope.seal(_place(row), value)
            await _write(connection, before, {**row, **_columns(sealed)}, entry)
            return _shown(row)

        try:
            return await self._database.write(work)
        except Exists:  # a concurrent request has stored a key, which this one replaces
            return await self._database.write(work)

    async def list(self, user: str | None = None, after: str | None = None, limit: int = 100) -> Sequence[StoredKey]:
        """Return at most `limit` keys, of one user or of all, in the order of their ids, beginning behind `after`."""
        for name, value in (("user", user), ("after", after)):
            if value is not None:
                check_id(value, name)

        async def work(connection: AsyncConnection) -> Sequence[StoredKey]:
            from sqlalchemy import select

            from proxy.store.schema import provider_keys as table

            query = select(table).order_by(table.c.id).limit(min(limit, MAX_LIST))
            query = query if user is None else query.where(table.c.user_id == user)
            query = query if after is None else query.where(table.c.id > after)
            return [_shown(row) for row in (await connection.execute(query)).mappings()]

        return await self._database.read(work)

    async def delete(self, id: str, actor: str, *, user: str | None = None) -> StoredKey:
        """Delete a key, of this user if one is given. Raises `Missing`."""
        check_id(id)
        entry = {"time": microseconds(self._clock.time()), "actor": check_text(actor, "actor"), "action": "delete"}

        async def work(connection: AsyncConnection) -> StoredKey:
            from sqlalchemy import delete

            from proxy.store.audit import record
            from proxy.store.schema import provider_keys as table

            statement = delete(table).where(table.c.id == id).returning(*table.c)
            statement = statement if user is None else statement.where(table.c.user_id == user)
            row = (await connection.execute(statement)).mappings().one_or_none()
            if row is None:
                raise Missing(f"there is no provider key `{id}`")
            await record(connection, entry, _KIND, id, {name: row[name] for name in _AUDITED}, {})
            return _shown(row)

        return await self._database.write(work)

    async def keys_of(self, user: str) -> Mapping[str, ProviderKey | None]:
        """Return the decrypted keys of a user by provider; `None` for one that does not decrypt."""
        check_id(user, "user")

        async def work(connection: AsyncConnection) -> Sequence[RowMapping]:
            from sqlalchemy import select

            from proxy.store.schema import provider_keys as table

            return (await connection.execute(select(table).where(table.c.user_id == user))).mappings().all()

        rows = await self._database.read(work, LOOKUP_SECONDS)
        if rows:
            await _load()
        return {row["provider"]: self._opened(row) for row in rows}

    async def rotate(self) -> Rotation:
        """Encrypt all data keys with the current KEK. No provider key is decrypted; calls are served meanwhile."""
        await _load()
        rotated, after = 0, ""
        unknown: Counter[str] = Counter()
        damaged: list[str] = []
        while rows := await self._outdated(after):
            changed: list[tuple[RowMapping, Sealed]] = []
            for row in rows:
                try:
                    changed.append((row, self._envelope.rewrap(_place(row), _sealed(row))))
                except UnknownKek as exc:
                    unknown[exc.kek_id] += 1
                except EnvelopeError:
                    damaged.append(row["id"])
            rotated += await self._rewrap(changed)
            after = rows[-1]["id"]
        return Rotation(rotated, unknown, damaged)

    def _opened(self, row: RowMapping) -> ProviderKey | None:
        place = _place(row)
        try:
            value = self._envelope.open(place, _sealed(row))
        except EnvelopeError as exc:
            if (place.id, place.version) not in self._reported:
                self._reported.add((place.id, place.version))
                fields = {"id": place.id, "user": row["user_id"], "provider": row["provider"], "reason": str(exc)}
                _LOG.error("a user's provider key cannot be decrypted", extra={"fields": fields})
            return None
        return ProviderKey(f"{place.id}.{place.version}", value, own=True)

    async def _outdated(self, after: str) -> Sequence[RowMapping]:
        """Return the next rows with another KEK."""

        async def work(connection: AsyncConnection) -> Sequence[RowMapping]:
            from sqlalchemy import select

            from proxy.store.schema import provider_keys as table

            query = select(table).where(table.c.id > after, table.c.kek_id != self._envelope.kek_id)
            return (await connection.execute(query.order_by(table.c.id).limit(PAGE))).mappings().all()

        return await self._database.read(work)

    async def _rewrap(self, changed: Sequence[tuple[RowMapping, Sealed]]) -> int:
        """Write new data keys, except to rows that have changed since they were read; return how many."""

        async def work(connection: AsyncConnection) -> int:
            from sqlalchemy import update

            from proxy.store.schema import provider_keys as table

            written = 0
            for row, sealed in changed:
                same = (table.c[name] == row[name] for name in ("id", "version", "kek_id"))
                values = {"kek_id": sealed.kek_id, "wrapped_dek": sealed.data_key}
                written += (await connection.execute(update(table).where(*same).values(values))).rowcount
            return written

        return await self._database.write(work) if changed else 0


async def _find(connection: AsyncConnection, user: str, provider: str) -> dict[str, Any] | None:
    from sqlalchemy import select

    from proxy.store.schema import provider_keys as table

    query = select(table).where(table.c.user_id == user, table.c.provider == provider).with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else dict(row)


async def _check_user(connection: AsyncConnection, user: str) -> None:
    from sqlalchemy import select

    from proxy.store.schema import users

    if (await connection.execute(select(users.c.id).where(users.c.id == user))).first() is None:
        raise Missing(f"there is no user `{user}`")


async def _write(
    connection: AsyncConnection, before: Mapping[str, Any], row: Mapping[str, Any], entry: Mapping[str, Any]
) -> None:
    """Insert or replace a row, with its entry in the audit log."""
    from sqlalchemy import update

    from proxy.store.audit import record
    from proxy.store.schema import provider_keys as table
    from proxy.store.statements import insert_new

    action = "replace" if before["version"] else "create"
    if action == "replace":
        await connection.execute(update(table).where(table.c.id == row["id"]).values(row))
    elif (await connection.execute(insert_new(connection, table), row)).rowcount != 1:
        raise Exists("another request has stored a key for this user and provider")
    old = {name: before[name] for name in _AUDITED} if action == "replace" else {}
    new = {name: row[name] for name in _AUDITED}
    await record(connection, {**entry, "action": action}, _KIND, row["id"], old, new)


async def _load() -> None:
    """Import the cipher in a thread, because that takes a while."""
    if _CIPHER not in sys.modules:
        await asyncio.to_thread(__import__, _CIPHER)


def _place(row: Mapping[str, Any] | RowMapping) -> Place:
    return Place(_TABLE, row["id"], row["version"], (row["user_id"], row["provider"]))


def _sealed(row: RowMapping) -> Sealed:
    return Sealed(row["kek_id"], bytes(row["wrapped_dek"]), bytes(row["nonce"]), bytes(row["ciphertext"]))


def _columns(sealed: Sealed) -> dict[str, Any]:
    return {
        "kek_id": sealed.kek_id,
        "wrapped_dek": sealed.data_key,
        "nonce": sealed.nonce,
        "ciphertext": sealed.ciphertext,
    }


def _shown(row: Mapping[str, Any] | RowMapping) -> StoredKey:
    created, updated = seconds(row["created_at"]), seconds(row["updated_at"])
    return StoredKey(row["id"], row["user_id"], row["provider"], row["fingerprint"], row["version"], created, updated)
