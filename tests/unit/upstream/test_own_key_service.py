"""Storing, listing and deleting users' own provider keys: what is accepted, shown and reported."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.accounts import User
from proxy.core.clock import SystemClock
from proxy.core.errors import ProxyError
from proxy.core.location import locate
from proxy.store.accounts import Accounts
from proxy.store.database import Database
from proxy.store.envelope import Envelope
from proxy.store.provider_keys import ProviderKeys, fingerprint
from proxy.upstream.own_key_service import FORGET, OwnKeyService
from tests.support.calls import deployment, live, provider
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

VALUE = "sk-value-0123456789-of-ann"
KEYED = provider("acme", user_keys="prefer")
OFF = provider("off", user_keys="off")
KEYLESS = provider("local", keyless=True)
LIVE = live(
    *(deployment("m", each) for each in (KEYED, OFF, KEYLESS)), left_out={"absent": "no key is set (ABSENT_KEY)"}
)


class Caches:
    """The caches of this worker and of the others."""

    def __init__(self) -> None:
        self.own: list[str] = []
        self.others: list[tuple[str, str]] = []

    def forget(self, user: str) -> None:
        self.own.append(user)

    async def ask(self, topic: str, body: str) -> list[str]:
        self.others.append((topic, body))
        return []


@pytest.fixture
def caches() -> Caches:
    return Caches()


@pytest.fixture
async def service(sqlite_url: str, caches: Caches) -> Any:
    location = locate(sqlite_url, "")
    assert location is not None
    database = Database(location, SystemClock())
    async with database.running():
        await Accounts(database, FakeClock()).create(User(id="ann"), "test")
        stored = ProviderKeys(database, Envelope(["k" * 32]), FakeClock())
        yield OwnKeyService(LIVE, stored, caches, caches.ask, registered=True)


async def error(work: Any) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await work
    return caught.value


async def test_stored_key_is_shown_by_its_fingerprint(service: OwnKeyService) -> None:
    row = await service.put("ann", "acme", f" {VALUE}\n", "admin")

    assert (row["user"], row["provider"], row["fingerprint"]) == ("ann", "acme", fingerprint(VALUE))
    assert (await service.page(None))["data"] == [row]
    assert VALUE not in str(row)


async def test_every_change_is_reported_to_all_caches(service: OwnKeyService, caches: Caches) -> None:
    row = await service.put("ann", "acme", VALUE, "admin")
    await service.delete(row["id"], "admin")

    assert caches.own == ["ann", "ann"]
    assert caches.others == [(FORGET, "ann")] * 2

    await service.answers[FORGET]("bob")
    assert caches.own[-1] == "bob"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("acne", "there is no provider `acne`. Did you mean `acme`?"),
        ("zzz", "there is no provider `zzz`."),
        ("\ud800", "there is no provider"),
        ("local", "is called without a key"),
        ("off", "own keys of `off` are off"),
        ("absent", "no key is set (ABSENT_KEY)"),
    ],
)
async def test_provider_that_cannot_be_used_is_rejected(service: OwnKeyService, name: str, words: str) -> None:
    found = await error(service.put("ann", name, VALUE, "admin"))

    assert (found.http_status, found.param) == (400, "provider")
    assert words in str(found)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "short",
        "x" * 8193,
        "sk-with space-0123456789",
        "sk-with\nline-0123456789",
        "sk-ümlaut-0123456789",
        f"Bearer {VALUE}",
    ],
)
async def test_invalid_value_is_rejected_without_repeating_it(service: OwnKeyService, value: str) -> None:
    found = await error(service.put("ann", "acme", value, "admin"))

    assert (found.http_status, found.param) == (400, "value")
    assert value[-10:] not in str(found) or not value
    assert (await service.page(None))["data"] == []


@pytest.mark.parametrize("user", ["eve", "", "a\0b", "x" * 1000])
async def test_unknown_user_is_rejected(service: OwnKeyService, user: str) -> None:
    found = await error(service.put(user, "acme", VALUE, "admin"))

    assert (found.http_status, found.param) == (400, "user")


async def test_user_of_a_token_needs_no_row(service: OwnKeyService) -> None:
    assert (await service.put("eve", "acme", VALUE, "eve", by_user=True))["user"] == "eve"


async def test_foreign_key_is_not_found(service: OwnKeyService) -> None:
    row = await service.put("ann", "acme", VALUE, "admin")

    found = [await error(service.delete(id, "bob", user="bob")) for id in (row["id"], "pk_none", "", "a\0b")]

    assert {(each.http_status, each.error_code) for each in found} == {(404, "not_found")}
    assert len((await service.page("ann"))["data"]) == 1


async def test_list_has_pages(sqlite_url: str, service: OwnKeyService) -> None:
    rows = [await service.put(user, "acme", VALUE, user, by_user=True) for user in "abc"]
    ids = sorted(row["id"] for row in rows)

    first = await service.page(None, limit=2)
    rest = await service.page(None, first["last_id"], 2)

    assert [row["id"] for row in first["data"]] == ids[:2]
    assert (first["has_more"], rest["has_more"], rest["last_id"]) == (True, False, ids[2])
    assert (await service.page("b"))["data"] == [rows[1]]


async def test_without_a_store_the_error_says_what_to_configure(caches: Caches) -> None:
    service = OwnKeyService(LIVE, None, None, caches.ask)

    found = [await error(work) for work in (service.put("ann", "acme", VALUE, "x"), service.delete("pk_1", "x"))]

    assert {each.error_code for each in found} == {"provider_keys_disabled"}
    assert "auth.encryption_key" in str(found[0])
    assert (await service.page(None))["data"] == []


async def test_store_that_is_down_is_a_503(service: OwnKeyService, tmp_path: Any, caches: Caches) -> None:
    location = locate(f"sqlite:///{tmp_path}", "")  # a folder
    assert location is not None
    broken = OwnKeyService(
        LIVE, ProviderKeys(Database(location, SystemClock()), Envelope(["k" * 32]), FakeClock()), caches, caches.ask
    )

    found = [
        await error(work)
        for work in (broken.put("ann", "acme", VALUE, "x"), broken.page(None), broken.delete("a", "x"))
    ]

    assert {(each.http_status, each.error_code) for each in found} == {(503, "store_unavailable")}
    assert caches.own == []
