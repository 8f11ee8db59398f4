"""Identifies callers by virtual keys and tokens (`auth.mode` other than `none`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from proxy.admission.accounts import STALE, TTL, AccountCache, Accounts
from proxy.admission.credentials import MISSING, credential_of
from proxy.admission.guesses import Guesses
from proxy.admission.jwks import Fetch, KeySet
from proxy.admission.jwt import TokenVerifier
from proxy.admission.key_verifier import KeyVerifier
from proxy.admission.keys import PREFIX, Peppers
from proxy.core.auth import AuthPolicy
from proxy.core.clock import Clock
from proxy.core.errors import NotAuthenticated
from proxy.core.principal import Principal
from proxy.core.snapshot import Live

RENEWALS_AT_ONCE = 4  # of key sets, so that an issuer that hangs does not delay the others


class IdentifyCallers:
    """Identifies callers as the configuration in force says. `share` is this process's part of limits for guesses."""

    def __init__(self, live: Live, store: Accounts | None, fetch: Fetch, clock: Clock, *, share: float = 1.0) -> None:
        self._live = live
        self._fetch = fetch
        self._clock = clock
        self._guesses = Guesses(clock, share)
        self.accounts = None if store is None else AccountCache(store, clock)
        self._keys: KeyVerifier | None = None
        self._tokens: TokenVerifier | None = None
        self._old: asyncio.Queue[KeySet] = asyncio.Queue()  # sets of keys to fetch again
        self._policy = AuthPolicy()
        self._adopt(live.snapshot.auth)

    def forget(self) -> None:
        """Look every key, user and team up again: one has changed."""
        if self.accounts is not None:
            self.accounts.expire()

    async def run(self) -> None:
        """Renew accounts and the keys of issuers before they are too old, until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self.accounts is not None:
                group.create_task(self.accounts.run())
            for _ in range(RENEWALS_AT_ONCE):
                group.create_task(self._renew())

    async def _renew(self) -> None:
        while True:
            await (await self._old.get()).refresh()

    def __call__(self, headers: Mapping[str, str], address: str | None) -> Principal | None:
        """Return a caller that is known already. Raises `ProxyError`."""
        credential = self._credential(headers)
        if credential.startswith(PREFIX) and self._keys is not None:
            return self._keys.at_once(credential)
        return self._token_verifier().at_once(credential)

    async def look_up(self, headers: Mapping[str, str], address: str | None) -> Principal:
        """Return the caller. Raises `ProxyError`."""
        credential = self._credential(headers)
        if credential.startswith(PREFIX) and self._keys is not None:
            return await self._keys.look_up(credential, address)
        return await self._token_verifier().look_up(credential)

    def _credential(self, headers: Mapping[str, str]) -> str:
        policy = self._live.snapshot.auth
        if policy is not self._policy:
            self._adopt(policy)
        credential = credential_of(headers)
        if credential is None:
            raise NotAuthenticated(MISSING)
        return credential

    def _token_verifier(self) -> TokenVerifier:
        if self._tokens is None:
            raise NotAuthenticated(f"The key is not valid. Keys of this server begin with `{PREFIX}`.")
        return self._tokens

    def _adopt(self, policy: AuthPolicy) -> None:
        """Take over a changed configuration; what it leaves alone stays cached."""
        before, self._policy = self._policy, policy
        if policy == before:
            return
        if self.accounts is not None:
            self.accounts.stale = STALE if policy.serve_stale else TTL
            self.accounts.clear()
            self._guesses.forget()
            self._keys = None
            if policy.keys:
                peppers = Peppers(policy.peppers)
                self.accounts.pepper_id = peppers.ids[0]
                self._keys = KeyVerifier(self.accounts, peppers, self._guesses, self._clock, policy.key_limits)
        if not policy.tokens:
            self._tokens = None
        elif self._tokens is None or policy.issuers != before.issuers:
            self._tokens = TokenVerifier(policy.issuers, self._fetch, self._clock, self.accounts, self._old.put_nowait)
