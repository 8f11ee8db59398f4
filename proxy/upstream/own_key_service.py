"""Storing, listing and deleting users' own provider keys, for `/admin/provider-keys` and `/v1/provider-keys`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from proxy.core.errors import InvalidRequest, NotFound, Unavailable
from proxy.core.snapshot import Live
from proxy.core.timestamps import iso
from proxy.store.errors import InvalidValue, Missing, StoreUnavailable
from proxy.store.provider_keys import MAX_LIST, ProviderKeys, StoredKey

FORGET = "own_keys"  # the topic of a question to other workers
SHORTEST, LONGEST = 16, 8192  # characters of a key
_VALUE = re.compile(r"[\x21-\x7e]+", re.ASCII)
_NOT_CONFIGURED = (
    "Users' provider keys cannot be stored: configure `auth.encryption_key` (SIGNALBOX_ENCRYPTION_KEY) and a `store`."
)


class Cache(Protocol):
    """Keeps the keys of users (`proxy/upstream/own_keys.py`)."""

    def forget(self, user: str) -> None:
        """Read the user's keys again before its next call."""
        ...


class OwnKeyService:
    """Changes keys, and reports changes to the caches. Raises `ProxyError` only."""

    def __init__(
        self,
        live: Live,
        stored: ProviderKeys | None,
        cache: Cache | None,
        ask: Callable[[str, str], Awaitable[list[str]]],
        *,
        registered: bool = False,
    ) -> None:
        self._live = live
        self._stored = stored  # `None` without a store or an encryption key
        self._cache = cache
        self._ask = ask  # asks the other workers
        self._registered = registered  # every user has a row in the store
        self.answers = {FORGET: self._answer}

    async def put(self, user: str, provider: str, value: str, actor: str, *, by_user: bool = False) -> dict[str, Any]:
        """Store a key in place of the user's earlier one for this provider, and return what is shown of it."""
        stored = self._configured()
        self._check_provider(provider)
        checked = _checked(value)
        try:
            row = await stored.put(user, provider, checked, actor, registered=self._registered and not by_user)
        except Missing:
            message = f"`user`: there is no user `{user[:80]}`; create it first."
            raise InvalidRequest(message, param="user") from None
        except InvalidValue as exc:
            raise InvalidRequest(f"{exc}.", param="user") from None
        except StoreUnavailable:
            raise _unavailable() from None
        await self._changed(user)
        return _shown(row)

    async def page(self, user: str | None, after: str | None = None, limit: int = MAX_LIST) -> dict[str, Any]:
        """Return a list of the keys of one user, or of all; empty if none can be stored."""
        try:
            rows = [] if self._stored is None else list(await self._stored.list(user, after, limit + 1))
        except InvalidValue as exc:
            raise InvalidRequest(f"{exc}.") from None
        except StoreUnavailable:
            raise _unavailable() from None
        data = [_shown(row) for row in rows[:limit]]
        last = data[-1]["id"] if data else None
        return {"object": "list", "data": data, "has_more": len(rows) > limit, "last_id": last}

    async def delete(self, id: str, actor: str, *, user: str | None = None) -> dict[str, Any]:
        """Delete a key, of this user if one is given."""
        try:
            row = await self._configured().delete(id, actor, user=user)
        except (Missing, InvalidValue):
            raise NotFound(f"There is no provider key `{id[:80]}`.") from None
        except StoreUnavailable:
            raise _unavailable() from None
        await self._changed(row.user)
        return {"id": row.id, "object": "provider_key", "deleted": True}

    async def _changed(self, user: str) -> None:
        await self._answer(user)
        await self._ask(FORGET, user)

    async def _answer(self, user: str) -> str:
        """Forget the keys of a user, as another worker asks after a change."""
        if self._cache is not None:
            self._cache.forget(user)
        return ""

    def _configured(self) -> ProviderKeys:
        if self._stored is None:
            raise InvalidRequest(_NOT_CONFIGURED, code="provider_keys_disabled")
        return self._stored

    def _check_provider(self, name: str) -> None:
        """Raise `InvalidRequest` if own keys of this provider cannot be used."""
        snapshot = self._live.snapshot
        provider = snapshot.providers.get(name)
        if provider is None and name in snapshot.left_out:
            message = f"`provider`: `{name}` is not in use ({snapshot.left_out[name]}); `user_keys: only` needs no key."
            raise InvalidRequest(message, param="provider")
        if provider is None:
            near = difflib.get_close_matches(name[:100], [*snapshot.providers, *snapshot.left_out], n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(f'`{each}`' for each in near)}?" if near else ""
            raise InvalidRequest(f"`provider`: there is no provider `{name[:100]}`.{hint}", param="provider")
        if not provider.keys:
            message = f"`provider`: `{name}` is called without a key; configure `providers.{name}.keys` first."
            raise InvalidRequest(message, param="provider")
        if provider.user_keys == "off":
            message = f"`provider`: own keys of `{name}` are off (`auth.provider_keys`, `providers.{name}.user_keys`)."
            raise InvalidRequest(message, param="provider", code="provider_keys_disabled")


def _checked(value: str) -> str:
    """Return the key without white space around it. No error contains any part of it."""
    text = value.strip()
    if text.lower().startswith("bearer "):
        raise InvalidRequest("`value`: give the key alone, without `Bearer`.", param="value")
    if not SHORTEST <= len(text) <= LONGEST or not _VALUE.fullmatch(text):
        message = f"`value`: a key has {SHORTEST} to {LONGEST} visible ASCII characters without spaces."
        raise InvalidRequest(message, param="value")
    return text


def _unavailable() -> Unavailable:
    return Unavailable("The store of users' provider keys is unavailable; try again shortly.", code="store_unavailable")


def _shown(row: StoredKey) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "provider_key",
        "user": row.user,
        "provider": row.provider,
        "fingerprint": row.fingerprint,
        "version": row.version,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
    }
