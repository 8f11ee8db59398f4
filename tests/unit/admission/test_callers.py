"""Callers are identified as the configuration in force says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.admission.callers import IdentifyCallers
from proxy.admission.jwks import RENEWED
from proxy.admission.keys import Peppers
from proxy.core.auth import AuthPolicy, Issuer
from proxy.core.errors import InvalidRequest, NotAuthenticated, ProxyError, Unavailable
from proxy.core.model import LimitValues
from proxy.core.principal import Principal
from tests.support.accounts import PEPPER, FakeAccounts
from tests.support.calls import live, snapshot
from tests.support.fakes import FakeClock, turn
from tests.support.tokens import AUDIENCE, ISSUER, TokenIssuer

pytestmark = pytest.mark.anyio

TRUSTED = Issuer(ISSUER, AUDIENCE, "https://issuer.example/keys")


class Bench:
    """A service that identifies callers, its store and an issuer."""

    def __init__(self, **policy: Any) -> None:
        self.store = FakeAccounts()
        self.issuer = TokenIssuer()
        self.clock = FakeClock()
        self.live = live(auth=AuthPolicy(**policy))
        self.identify = IdentifyCallers(self.live, self.store, self.issuer.fetch, self.clock)

    def reload(self, **policy: Any) -> None:
        """Load another configuration."""
        self.live.snapshot = snapshot(auth=AuthPolicy(**policy))

    async def of(self, credential: str) -> Principal:
        """The caller with a credential."""
        headers = {"authorization": f"Bearer {credential}"}
        return self.identify(headers, None) or await self.identify.look_up(headers, None)

    async def status(self, credential: str) -> int:
        """The status of a call."""
        try:
            await self.of(credential)
        except ProxyError as error:
            return error.http_status
        return 200


async def test_the_keys_of_issuers_in_use_are_renewed_in_the_background() -> None:
    bench = Bench(mode="jwt", issuers=(TRUSTED,))
    token = bench.issuer.token(bench.clock.time())
    await bench.of(token)

    async with asyncio.TaskGroup() as group:
        service = group.create_task(bench.identify.run())
        bench.clock.pass_(RENEWED)
        await bench.of(token)
        await turn()
        bench.clock.pass_(RENEWED - 1)
        await bench.of(token)
        service.cancel()

    assert bench.issuer.fetches == 2


async def test_each_mode_accepts_its_credentials() -> None:
    statuses = {}
    for mode in ("keys", "jwt", "keys+jwt"):
        bench = Bench(mode=mode, peppers=(PEPPER,), issuers=(TRUSTED,))
        key, token = bench.store.add().key, bench.issuer.token(bench.clock.time())
        statuses[mode] = [await bench.status(each) for each in (key, token, "sk-other")]

    assert statuses == {"keys": [200, 401, 401], "jwt": [401, 200, 401], "keys+jwt": [200, 200, 401]}


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer "}, {"api-key": "sb-x"}])
def test_a_call_without_a_credential_is_rejected(headers: dict[str, str]) -> None:
    with pytest.raises(NotAuthenticated, match="x-goog-api-key"):
        Bench(mode="keys", peppers=(PEPPER,)).identify(headers, None)


async def test_two_credentials_are_rejected() -> None:
    bench = Bench(mode="keys", peppers=(PEPPER,))
    headers = {"authorization": f"Bearer {bench.store.add().key}", "x-api-key": bench.store.add("key_2").key}

    with pytest.raises(InvalidRequest):
        bench.identify(headers, None)


async def test_a_reload_without_changes_keeps_the_caches() -> None:
    bench = Bench(mode="keys+jwt", peppers=(PEPPER,), issuers=(TRUSTED,))
    key, token = bench.store.add().key, bench.issuer.token(bench.clock.time())
    await bench.of(key)
    await bench.of(token)
    seen = bench.store.look_ups, bench.issuer.fetches

    bench.reload(mode="keys+jwt", peppers=(PEPPER,), issuers=(TRUSTED,))

    assert [await bench.status(key), await bench.status(token)] == [200, 200]
    assert (bench.store.look_ups, bench.issuer.fetches) == seen


async def test_a_reload_applies_peppers_limits_and_issuers() -> None:
    bench = Bench(mode="keys+jwt", peppers=(PEPPER,), issuers=(TRUSTED,))
    key, token = bench.store.add().key, bench.issuer.token(bench.clock.time())
    await bench.of(key)
    await bench.of(token)
    new = "new-pepper-0123456789-0123456789"

    bench.reload(mode="keys+jwt", peppers=(new, PEPPER), key_limits=LimitValues(rpm=1))
    rotated = bench.store.add("key_2", Peppers([new])).key

    assert (await bench.of(key)).limits == ((("key", "key_1"), LimitValues(rpm=1)),)
    assert [await bench.status(rotated), await bench.status(token)] == [200, 401]

    bench.reload(mode="keys+jwt", peppers=(new,))
    assert [await bench.status(rotated), await bench.status(key)] == [200, 401]


async def test_a_key_works_after_the_reload_that_adds_its_pepper() -> None:
    bench = Bench(mode="keys", peppers=("p" * 32,))
    key = bench.store.add().key
    before = await bench.status(key)

    bench.reload(mode="keys", peppers=("p" * 32, PEPPER))

    assert (before, await bench.status(key)) == (401, 200)


async def test_a_closed_policy_is_applied() -> None:
    bench = Bench(mode="keys", peppers=(PEPPER,), serve_stale=False)
    key = bench.store.add().key
    await bench.of(key)
    bench.store.down = True

    bench.clock.pass_(60)

    with pytest.raises(Unavailable):
        await bench.of(key)
