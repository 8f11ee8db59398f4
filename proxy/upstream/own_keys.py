"""Users' own provider keys in calls: turns the targets of a plan into targets that use them.

    policy     a user with a key of its own                a user without one
    prefer     its key, then the pooled keys               the pooled keys
    only       its key                                     no target
    off        the pooled keys                             the pooled keys

The policy is that of the target's provider (`Provider.user_keys`). A target with an own key is a deployment of its own:
its provider has this key and no other, so that breaker, cooldowns and limits are those of the key. A key that the
provider has rejected is never replaced by pooled keys (`drop_pooled`): the user would spend the operator's money
without knowing it. The keys of a user are read once in `STALE_SECONDS`, and decrypted in memory only.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol
from weakref import WeakValueDictionary

from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import InvalidRequest, ProxyError, Unavailable
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import Deployment, Provider, ProviderKey
from proxy.core.plan import Plan, Target
from proxy.store.errors import InvalidValue, StoreUnavailable
from proxy.upstream.health import Health

_LOG = logging.getLogger(__name__)

STALE_SECONDS = 10.0  # after which a user's keys are read again
LONGEST_STALE_SECONDS = 600.0  # for which they stay usable while the store is unavailable
MAX_USERS = 10_000  # the keys of the others are read again when they are needed
MAX_DEPLOYMENTS = 1000  # of one user; `any_model` lets clients name models
REPLACE = "Replace it with `PUT /v1/provider-keys`, or delete it"

Keys = Mapping[str, ProviderKey | None]  # by provider; `None`: the stored key cannot be decrypted


class KeySource(Protocol):
    """Reads users' keys from the store."""

    async def keys_of(self, user: str) -> Keys:
        """Return the keys of a user. Raises `StoreUnavailable`."""
        ...


class OwnKeys:
    """Applies own keys to plans; one instance serves all calls."""

    def __init__(self, source: KeySource, health: Health, clock: Clock, *, fail_open: bool = True) -> None:
        self._source = source
        self._health = health
        self._clock = clock
        self._fail_open = fail_open  # while the store is unavailable, an unknown user has no own keys
        self._users: OrderedDict[str, _User] = OrderedDict()
        self._changes = 0  # keys that are read while there is a change are read again
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def apply(self, call: Call, plan: Plan) -> Plan | None:
        """Return the plan with the caller's keys; `None` if they must be read first: then await `load`.

        Raises `ProxyError` if no target is left.
        """
        name = call.principal.user
        if name is None:
            return self._applied(plan, _NO_USER)
        user = self._users.get(name)
        if user is None or self._clock.monotonic() - user.read_at > STALE_SECONDS:
            return None
        return self._applied(plan, user)

    async def load(self, call: Call, plan: Plan) -> Plan:
        """Read the caller's keys, and return the plan with them. Raises `ProxyError`."""
        name = call.principal.user or ""
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with lock:  # concurrent calls of one user read once
            applied = self.apply(call, plan)
            if applied is not None:
                return applied
            return self._applied(plan, await self._read(name))

    def forget(self, user: str) -> None:
        """Read the user's keys again before its next call: they have changed. What was learned of them is dropped."""
        self._changes += 1
        known = self._users.pop(user, None)
        for provider, key in known.keys.items() if known else ():
            if key is not None:
                self._health.reset(provider, key=key.id)

    async def _read(self, name: str) -> _User:
        now, changes = self._clock.monotonic(), self._changes
        try:
            user = _User(await self._source.keys_of(name), now)
        except InvalidValue:  # the user of a token whose name cannot be stored
            return _User({}, now)
        except StoreUnavailable:
            before = self._users.get(name)
            if before is not None and now - before.read_at <= LONGEST_STALE_SECONDS:
                return before
            if self._fail_open:
                return _UNKNOWN
            message = "The store of users' provider keys is unavailable; try again shortly."
            raise Unavailable(message, code="store_unavailable") from None
        if changes != self._changes:
            return user
        before = self._users.get(name)
        if before is not None and before.keys == user.keys:
            before.read_at, user = now, before  # its objects stay, which others cache by
        self._users[name] = user
        self._users.move_to_end(name)
        while len(self._users) > MAX_USERS:
            self._users.popitem(last=False)
        return user

    def _applied(self, plan: Plan, user: _User) -> Plan:
        if not user.keys and all(target.deployment.provider.user_keys != "only" for target in plan.targets):
            return plan
        targets: list[Target] = []
        lost = False  # a key of the user cannot be used until it is replaced, and pooled keys do not replace it
        for target in plan.targets:
            provider = target.deployment.provider
            if provider.user_keys != "off" and provider.name in user.keys:
                own = user.target(target)
                lost = lost or own is None or self._is_rejected(own)
                if own is not None:
                    targets.append(own)
            if provider.user_keys != "only" and not (lost and provider.keys):
                targets.append(target)
        if not targets:
            raise _no_target(plan, user)
        return replace(plan, targets=tuple(targets))

    def _is_rejected(self, target: Target) -> bool:
        cooldown = self._health.cooldowns.of(target.deployment.routes[0], self._clock.monotonic())
        return cooldown is not None and cooldown.reason is FailureKind.KEY_REJECTED


