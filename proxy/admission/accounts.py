"""A cache of accounts: keys by digest, users and teams by id, with the staleness that `docs/keys.md` states.

An entry in use is looked up again in the background after `FRESH` seconds, so that a call rarely waits for the store.
An entry older than `TTL` is not used, except while the store is unavailable: then it serves for `stale` seconds. A
change in this process takes effect at once (`expire`), one in another process within `TTL`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Literal, Protocol
from weakref import WeakValueDictionary

from proxy.core.accounts import Account, Team
from proxy.core.clock import Clock
from proxy.core.errors import Unavailable
from proxy.core.principal import Identified

_LOG = logging.getLogger(__name__)

FRESH = 5.0  # seconds
TTL = 10.0
STALE = 600.0
NEVER = float("-inf")
RENEWALS_AT_ONCE = 4  # in the background
RETRY_SECONDS = 1.0  # between look-ups while the store is unavailable
MAX_ENTRIES = 10_000
DIGESTS_SECONDS = 5.0  # between two look-ups of the digests of all keys
MAX_DIGESTS = 50_000

Name = bytes | tuple[Literal["user", "team"], str]  # the digest of a key, or an id

NO_ACCOUNT = Account(None, None, None)  # of a user or team without a row


class Accounts(Protocol):
    """Finds accounts, within about a second; any exception means that the store is unavailable.

    `proxy/store/accounts.py` implements it.
    """

    async def find_key(self, digest: bytes) -> Account | None:
        """Return the key with that digest, its user and its team."""
        ...

    async def key_digests(self, most: int) -> Sequence[bytes]:
        """Return the digests of all keys; none if there are more than `most`."""
        ...

    async def move_key(self, before: bytes, after: bytes, pepper_id: str) -> None:
        """Store a key under another pepper: replace its digest, if it is still `before`."""
        ...

    async def find_user(self, user_id: str) -> Account | None:
        """Return the user and its team."""
        ...

    async def find_team(self, team_id: str) -> Team | None:
        """Return a team."""
        ...


class Entry:
    """A cached account."""

    __slots__ = ("account", "looked_up", "principal", "source")

    def __init__(self, account: Account, source: Name, looked_up: float) -> None:
        self.account = account
        self.source = source  # under which the store has it
        self.looked_up = looked_up  # monotonic seconds
        self.principal: Identified | None = None  # made on first use


class AccountCache:
    """Looks accounts up, one look-up of a name at a time, and keeps them."""

    def __init__(self, store: Accounts, clock: Clock, *, stale: float = STALE) -> None:
        self._store = store
        self._clock = clock
        self.stale = stale
        self.pepper_id = ""  # of the newest pepper
        self.look_ups = 0  # in the store, since the start
        self._entries: dict[Name, Entry] = {}  # the oldest look-up first
        self._locks: WeakValueDictionary[Name, asyncio.Lock] = WeakValueDictionary()
        self._due: set[Name] = set()  # entries to look up in the background
        self._queue: asyncio.Queue[Name] = asyncio.Queue()  # those of them that wait
        self._changes = 0  # a look-up during which something changed is repeated
        self._digests: frozenset[bytes] = frozenset()  # of all keys, read only while there are many guesses
        self._digests_at = NEVER
        self._digests_lock = asyncio.Lock()
        self._down = False  # the last look-up failed
        self._retry_at = 0.0

    def get(self, name: Name) -> Entry | None:
        """Return an entry that may be used now."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        age = self._clock.monotonic() - entry.looked_up
        if age >= FRESH:
            if age >= (self.stale if self._down else TTL):
                return None
            self._refresh(name)
        return entry

    def knows(self, name: Name) -> bool:
        """Return whether there is an entry, of any age."""
        return name in self._entries

    async def look_up(self, name: Name, sources: Sequence[Name]) -> Entry | None:
        """Return the entry of the first of `sources` that the store has; `None` for an unknown key.

        Raises `Unavailable` if the store does not answer and no entry may be used.
        """
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        async with lock:
            if entry := self.get(name):
                return entry
            try:
                entry = await self._find(name, sources)
                if entry is not None and entry.source != name:
                    self._refresh(name)  # it is stored under an older pepper
                return entry
            except Unavailable:
                if entry := self.get(name):  # as long as the store is unavailable
                    return entry
                raise

    async def exists(self, digests: Sequence[bytes]) -> bool:
        """Return whether the store had a key with one of these digests at the last look, which is at most seconds ago.

        That takes one look-up for all callers, so that guesses cannot keep a key that exists from being looked up.
        """
        async with self._digests_lock:  # a caller that leaves ends its look-up; the next one then begins another
            now, changes = self._clock.monotonic(), self._changes
            if now - self._digests_at >= DIGESTS_SECONDS:
                self.look_ups += 1
                try:
                    self._digests = frozenset(await self._store.key_digests(MAX_DIGESTS))
                except Exception:  # the digests that are known stay
                    _LOG.debug("the digests of keys cannot be read", exc_info=True)
                if changes == self._changes:
                    self._digests_at = now
        return not self._digests.isdisjoint(digests)

    def clear(self) -> None:
        """Drop everything, after a change of the configuration."""
        self._changes += 1
        self._entries.clear()

    def expire(self) -> None:
        """Use no entry before it is looked up again, after a change of an account; the names stay known."""
        self._changes += 1
        self._digests_at = NEVER
        for entry in self._entries.values():
            entry.looked_up = NEVER

    async def run(self) -> None:
        """Look up entries in use before they are too old, and store their keys under the newest pepper."""
        async with asyncio.TaskGroup() as group:
            for _ in range(RENEWALS_AT_ONCE):
                group.create_task(self._renew_due())

    async def _renew_due(self) -> None:
        while True:
            name = await self._queue.get()
            if entry := self._entries.get(name):
                try:
                    await self._renew(name, entry.source)
                except Unavailable:
                    await self._clock.sleep(RETRY_SECONDS)
            self._due.discard(name)

    def _refresh(self, name: Name) -> None:
        """Look up an entry in the background."""
        if name not in self._due:
            self._due.add(name)
            self._queue.put_nowait(name)

    async def _renew(self, name: Name, source: Name) -> None:
        """Look up an entry. Raises `Unavailable`."""
        if isinstance(name, bytes) and isinstance(source, bytes) and name != source:
            try:
                await self._store.move_key(source, name, self.pepper_id)
            except Exception as exc:  # the old pepper still verifies it
                _LOG.warning(
                    "a key cannot be stored under the new pepper", extra={"fields": {"error": type(exc).__name__}}
                )
            else:
                source = name
        await self._find(name, [source])

    async def _find(self, name: Name, sources: Sequence[Name]) -> Entry | None:
        """Look up `name` in the store, and replace its entry. Raises `Unavailable`."""
        while True:
            began, changes = self._clock.monotonic(), self._changes
            if self._down and began < self._retry_at:
                raise self._unavailable()
            self._retry_at = began + RETRY_SECONDS  # while this one waits, others of an unavailable store do not
            try:
                account, source = await self._first(sources)
            except Exception as exc:
                if not self._down:
                    _LOG.warning("accounts cannot be looked up", extra={"fields": {"error": type(exc).__name__}})
                self._down = True
                raise self._unavailable() from None
            self._down = False
            if changes == self._changes:
                break
        self._entries.pop(name, None)
        if account is None:
            return None
        while len(self._entries) >= MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        entry = self._entries[name] = Entry(account, source, began)
        return entry

    async def _first(self, sources: Sequence[Name]) -> tuple[Account | None, Name]:
        """Return the first account that the store has, and its source."""
        for source in sources:
            self.look_ups += 1
            if not isinstance(source, bytes):
                return await self._of(*source) or NO_ACCOUNT, source
            if account := await self._store.find_key(source):
                return account, source
        return None, sources[-1]

    async def _of(self, scope: Literal["user", "team"], id: str) -> Account | None:
        """Return the account of a user, or one with a team alone."""
        if scope == "user":
            return await self._store.find_user(id)
        team = await self._store.find_team(id)
        return None if team is None else Account(None, None, team)

    def _unavailable(self) -> Unavailable:
        return Unavailable(
            "The store of keys is unavailable, so the credential cannot be checked; retry later.",
            code="store_unavailable",
            retry_after=RETRY_SECONDS,
        )
