"""Verifies JSON Web Tokens of configured issuers (RFC 7519, RFC 8725). PyJWT is imported on first use.

The algorithm, the issuer, the audience and the URL of the keys are those of the configuration; nothing in a token
chooses them. A verified token is cached by its digest until it expires, because a signature costs about 100 us.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from proxy.admission.accounts import NO_ACCOUNT, AccountCache, Entry
from proxy.admission.claims import Identity, identity_of
from proxy.admission.jwks import Fetch, KeySet, Renew
from proxy.admission.principals import principal_of, refusal
from proxy.core.accounts import Account
from proxy.core.auth import Issuer
from proxy.core.clock import Clock
from proxy.core.errors import NotAllowed, NotAuthenticated
from proxy.core.principal import Identified

MAX_TOKEN = 8192  # characters
MAX_KEY_ID = 128
LEEWAY = 10.0  # seconds by which the clocks of issuers may differ
LATEST = 1e15  # a time that a token may name, in seconds since 1970
MAX_CACHED = 10_000
_FORBIDDEN = ("crit", "jku", "x5u", "jwk")  # headers with which a token would choose its own rules or keys


class Verified:
    """A verified token."""

    __slots__ = ("account", "expires_at", "identity", "keys", "principal", "version")

    def __init__(self, identity: Identity, expires_at: float, keys: KeySet) -> None:
        self.identity = identity
        self.expires_at = expires_at  # seconds since 1970, with the leeway
        self.keys = keys
        self.version = keys.version
        self.principal: Identified | None = None  # with the account it was made of
        self.account = NO_ACCOUNT


class TokenVerifier:
    """Verifies tokens; one instance serves all requests. Without `accounts` the claims alone describe a caller."""

    def __init__(
        self, issuers: Iterable[Issuer], fetch: Fetch, clock: Clock, accounts: AccountCache | None, renew: Renew
    ) -> None:
        self._issuers = {issuer.issuer: (issuer, KeySet(issuer.jwks_url, fetch, clock, renew)) for issuer in issuers}
        self._clock = clock
        self._accounts = accounts
        self._verified: dict[bytes, Verified] = {}  # by digest, the oldest first

    def at_once(self, token: str) -> Identified | None:
        """Return the caller of a cached token. Raises `NotAuthenticated` or `NotAllowed`."""
        verified = self._verified.get(_digest(token))
        if verified is None or verified.version != verified.keys.version or verified.keys.must_fetch():
            return None
        self._check_time(verified)
        if self._accounts is None:
            return self._principal(verified, NO_ACCOUNT)
        entries = []
        for name in _names(verified.identity):
            entry = self._accounts.get(name)
            if entry is None:
                return None
            entries.append(entry)
        return self._principal(verified, _merged(entries))

    async def look_up(self, token: str) -> Identified:
        """Return the caller of a token. Raises `NotAuthenticated`, `NotAllowed`, `RateLimited` or `Unavailable`."""
        digest = _digest(token)
        verified = self._verified.get(digest)
        if verified is None or verified.version != verified.keys.version or verified.keys.must_fetch():
            verified = await self._verify(token)
            while len(self._verified) >= MAX_CACHED:
                del self._verified[next(iter(self._verified))]
            self._verified[digest] = verified
        self._check_time(verified)
        if self._accounts is None:
            return self._principal(verified, NO_ACCOUNT)
        found = [await self._accounts.look_up(name, [name]) for name in _names(verified.identity)]
        return self._principal(verified, _merged(entry for entry in found if entry))

    async def _verify(self, token: str) -> Verified:
        """Check the signature and the claims. Raises `NotAuthenticated`."""
        if len(token) > MAX_TOKEN:
            raise _invalid(f"it has more than {MAX_TOKEN} characters")
        head, claims = _read(token)
        named = claims.get("iss")
        issuer, keys = self._issuers.get(named if isinstance(named, str) else "", (None, None))
        if issuer is None or keys is None:
            raise _invalid("its issuer is not configured")
        algorithm, key_id = _checked(head, issuer)
        key = await keys.find(key_id)
        if key is None or not key.verifies(algorithm):
            raise _invalid("its issuer has no such key")
        import jwt

        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=issuer.audience,
                issuer=issuer.issuer,
                options={  # the clock of this process decides about times, not PyJWT's
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, TypeError, ValueError) as exc:
            raise _invalid(str(exc)[:100].rstrip(".").lower()) from None
        self._check_start(claims)
        try:
            return Verified(identity_of(claims, issuer.claims), _time(claims, "exp") + LEEWAY, keys)
        except ValueError as exc:
            raise _invalid(str(exc)) from None

    def _check_start(self, claims: Mapping[str, Any]) -> None:
        """Raise `NotAuthenticated` for a token that is not valid yet."""
        latest = self._clock.time() + LEEWAY
        if any(name in claims and _time(claims, name) > latest for name in ("nbf", "iat")):
            raise _invalid("it is not valid yet")

    def _check_time(self, verified: Verified) -> None:
        if self._clock.time() >= verified.expires_at:
            raise NotAuthenticated("The token has expired; get a new one.")

    def _principal(self, verified: Verified, account: Account) -> Identified:
        """Return the caller, with what the store knows of its user and team. Raises `NotAllowed`."""
        if verified.principal is None or verified.account != account:
            if why := refusal(account):
                raise NotAllowed(why, code="key_disabled")
            user, team, role, models, limits = verified.identity
            verified.principal = principal_of(
                account, name=f"user-{user}", user=user, team=team, role=role, models=models, limits=limits
            )
            verified.account = account
        return verified.principal


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _names(identity: Identity) -> list[tuple[Any, str]]:
    """Return what to look up in the store: the user, and the team that the token names."""
    return [("user", identity.user), *([("team", identity.team)] if identity.team else ())]


def _merged(entries: Iterable[Entry]) -> Account:
    """Return the user with its team; the team that a token names comes last, and replaces the user's."""
    user = team = None
    for entry in entries:
        user = entry.account.user or user
        team = entry.account.team if entry.source[0] == "team" else entry.account.team or team
    return Account(None, user, team)


def _read(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the header and the claims, which are not verified yet."""
    import jwt

    try:
        whole = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, TypeError, ValueError, RecursionError):
        raise _invalid("it cannot be read") from None
    return whole["header"], whole["payload"]


def _checked(head: Mapping[str, Any], issuer: Issuer) -> tuple[str, str | None]:
    """Return the algorithm and the key id. Raises `NotAuthenticated` for a header that is not accepted."""
    if named := [name for name in _FORBIDDEN if name in head]:
        raise _invalid(f"its header has `{named[0]}`")
    algorithm, key_id = head.get("alg"), head.get("kid")
    if algorithm not in issuer.algorithms:
        raise _invalid(f"its algorithm must be {' or '.join(issuer.algorithms)}")
    if key_id is not None and (not isinstance(key_id, str) or len(key_id) > MAX_KEY_ID):
        raise _invalid(f"its `kid` must be a string of at most {MAX_KEY_ID} characters")
    return algorithm, key_id


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LATEST:
        raise _invalid(f"`{name}` must be a number of seconds since 1970")
    return float(value)


def _invalid(why: str) -> NotAuthenticated:
    return NotAuthenticated(f"The token is not valid: {why}.")