class _User:
    """A user's keys, and the deployments that use them: equal calls use the same objects, which others cache by."""

    __slots__ = ("_deployments", "_providers", "keys", "known", "read_at")

    def __init__(self, keys: Keys, read_at: float, *, known: bool = True) -> None:
        self.keys = keys
        self.read_at = read_at
        self.known = known  # False: the store is unavailable
        self._providers: dict[str, tuple[Provider, Provider]] = {}
        self._deployments: dict[str, tuple[Deployment, Deployment]] = {}

    def target(self, target: Target) -> Target | None:
        """Return the target with the user's key; `None` if that cannot be decrypted."""
        pooled = target.deployment
        key = self.keys[pooled.provider.name]
        if key is None:
            return None
        known = self._deployments.get(pooled.name)
        if known is None or known[0] is not pooled:
            if len(self._deployments) >= MAX_DEPLOYMENTS:
                self._deployments.clear()
            own = replace(pooled, provider=self._provider(pooled.provider, key), twin=False)
            known = self._deployments[pooled.name] = pooled, own
        return replace(target, deployment=known[1])

    def _provider(self, pooled: Provider, key: ProviderKey) -> Provider:
        known = self._providers.get(pooled.name)
        if known is None or known[0] is not pooled:
            known = self._providers[pooled.name] = pooled, replace(pooled, keys=(key,))
        return known[1]


_NO_USER = _User({}, 0.0)
_UNKNOWN = _User({}, 0.0, known=False)


def drop_pooled(targets: list[Target], deployment: str | None = None) -> None:
    """Remove the targets that use pooled keys: those of one deployment, or all. Keyless ones stay."""

    def stays(target: Target) -> bool:
        provider = target.deployment.provider
        pooled = bool(provider.keys) and provider.own_key is None
        return not pooled or deployment not in (None, target.deployment.name)

    targets[:] = [target for target in targets if stays(target)]


def after_own_key(targets: list[Target], failed: Deployment, failure: UpstreamFailure) -> None:
    """Remove the targets that may not replace an own key after `failure` of a deployment that used it.

    Pooled keys follow after a rate limit or an outage. After a rejected key or account none does; after a failure that
    the same deployment would have with any key, those of the deployment are skipped.
    """
    if failure.failure_class == "auth":
        drop_pooled(targets)
    elif failure.failure_class in ("target", "content"):
        drop_pooled(targets, failed.name)


def rejected_key(deployment: Deployment, status: int | None = None) -> InvalidRequest:
    """Return the error for a rejected key of the user's own."""
    key = deployment.provider.own_key
    named = f"your own key `{key.id}`" if key else "your own key"
    with_status = f" with status {status}" if status else ""
    message = f"`{deployment.name}`: the provider rejected {named} or its account{with_status}. {REPLACE}."
    return InvalidRequest(message, code="provider_key_rejected", retryable=False)


def _no_target(plan: Plan, user: _User) -> ProxyError:
    providers = dict.fromkeys(target.deployment.provider.name for target in plan.targets)
    unreadable = [name for name in providers if name in user.keys and user.keys[name] is None]
    if unreadable:
        message = f"Your stored key for `{unreadable[0]}` cannot be decrypted. {REPLACE}."
        return Unavailable(message, code="provider_key_unreadable", retryable=False)
    if not user.known:
        message = "The store of users' provider keys is unavailable; try again shortly."
        return Unavailable(message, code="store_unavailable")
    named = ", ".join(f"`{name}`" for name in providers)
    hint = "add one with `PUT /v1/provider-keys`" if user is not _NO_USER else "use a credential that belongs to a user"
    message = f"Calls to {named} need a provider key of your own; {hint}."
    return InvalidRequest(message, code="provider_key_required", retryable=False)
