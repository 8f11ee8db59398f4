"""Virtual keys, users and teams, in each database."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from proxy.core.accounts import Account, Budget, Team, User, VirtualKey
from proxy.core.model import LimitValues
from proxy.store.accounts import Accounts
from proxy.store.database import Database
from proxy.store.errors import Exists, InUse, InvalidValue, Missing
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

TEAM = Team(id="red", models=("openai/*",), limits=LimitValues(rpm=60), budget=Budget(5_000_000_000), created_at=1.5)
USER = User(id="ann", role="auditor", team="red", budget=Budget(1, "day", False, "Asia/Kathmandu"), created_at=2.25)
KEY = VirtualKey(
    id="key_1",
    name="laptop",
    digest=b"\x00\xff" * 16,
    pepper_id="p1",
    prefix="sb-abcde",
    last4="wxyz",
    user="ann",
    models=("tier/low", "mock/*"),
    limits=LimitValues(tpm=1000, concurrency=2),
    expires_at=1_900_000_000.125,
    metadata={"purpose": "tests", "deep": [1, {"ü": None}]},
    created_at=1_800_000_000.654321,
    created_by="admin",
)
PAYLOADS = ["' OR 1=1 --", "'; DROP TABLE keys; --", "%", "_", '"', "\\", "${jndi}", "a' UNION SELECT digest FROM keys"]


@pytest.fixture
def accounts(database: Database) -> Accounts:
    return Accounts(database, FakeClock())


async def audit(database: Database) -> list[tuple[Any, ...]]:
    from sqlalchemy import select

    from proxy.store.schema import audit

    rows = await database.read(lambda connection: connection.execute(select(audit).order_by(audit.c.number)))
    return [tuple(row) for row in rows.all()]


@pytest.mark.parametrize("row", [TEAM, USER, KEY], ids=["team", "user", "key"])
async def test_a_row_is_read_as_it_was_created(accounts: Accounts, row: Any) -> None:
    await accounts.create(row, "admin")

    assert await accounts.get(type(row), row.id) == row


async def test_a_key_is_found_with_its_user_and_their_team(accounts: Accounts) -> None:
    for row in (TEAM, USER, KEY):
        await accounts.create(row, "admin")

    assert await accounts.find_key(KEY.digest) == Account(KEY, USER, TEAM)
    assert await accounts.find_key(bytes(32)) is None


async def test_a_key_moves_to_another_pepper(accounts: Accounts) -> None:
    for row in (TEAM, USER, KEY):
        await accounts.create(row, "admin")
    moved = msgspec.structs.replace(KEY, digest=b"n" * 32, pepper_id="p2")

    await accounts.move_key(KEY.digest, moved.digest, "p2")
    await accounts.move_key(KEY.digest, b"x" * 32, "p3")  # it has moved already

    assert await accounts.get(VirtualKey, KEY.id) == moved
    assert await accounts.find_key(KEY.digest) is None


async def test_a_key_s_own_team_comes_before_its_user_s(accounts: Accounts) -> None:
    blue = Team(id="blue")
    key = msgspec.structs.replace(KEY, team="blue")
    for row in (TEAM, blue, USER, key):
        await accounts.create(row, "admin")

    account = await accounts.find_key(KEY.digest)

    assert account is not None
    assert account.team == blue


async def test_a_key_whose_user_has_no_row_is_found(accounts: Accounts) -> None:
    await accounts.create(KEY, "admin")

    assert await accounts.find_key(KEY.digest) == Account(KEY, None, None)


async def test_a_user_is_found_with_the_team(accounts: Accounts) -> None:
    await accounts.create(TEAM, "admin")
    await accounts.create(USER, "admin")

    assert await accounts.find_user("ann") == Account(None, USER, TEAM)
    assert await accounts.find_user("bob") is None


async def test_digests_of_all_keys_are_read_unless_there_are_too_many(accounts: Accounts) -> None:
    await accounts.create(USER, "test")
    await accounts.create(KEY, "test")
    await accounts.create(msgspec.structs.replace(KEY, id="key_other", digest=b"o" * 32), "test")

    assert sorted(await accounts.key_digests(2)) == sorted([KEY.digest, b"o" * 32])
    assert list(await accounts.key_digests(1)) == []


async def test_ids_and_digests_are_unique(accounts: Accounts) -> None:
    await accounts.create(KEY, "admin")

    with pytest.raises(Exists, match="key `key_1` exists already"):
        await accounts.create(KEY, "admin")
    with pytest.raises(Exists):
        await accounts.create(msgspec.structs.replace(KEY, id="key_2"), "admin")


async def test_a_row_is_replaced(accounts: Accounts) -> None:
    await accounts.create(KEY, "admin")
    changed = msgspec.structs.replace(KEY, disabled=True, limits=LimitValues(), expires_at=None, models=None)

    await accounts.replace(changed, "admin")

    assert await accounts.get(VirtualKey, "key_1") == changed


async def test_a_row_that_is_missing_cannot_be_changed(accounts: Accounts) -> None:
    with pytest.raises(Missing, match="there is no user `ann`"):
        await accounts.replace(USER, "admin")
    with pytest.raises(Missing, match="there is no team `red`"):
        await accounts.delete(Team, "red", "admin")


async def test_rows_are_listed_by_id_in_pages(accounts: Accounts) -> None:
    ids = ["B", "a", "b", "ß", "z1", "z10", "z2"]
    for id in reversed(ids):
        await accounts.create(User(id=id), "admin")

    first = await accounts.list(User, limit=4)
    second = await accounts.list(User, first[-1].id, 4)

    assert [user.id for user in (*first, *second)] == sorted(ids)


async def test_the_keys_of_a_deleted_user_are_deleted(accounts: Accounts, database: Database) -> None:
    for row in (TEAM, USER, KEY):
        await accounts.create(row, "admin")

    await accounts.delete(User, "ann", "root")

    assert await accounts.find_key(KEY.digest) is None
    assert [row[2:6] for row in await audit(database)][3:] == [
        ("root", "delete", "user", "ann"),
        ("root", "delete", "key", "key_1"),
    ]


@pytest.mark.parametrize("member", [USER, msgspec.structs.replace(KEY, team="red")], ids=["user", "key"])
async def test_a_team_in_use_cannot_be_deleted(accounts: Accounts, member: Any) -> None:
    await accounts.create(TEAM, "admin")
    await accounts.create(member, "admin")

    with pytest.raises(InUse, match="it has (users|keys)"):
        await accounts.delete(Team, "red", "admin")

    await accounts.delete(type(member), member.id, "admin")
    await accounts.delete(Team, "red", "admin")
    assert await accounts.get(Team, "red") is None


async def test_changes_are_audited_without_secrets(accounts: Accounts, database: Database) -> None:
    await accounts.create(KEY, "ann")
    await accounts.replace(msgspec.structs.replace(KEY, digest=bytes(32), disabled=True), "root")
    with pytest.raises(Exists):
        await accounts.create(KEY, "ann")

    created, replaced = await audit(database)

    assert created[2:6] == ("ann", "create", "key", "key_1")
    assert replaced[2:7] == ("root", "replace", "key", "key_1", '{"disabled":[false,true]}')
    assert "digest" not in created[6]
    assert "pepper" not in created[6]


@pytest.mark.parametrize("id", PAYLOADS)
async def test_an_injection_is_an_id_like_any_other(accounts: Accounts, id: str) -> None:
    await accounts.create(KEY, id)
    await accounts.create(User(id=id, team=id), id)

    assert [user.id for user in await accounts.list(User)] == [id]
    assert await accounts.get(VirtualKey, id) is None
    assert await accounts.find_user(id) == Account(None, User(id=id, team=id), None)
    assert await accounts.list(VirtualKey, id) == [KEY] * (id < KEY.id)
    await accounts.delete(User, id, id)
    assert await accounts.list(User) == []
    assert await accounts.list(VirtualKey) == [KEY]


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("", "`id` must not be empty"),
        ("a\0b", "`id` must not contain NUL characters"),
        ("x" * 257, "`id` must have at most 256 characters"),
        ("\ud800", "`id` is not valid Unicode"),
    ],
)
async def test_an_id_that_cannot_be_stored_is_rejected(accounts: Accounts, id: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        await accounts.create(User(id=id), "admin")
    with pytest.raises(InvalidValue, match=message):
        await accounts.get(User, id)
    with pytest.raises(InvalidValue, match=message):
        await accounts.find_user(id)
    with pytest.raises(InvalidValue, match=message):
        await accounts.delete(User, id, "admin")


async def test_metadata_that_cannot_be_stored_is_rejected(accounts: Accounts) -> None:
    with pytest.raises(InvalidValue, match="cannot be stored as JSON"):
        await accounts.create(msgspec.structs.replace(KEY, metadata={"x": object()}), "admin")


async def test_values_are_not_logged_at_any_level(accounts: Accounts, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    await accounts.create(msgspec.structs.replace(KEY, metadata={"x": "canary-value"}), "admin")
    await accounts.find_key(KEY.digest)

    assert "canary-value" not in caplog.text
    assert repr(KEY.digest) not in caplog.text
