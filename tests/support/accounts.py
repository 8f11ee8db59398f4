"""A store of keys and users in memory, which counts look-ups and can be made unavailable."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import structs

from proxy.admission.keys import IssuedKey, Peppers
from proxy.core.accounts import Account, Team, User, VirtualKey

PEPPER = "test-pepper-0123456789-0123456789"


class FakeAccounts:
    """What `AccountCache` needs of the store."""

    def __init__(self) -> None:
        self.keys: dict[bytes, VirtualKey] = {}
        self.users: dict[str, User] = {}
        self.teams: dict[str, Team] = {}
        self.look_ups = 0
        self.down = False
        self.read_only = False
        self.gate: asyncio.Event | None = None  # look-ups wait for it

    def add(self, id: str = "key_1", peppers: Peppers | None = None, **values: Any) -> IssuedKey:
        """Add a key."""
        issued = (peppers or Peppers([PEPPER])).issue()
        _, digest, pepper_id, prefix, last4 = issued
        self.keys[digest] = VirtualKey(
            id=id, name=id, digest=digest, pepper_id=pepper_id, prefix=prefix, last4=last4, **values
        )
        return issued

    async def find_key(self, digest: bytes) -> Account | None:
        await self._look_up()
        key = self.keys.get(digest)
        if key is None:
            return None
        user = self.users.get(key.user or "")
        return Account(key, user, self.teams.get(key.team or (user and user.team) or ""))

    async def key_digests(self, most: int) -> list[bytes]:
        await self._look_up()
        return list(self.keys) if len(self.keys) <= most else []

    async def move_key(self, before: bytes, after: bytes, pepper_id: str) -> None:
        if self.read_only:
            raise PermissionError("the store cannot be written to")
        if before in self.keys:
            self.keys[after] = structs.replace(self.keys.pop(before), digest=after, pepper_id=pepper_id)

    async def find_user(self, user_id: str) -> Account | None:
        await self._look_up()
        user = self.users.get(user_id)
        return None if user is None else Account(None, user, self.teams.get(user.team or ""))

    async def find_team(self, team_id: str) -> Team | None:
        await self._look_up()
        return self.teams.get(team_id)

    async def _look_up(self) -> None:
        self.look_ups += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise ConnectionError("the store does not answer")
