"""The public keys of a token issuer, fetched from its configured URL and kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from proxy.core.clock import Clock
from proxy.core.errors import RateLimited, Unavailable

_LOG = logging.getLogger(__name__)

RENEWED = 240.0  # seconds after which a set in use is fetched again in the background
FRESH = 300.0  # seconds after which a caller waits for that
KEPT = 86_400.0  # seconds for which the last good set serves while the issuer does not answer
UNKNOWN_SECONDS = 30.0  # between fetches because of a key that is not in the set
RETRY_SECONDS = 5.0  # between fetches while there is no set
MAX_KEYS = 100
MAX_WAITING = 100  # callers that wait for a fetch
MIN_RSA_BITS = 2048

FAMILIES = {  # type of a key, and its curve, by algorithm
    **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", None),
}

Fetch = Callable[[str], Awaitable[bytes]]  # raises any exception if there is no answer
Renew = Callable[["KeySet"], None]  # lets `refresh` be called in the background


class PublicKey(NamedTuple):
    """One key of a set, which verifies signatures of one type."""

    key: Any
    type: str
    curve: str | None
    algorithm: str | None  # the only one, if the set names it

    def verifies(self, algorithm: str) -> bool:
        """Return whether it may verify a signature of `algorithm`."""
        type_, curve = FAMILIES[algorithm]
        return self.type == type_ and curve in (None, self.curve) and self.algorithm in (None, algorithm)


class KeySet:
    """The keys of one issuer, by key id. `version` changes whenever the keys do.

    While the issuer does not answer, callers whose key is known do not wait for it.
    """

    def __init__(self, url: str, fetch: Fetch, clock: Clock, renew: Renew) -> None:
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._renew = renew
        self._keys: Mapping[str | None, PublicKey] = {}
        self._raw = b""
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._fetched_at = float("-inf")  # the last set that was good
        self._tried_at = float("-inf")  # the end of the last fetch
        self._renewed_at = float("-inf")  # the last call of `renew`
        self._failing = False  # the last fetch failed
        self.version = 0

    def get(self, key_id: str | None) -> PublicKey | None:
        """Return a key that is known; without an id, the only one."""
        if not self._usable:
            return None
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)

    @property
    def _usable(self) -> bool:
        """Whether there is a set, and it may still be used."""
        return self._clock.monotonic() - self._fetched_at < KEPT

    def must_fetch(self) -> bool:
        """Return whether the next caller must fetch a set that is old; the others go on with what there is.

        A set that is soon too old is fetched in the background.
        """
        now = self._clock.monotonic()
        age = now - self._fetched_at
        if not RENEWED <= age < KEPT or now - self._tried_at < UNKNOWN_SECONDS or self._lock.locked():
            return False
        if age >= FRESH and not self._failing:
            return True
        if now - self._renewed_at >= UNKNOWN_SECONDS:
            self._renewed_at = now
            self._renew(self)
        return False

    async def find(self, key_id: str | None) -> PublicKey | None:
        """Return a key, after a fetch if it is unknown or the set is old. Raises `Unavailable` without any set."""
        key, old = self.get(key_id), self.must_fetch()
        if key is not None and not old:
            return key
        if key is None and self._waiting >= MAX_WAITING:
            raise RateLimited("Too many tokens wait for the keys of their issuer; retry later.", retry_after=1.0)
        self._waiting += 1
        try:
            async with self._lock:
                if old or (self.get(key_id) is None and self._may_fetch):
                    await self._refresh()
                key = self.get(key_id)
        finally:
            self._waiting -= 1
        if not self._usable:
            raise Unavailable(
                "The keys of the token's issuer cannot be fetched, so the token cannot be checked; retry later.",
                code="issuer_unavailable",
                retry_after=RETRY_SECONDS,
            )
        return key

    @property
    def _may_fetch(self) -> bool:
        """Whether an unknown key may cause a fetch now."""
        return self._clock.monotonic() - self._tried_at >= (UNKNOWN_SECONDS if self._usable else RETRY_SECONDS)

    async def refresh(self) -> None:
        """Fetch the set, unless that is under way."""
        if not self._lock.locked():
            async with self._lock:
                await self._refresh()

    async def _refresh(self) -> None:
        """Fetch the set; keep the last one if that fails."""
        began = self._clock.monotonic()
        self._failing = True
        try:
            raw = await self._fetch(self._url)
            keys = read_keys(raw) if raw != self._raw else self._keys
        except asyncio.CancelledError:  # its caller has left; clients that do so must not keep the set from others
            self._renew(self)
            raise
        except Exception as exc:
            fields = {"url": self._url, "error": f"{type(exc).__name__}: {exc}"[:200]}
            _LOG.warning("keys of a token issuer cannot be fetched", extra={"fields": fields})
            return
        finally:
            self._tried_at = self._clock.monotonic()  # those that have waited meanwhile do not fetch it again
        self._fetched_at, self._failing = began, False
        if raw != self._raw:
            self._raw, self._keys = raw, keys
            self.version += 1


def read_keys(raw: bytes) -> dict[str | None, PublicKey]:
    """Return the keys for signatures in a JWK set (RFC 7517); others are skipped. Raises `ValueError` without any."""
    import jwt

    document = msgspec.json.decode(raw)
    entries = document.get("keys") if isinstance(document, dict) else None
    keys: dict[str | None, PublicKey] = {}
    for entry in entries[:MAX_KEYS] if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        if entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid"), str | None):
            continue
        try:
            key: Any = jwt.PyJWK.from_dict(entry).key
        except Exception:  # a key of an unknown kind does not spoil the others
            continue
        if entry["kty"] == "RSA" and key.key_size < MIN_RSA_BITS:
            continue
        keys[entry.get("kid")] = PublicKey(key, entry["kty"], entry.get("crv"), entry.get("alg"))
    if not keys:
        raise ValueError("no usable key in the set")
    return keys
