"""Users' own provider keys, in each database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proxy.core.accounts import User
from proxy.store.accounts import Accounts
from proxy.store.database import Database
from proxy.store.envelope import Envelope
from proxy.store.errors import InvalidValue, Missing
from proxy.store.provider_keys import ProviderKeys, fingerprint
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

OLD, NEW = Envelope(["o" * 32]), Envelope(["n" * 32, "o" * 32])
VALUE, OTHER = "sk-value-0123456789-of-ann", "sk-other-9876543210-of-ann"


@pytest.fixture
def keys(database: Database) -> ProviderKeys:
    return with_kek(database, OLD)


def with_kek(database: Database, envelope: Envelope) -> ProviderKeys:
    return ProviderKeys(database, envelope, FakeClock())


async def opened(keys: ProviderKeys, user: str = "ann") -> dict[str, str | None]:
    return {provider: key.value if key else None for provider, key in (await keys.keys_of(user)).items()}


async def columns(database: Database, *names: str) -> list[tuple[Any, ...]]:
    from sqlalchemy import select

    from proxy.store.schema import provider_keys as table

    query = select(*(table.c[name] for name in names)).order_by(table.c.provider)
    return [tuple(row) for row in (await database.read(lambda connection: connection.execute(query))).all()]


async def change(database: Database, statement: str, **values: Any) -> None:
    from sqlalchemy import text

    await database.write(lambda connection: connection.execute(text(statement), values))


async def audit(database: Database) -> list[tuple[Any, ...]]:
    from sqlalchemy import select

    from proxy.store.schema import audit

    query = select(audit.c.actor, audit.c.action, audit.c.kind, audit.c.changes).order_by(audit.c.number)
    return [tuple(row) for row in (await database.read(lambda connection: connection.execute(query))).all()]


async def test_keys_come_back_for_their_user_only(keys: ProviderKeys) -> None:
    stored = await keys.put("ann", "openai", VALUE, "admin")
    await keys.put("bob", "openai", OTHER, "admin")

    mine = await keys.keys_of("ann")

    assert [(key.id, key.value, key.own) for key in mine.values() if key] == [(f"{stored.id}.1", VALUE, True)]
    assert await opened(keys, "bob") == {"openai": OTHER}
    assert await opened(keys, "eve") == {}


async def test_replaced_key_keeps_its_id_and_has_a_new_version(keys: ProviderKeys) -> None:
    before = await keys.put("ann", "openai", VALUE, "ann")

    after = await keys.put("ann", "openai", OTHER, "ann")

    assert (after.id, before.version, after.version) == (before.id, 1, 2)
    assert (after.fingerprint, before.fingerprint) == (fingerprint(OTHER), fingerprint(VALUE))
    assert [key.id if key else "" for key in (await keys.keys_of("ann")).values()] == [f"{before.id}.2"]
    assert await opened(keys) == {"openai": OTHER}


async def test_concurrent_keys_of_one_user_leave_one_row(keys: ProviderKeys) -> None:
    values = [f"sk-value-0123456789-{number}" for number in range(8)]

    rows = await asyncio.gather(*(keys.put("ann", "openai", value, "ann") for value in values))  # noqa: TID251, they end

    [last] = await keys.list()
    assert (last.version, {row.id for row in rows}) == (8, {last.id})
    assert fingerprint((await opened(keys))["openai"] or "") == last.fingerprint


async def test_list_is_by_user_and_in_pages(keys: ProviderKeys) -> None:
    made = [await keys.put(user, provider, VALUE, "admin") for user in ("ann", "bob") for provider in ("a", "b")]
    ids = sorted(row.id for row in made)

    first = await keys.list(limit=3)
    rest = await keys.list(after=first[-1].id)

    assert [row.id for row in (*first, *rest)] == ids
    assert {row.provider for row in await keys.list("bob")} == {"a", "b"}


async def test_delete_is_for_the_owner_or_an_administrator(keys: ProviderKeys) -> None:
    one, other = await keys.put("ann", "a", VALUE, "ann"), await keys.put("ann", "b", VALUE, "ann")

    with pytest.raises(Missing):
        await keys.delete(one.id, "bob", user="bob")
    assert (await keys.delete(one.id, "ann", user="ann")).provider == "a"
    assert (await keys.delete(other.id, "admin")).user == "ann"
    with pytest.raises(Missing):
        await keys.delete(one.id, "admin")

    assert await keys.list() == []


async def test_changes_are_audited_without_secrets(keys: ProviderKeys, database: Database) -> None:
    stored = await keys.put("ann", "openai", VALUE, "admin")
    await keys.put("ann", "openai", OTHER, "ann")
    await keys.delete(stored.id, "admin")

    rows = await audit(database)

    assert [row[:3] for row in rows] == [
        ("admin", "create", "provider_key"),
        ("ann", "replace", "provider_key"),
        ("admin", "delete", "provider_key"),
    ]
    assert fingerprint(OTHER) in rows[1][3]
    for text in (VALUE, OTHER, "wrapped", "ciphertext"):
        assert text not in str(rows)


async def test_database_contains_no_key_in_plain_text(keys: ProviderKeys, database: Database) -> None:
    await keys.put("ann", "openai", VALUE, "admin")

    [row] = await columns(database, "user_id", "fingerprint", "kek_id", "wrapped_dek", "nonce", "ciphertext")

    assert VALUE[3:] not in str(row)
    assert VALUE[3:].encode() not in b"".join(bytes(value) for value in row[3:])
    assert (row[0], row[1], len(row[4])) == ("ann", fingerprint(VALUE), 12)


async def test_no_log_contains_a_key_even_at_debug_level(
    keys: ProviderKeys, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await keys.put("ann", "openai", VALUE, "admin")
    await keys.keys_of("ann")
    await with_kek(database, NEW).rotate()
    await keys.keys_of("ann")  # the KEK is unknown now

    assert "a user's provider key cannot be decrypted" in caplog.text
    assert VALUE[3:] not in caplog.text
    for kek in ("o" * 32, "n" * 32):
        assert kek not in caplog.text


async def test_user_must_exist_where_asked(keys: ProviderKeys, database: Database) -> None:
    with pytest.raises(Missing, match="no user `ann`"):
        await keys.put("ann", "openai", VALUE, "admin", registered=True)

    await Accounts(database, FakeClock()).create(User(id="ann"), "admin")

    assert (await keys.put("ann", "openai", VALUE, "admin", registered=True)).user == "ann"


async def test_keys_of_a_deleted_user_are_deleted(keys: ProviderKeys, database: Database) -> None:
    accounts = Accounts(database, FakeClock())
    await accounts.create(User(id="ann"), "admin")
    await keys.put("ann", "openai", VALUE, "admin")

    await accounts.delete(User, "ann", "admin")

    assert await opened(keys) == {}


@pytest.mark.parametrize("user", ["", "a\0b", "x" * 300, "\ud800"], ids=["empty", "NUL", "long", "surrogate"])
async def test_invalid_user_is_rejected(keys: ProviderKeys, user: str) -> None:
    with pytest.raises(InvalidValue):
        await keys.put(user, "openai", VALUE, "admin")
    with pytest.raises(InvalidValue):
        await keys.list(user)
    with pytest.raises(InvalidValue):
        await keys.keys_of(user)


@pytest.mark.parametrize("user", ["' OR 1=1 --", "%", "'; DROP TABLE provider_keys; --"])
async def test_user_is_a_value_and_no_sql(keys: ProviderKeys, user: str) -> None:
    await keys.put("ann", "openai", VALUE, "admin")

    assert await opened(keys, user) == {}
    await keys.put(user, "openai", OTHER, "admin")

    assert await opened(keys, user) == {"openai": OTHER}
    assert await opened(keys) == {"openai": VALUE}


async def test_ciphertext_in_another_row_does_not_decrypt(keys: ProviderKeys, database: Database) -> None:
    await keys.put("ann", "a", VALUE, "admin")
    await keys.put("bob", "b", OTHER, "admin")
    moved = ", ".join(
        f"{name} = (SELECT {name} FROM provider_keys WHERE user_id = 'ann')"
        for name in ("kek_id", "wrapped_dek", "nonce", "ciphertext")
    )

    await change(database, f"UPDATE provider_keys SET {moved} WHERE user_id = 'bob'")

    assert await opened(keys, "bob") == {"b": None}
    assert await opened(keys) == {"a": VALUE}


@pytest.mark.parametrize("change_to", ["user_id = 'bob'", "provider = 'evil'"], ids=["user", "provider"])
async def test_row_of_another_owner_does_not_decrypt(keys: ProviderKeys, database: Database, change_to: str) -> None:
    await keys.put("ann", "a", VALUE, "admin")

    await change(database, f"UPDATE provider_keys SET {change_to}")

    assert {**await opened(keys), **await opened(keys, "bob")} in ({"a": None}, {"evil": None})


async def test_older_version_of_a_row_does_not_decrypt(keys: ProviderKeys, database: Database) -> None:
    await keys.put("ann", "a", VALUE, "admin")
    [before] = await columns(database, "wrapped_dek", "nonce", "ciphertext")
    await keys.put("ann", "a", OTHER, "admin")

    older = dict(zip("wnc", before, strict=True))
    await change(database, "UPDATE provider_keys SET wrapped_dek = :w, nonce = :n, ciphertext = :c", **older)

    assert await opened(keys) == {"a": None}


# --- rotation -------------------------------------------------------------------------------------------------------


async def test_rotation_changes_the_data_keys_and_not_the_ciphertexts(keys: ProviderKeys, database: Database) -> None:
    await keys.put("ann", "a", VALUE, "admin")
    await keys.put("ann", "b", OTHER, "admin")
    before = await columns(database, "nonce", "ciphertext", "version", "updated_at")

    rotation = await with_kek(database, NEW).rotate()

    assert rotation == (2, {}, [])
    assert await columns(database, "nonce", "ciphertext", "version", "updated_at") == before
    assert await columns(database, "kek_id") == [(NEW.kek_id,)] * 2
    assert await opened(with_kek(database, Envelope(["n" * 32]))) == {"a": VALUE, "b": OTHER}
    assert await opened(keys) == {"a": None, "b": None}
    assert await with_kek(database, NEW).rotate() == (0, {}, [])


async def test_rotation_has_pages(keys: ProviderKeys, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.store.provider_keys.PAGE", 2)
    for number in range(5):
        await keys.put("ann", f"p{number}", VALUE, "admin")

    assert (await with_kek(database, NEW).rotate()).rotated == 5


async def test_rows_that_cannot_be_rotated_are_reported_and_kept(keys: ProviderKeys, database: Database) -> None:
    other = Envelope(["x" * 32])
    await with_kek(database, other).put("ann", "a", VALUE, "admin")
    broken = await keys.put("ann", "b", VALUE, "admin")
    await keys.put("ann", "c", OTHER, "admin")
    await change(database, "UPDATE provider_keys SET wrapped_dek = :w WHERE provider = 'b'", w=b"\0" * 60)

    rotation = await with_kek(database, NEW).rotate()

    assert rotation == (1, {other.kek_id: 1}, [broken.id])
    assert await opened(with_kek(database, NEW)) == {"a": None, "b": None, "c": OTHER}


class Interrupted(Database):
    """A database in which `before` happens between the reads and the first write."""

    def __init__(self, inner: Database, before: Callable[[], Awaitable[object]]) -> None:
        self._inner = inner
        self._before: Callable[[], Awaitable[object]] | None = before

    async def read(self, work: Any, seconds: float = 10.0) -> Any:
        return await self._inner.read(work, seconds)

    async def write(self, work: Any, seconds: float = 10.0) -> Any:
        before, self._before = self._before, None
        if before:
            await before()
        return await self._inner.write(work, seconds)


async def test_key_that_is_replaced_during_a_rotation_stays(keys: ProviderKeys, database: Database) -> None:
    await keys.put("ann", "a", VALUE, "admin")
    slow = Interrupted(database, lambda: keys.put("ann", "a", OTHER, "admin"))

    rotation = await with_kek(slow, NEW).rotate()

    assert rotation.rotated == 0
    assert await opened(keys) == {"a": OTHER}
    assert (await with_kek(database, NEW).rotate()).rotated == 1
