"""Verifies virtual keys: a cached key at once, others by a look-up in the store."""

from __future__ import annotations

import asyncio
import hmac

from proxy.admission.accounts import AccountCache, Entry
from proxy.admission.guesses import Guesses
from proxy.admission.keys import LENGTH, PREFIX, Peppers, is_well_formed
from proxy.admission.principals import UNLIMITED, principal_of, refusal
from proxy.core.clock import Clock
from proxy.core.errors import NotAllowed, NotAuthenticated, RateLimited
from proxy.core.model import LimitValues
from proxy.core.principal import Identified

LOOK_UPS_AT_ONCE = 4  # of keys that are not cached
MAX_WAITING = 1000  # callers that wait for such a look-up


class KeyVerifier:
    """Verifies keys; one instance serves all requests."""

    def __init__(
        self,
        accounts: AccountCache,
        peppers: Peppers,
        guesses: Guesses,
        clock: Clock,
        key_limits: LimitValues = UNLIMITED,
    ) -> None:
        self._accounts = accounts
        self._peppers = peppers
        self._guesses = guesses
        self._clock = clock
        self._key_limits = key_limits
        self._look_ups = asyncio.Semaphore(LOOK_UPS_AT_ONCE)
        self._waiting = 0

    def at_once(self, key: str) -> Identified | None:
        """Return the caller of a cached key. Raises `NotAuthenticated` or `NotAllowed`."""
        if len(key) != LENGTH:
            raise _unknown()
        entry = self._accounts.get(self._peppers.digest(key))
        return None if entry is None else self._admit(entry)

    async def look_up(self, key: str, address: str | None) -> Identified:
        """Return the caller of a key. Raises `NotAuthenticated`, `NotAllowed`, `RateLimited` or `Unavailable`."""
        if not is_well_formed(key):
            raise _unknown()
        digests = self._peppers.digests(key)
        digest = digests[0]
        if self._guesses.is_unknown(digest):
            raise _unknown()
        if self._accounts.knows(digest):
            entry = await self._accounts.look_up(digest, digests)
        else:
            entry = await self._look_up_unknown(digests, address)
        if entry is None or not isinstance(entry.source, bytes) or entry.account.key is None:
            self._guesses.failed(digest, address, len(digests))
            raise _unknown()
        if not hmac.compare_digest(entry.account.key.digest, entry.source):
            raise _unknown()
        return self._admit(entry)

    async def _look_up_unknown(self, digests: list[bytes], address: str | None) -> Entry | None:
        """Look up a key that may be a guess. Raises `RateLimited` if there are too many of them."""
        if self._waiting >= MAX_WAITING:
            raise RateLimited("Too many keys are being looked up; retry later.", retry_after=1.0)
        self._waiting += 1
        try:
            await self._check(digests, address)
            async with self._look_ups:
                await self._check(digests, address)  # meanwhile others may have failed
                return await self._accounts.look_up(digests[0], digests)
        finally:
            self._waiting -= 1

    async def _check(self, digests: list[bytes], address: str | None) -> None:
        """Raise `RateLimited` if no further guess may be looked up now, unless the store has this key."""
        try:
            self._guesses.check(address)
        except RateLimited:
            if not await self._accounts.exists(digests):
                raise

    def _admit(self, entry: Entry) -> Identified:
        """Return the caller. Raises `NotAuthenticated` for an expired key, `NotAllowed` for a disabled one."""
        key = entry.account.key
        assert key is not None
        if key.expires_at is not None and self._clock.time() >= key.expires_at:
            raise NotAuthenticated("This key has expired; use another one.")
        if entry.principal is None:
            if why := refusal(entry.account):
                raise NotAllowed(why, code="key_disabled")
            entry.principal = principal_of(entry.account, name=key.id, key_limits=self._key_limits)
        return entry.principal


def _unknown() -> NotAuthenticated:
    return NotAuthenticated(f"The key is not valid. Keys of this server begin with `{PREFIX}`.")
