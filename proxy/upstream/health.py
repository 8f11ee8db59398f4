"""The health of provider keys and deployments: circuit breakers, cooldowns, and measured latency.

There is one breaker per (provider, model, key). A key is in cooldown for one model (429) or for all (401, 403). State
is stored by name, not by configuration object, so it survives a reload. Healthy and unknown entries take no memory.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from proxy.core.breaker import Breaker
from proxy.core.clock import Clock
from proxy.core.failures import REPEATED, RULES, FailureClass, FailureKind, FailureRule, UpstreamFailure, class_of
from proxy.core.model import KEYLESS, Deployment, ProviderKey, way
from proxy.core.plan import DeploymentHealth, HealthView
from proxy.core.policies import BreakerPolicy
from proxy.core.snapshot import Snapshot
from proxy.upstream.health_views import (
    BreakerName,
    Due,
    Rest,
    RestName,
    breaker_rows,
    exported,
    rest_rows,
    restored_breakers,
    restored_rests,
    troubles,
)
from proxy.upstream.identity import replaced
from proxy.upstream.lease import SLOW as SLOW
from proxy.upstream.lease import Lease as Lease

_LOG = logging.getLogger(__name__)

LATENCY_WEIGHT = 0.2  # weight of a new measurement in the moving average
SPARING = 0.25  # seconds between two forced attempts at a target with an open breaker, after a call's first attempt
MOST_BREAKERS = 10_000  # `any_model` lets clients name models; the oldest are dropped
WORDS = {"rate_limited": "the provider's rate limit", "key_rejected": "the provider rejected the key"}


@dataclass(frozen=True, slots=True)
class Block:
    """The reason why a deployment is unavailable; `rate_limited`, `key_rejected`: all its keys are in cooldown."""

    reason: str
    retry_after: float
    message: str
    slow: bool = False  # the breaker is open because of slow answers


class Health:
    """The health of all deployments and keys, as observed by this process."""

    def __init__(
        self,
        clock: Clock,
        policy: BreakerPolicy,
        rules: Mapping[FailureClass, FailureRule] = RULES,
        *,
        changed: Callable[..., None] = lambda *ways: None,
    ) -> None:
        self.policy = policy
        self.rules = rules
        self.identities: Mapping[tuple[str, str], str] = {}  # of the active keys, by provider and id
        self._changed = changed  # called with route keys that may be usable again, without any for all
        self._clock = clock
        self.cooldowns: dict[RestName, Rest] = {}
        self._breakers: OrderedDict[BreakerName, Breaker] = OrderedDict()  # those with a failure
        self._healthy: dict[BreakerName, Breaker] = {}  # those of routes in use without one
        self._latency: dict[str, float] = {}
        self._turns: dict[str, dict[str, float]] = {}  # smooth weighted round robin, by provider

    def lease(
        self,
        deployment: Deployment,
        *,
        key_id: str | None = None,
        avoid: frozenset[str] = frozenset(),
        force: bool = False,
        sparing: bool = False,
    ) -> Lease | None:
        """Return a lease for a key of `deployment` that is not in cooldown and whose breaker is closed, or `None`.

        `key_id` pins one key, `avoid` excludes some. `force` ignores open breakers, so that they never block the last
        target of a call; with `sparing`, only if no attempt was forced within the last `SPARING` seconds.
        """
        routes = deployment.routes
        if len(routes) == 1 and key_id is None and not avoid and not self.cooldowns:
            breaker = self._healthy.get(routes[0]) or self._known(routes[0])
            if breaker.passing is not None:
                keys = deployment.provider.keys
                return Lease(self, deployment, keys[0] if keys else None, breaker, breaker.passing)
        return self._lease(deployment, key_id, avoid, force=force, sparing=sparing)

    def _lease(
        self, deployment: Deployment, key_id: str | None, avoid: frozenset[str], *, force: bool, sparing: bool
    ) -> Lease | None:
        """Do what `lease` does, for any number of keys in any state."""
        now = self._clock.monotonic()
        keys = [key for key in _keys(deployment, key_id) if _id(key) not in avoid]
        usable = [key for key in keys if not self._rest_of(deployment, _id(key), now)]
        ready = [key for key in usable if self._breaker(deployment, key).ready(self.policy, now)]
        if not ready and force:
            since = now - SPARING if sparing else now
            ready = [key for key in usable if self._breaker(deployment, key).forced_at <= since][:1]
        if not ready:
            return None
        key = self._next(deployment.provider.name, ready)
        breaker = self._known(_name(deployment, key))
        permit = breaker.admit(self.policy, now, force=force)
        return Lease(self, deployment, key, breaker, permit) if permit else None

    def blocked(self, deployment: Deployment, key_id: str | None = None) -> Block | None:
        """Return why `lease` would return `None` now, or `None` if it would return a lease."""
        now = self._clock.monotonic()
        rests, waits, slow = [], [], False
        for key in _keys(deployment, key_id):
            if rest := self._rest_of(deployment, _id(key), now):
                rests.append(rest)
                continue
            breaker = self._breaker(deployment, key)
            if breaker.ready(self.policy, now):
                return None
            waits.append(max(0.0, breaker.open_until - now))
            slow |= breaker.reason == SLOW
        if waits:
            return Block("circuit_open", min(waits), "its circuit breaker is open", slow)
        if not rests:
            return Block("no_key", 0.0, "it has no such key")
        soonest = min(rests, key=lambda rest: rest.until)
        words = WORDS.get(soonest.reason, "they failed")
        return Block(soonest.reason, soonest.until - now, f"all its keys are in cooldown: {words}")

    def probing(self, deployment: Deployment, key_id: str | None = None) -> bool:
        """Return whether a probe is running whose outcome may make `deployment` available."""
        return any(self._breaker(deployment, key).probing for key in _keys(deployment, key_id))

    def rested(self, deployment: Deployment, key_id: str | None, avoid: frozenset[str]) -> dict[str, float]:
        """Return the keys in cooldown for their rate limit, with the remaining seconds."""
        if not self.cooldowns:
            return {}
        now = self._clock.monotonic()
        ids = [_id(key) for key in _keys(deployment, key_id) if _id(key) not in avoid]
        rests = {each: self._rest_of(deployment, each, now) for each in ids}
        return {each: rest.until - now for each, rest in rests.items() if rest and rest.reason == "rate_limited"}

    def of(self, deployment: Deployment) -> DeploymentHealth | None:
        """Return the deployment's health for routing; `None` if nothing is known."""
        latency = self._latency.get(deployment.name)
        if self._breakers or self.cooldowns:
            block = self.blocked(deployment)
            if block is not None:
                return DeploymentHealth(False, block.message, block.retry_after, latency)
        return None if latency is None else DeploymentHealth(latency=latency)

    def view(self, snapshot: Snapshot) -> HealthView:
        """Return the health of all deployments of which anything is known."""
        found = {name: self.of(deployment) for name, deployment in snapshot.deployments.items()}
        return {name: health for name, health in found.items() if health is not None}

    def measured(self, deployment: Deployment, seconds: float) -> None:
        """Add the time to the first content of a success to the moving average."""
        latency, name = self._latency, deployment.name
        before = latency.get(name, seconds)
        latency[name] = before + LATENCY_WEIGHT * (seconds - before)
        if len(latency) > MOST_BREAKERS:
            del latency[next(iter(latency))]

    def settle(self, lease: Lease, *, ok: bool | None, reason: str = "", told: bool = True) -> None:
        """Settle a lease; for `Lease` only. `told` notifies the queue."""
        now = self._clock.monotonic()
        name = _name(lease.deployment, lease.key)
        breaker = self._keep(name, lease.breaker)
        if breaker is not lease.breaker and (lease.permit.probe or lease.permit.forced):
            return  # the probe's breaker has been reset
        ok = None if ok is False and replaced(lease.deployment.provider, lease.key, self.identities) else ok
        if ok is False:
            breaker.reason = reason
        breaker.settle(lease.permit, self._policy(reason), now, ok=ok, row_only=class_of(reason) in REPEATED)
        if breaker.is_new:
            self._healthy[name] = self._breakers.pop(name)
        if told and (lease.permit.probe or lease.permit.forced):
            self._changed(way(lease.deployment.name, lease.key_id))

    def rule(self, failure: UpstreamFailure) -> FailureRule:
        """Return the configured rule for `failure`."""
        return self.rules[failure.failure_class]

    def _policy(self, reason: str) -> BreakerPolicy:
        """Return the breaker policy with the open times of the failure's class."""
        failure_class = class_of(reason)
        rule = self.rules[failure_class] if failure_class else None
        if rule is None or (rule.open is None and rule.max_open is None):
            return self.policy
        longest = max(rule.max_open or self.policy.max_open, rule.open or 0.0)
        return replace(self.policy, open=rule.open or self.policy.open, max_open=longest)

    def rest(self, lease: Lease, failure: UpstreamFailure) -> None:
        """Put the key into cooldown as the table and `retry-after` demand; for `Lease` only."""
        everywhere = self.rule(failure).key == "everywhere"
        if (everywhere and lease.key is None) or replaced(lease.deployment.provider, lease.key, self.identities):
            return  # there is no key, or it has been replaced
        where = (lease.deployment.provider.name, lease.key_id, None if everywhere else lease.deployment.model)
        before = self.cooldowns.get(where)
        # failures of concurrent calls count as one
        self._rest(where, failure, again=before is not None and before.until <= self._clock.monotonic())

    def _rest(self, where: RestName, failure: UpstreamFailure, *, again: bool) -> None:
        now, rule = self._clock.monotonic(), self.rule(failure)
        rejected = failure.kind is FailureKind.KEY_REJECTED
        before = self.cooldowns.get(where)
        times = (before.times if before else 1) + again
        seconds = failure.retry_after
        if seconds is None or rejected:  # `retry-after` does not apply to a rejected key
            seconds = min(rule.rest * (2 ** min(times - 1, 16) if rejected else 1), rule.max_rest)
        if rejected:
            _LOG.warning(
                "a provider rejected a key",
                extra={"fields": {"provider": where[0], "key": where[1], "status": failure.status, "rests_s": seconds}},
            )
        until = max(now + min(seconds, rule.max_rest), before.until if before else 0.0)
        self.cooldowns[where] = Rest(until, failure.kind.value, times, until - now)
        while len(self.cooldowns) > MOST_BREAKERS:
            del self.cooldowns[next(iter(self.cooldowns))]

    def accepted(self, lease: Lease) -> None:
        """Drop expired cooldowns of a key that works; for `Lease` only."""
        now = self._clock.monotonic()
        provider = lease.deployment.provider.name
        for where in ((provider, lease.key_id, None), (provider, lease.key_id, lease.deployment.model)):
            rest = self.cooldowns.get(where)
            if rest and rest.until <= now:
                del self.cooldowns[where]

    def reset(self, provider: str | None = None, model: str | None = None, key: str | None = None) -> int:
        """Close matching breakers and end matching cooldowns (`None` matches all); return their number."""
        wanted = (provider, model, key)
        names = [name for name in self._breakers if _matches(name, wanted)]
        for name in names:
            self._breakers.pop(name).reset()
        for name in [name for name in self._healthy if _matches(name, wanted)]:
            self._healthy.pop(name).reset()  # outcomes of running attempts no longer count
        rests = [where for where in self.cooldowns if _matches((where[0], where[2], where[1]), wanted)]
        for where in rests:
            del self.cooldowns[where]
        self._changed()
        return len(names) + len(rests)

    def probe(self, deployment: Deployment, key: ProviderKey | None) -> Lease | None:
        """Return a lease to probe a breaker that is not closed, shortly before its open time ends or later."""
        breaker = self._breakers.get(_name(deployment, key))
        permit = breaker.early(self.policy, self._clock.monotonic()) if breaker else None
        return Lease(self, deployment, key, breaker, permit) if breaker and permit else None

    def probed(self, due: Due, failure: UpstreamFailure | None) -> None:
        """Apply the outcome of a background probe of a key: end its cooldown, or extend it after a `failure`."""
        where = (due.provider, due.key, due.model)
        before = self.cooldowns.get(where)
        if before is None:
            return
        if failure is None:
            before.until = self._clock.monotonic()  # the next success resets the count of rejections
            self._changed()
        else:
            self._rest(where, failure, again=True)

    def troubles(self) -> list[Due]:
        """Return all cooldowns and all breakers that are not closed; cheap if there are none."""
        if not self._breakers and not self.cooldowns:
            return []
        return troubles(self._breakers, self.cooldowns, self._policy, self._clock.monotonic())

    def export(self, shift: float) -> dict[str, Any]:
        """Return breakers and cooldowns as JSON values; `shift` is wall-clock time minus monotonic time."""
        return exported(self._breakers, self.cooldowns, shift)

    def restore(self, values: Mapping[str, Any], shift: float) -> None:
        """Restore what `export` returned, possibly in another process; existing cooldowns stay.

        Raises `ValueError`, `TypeError` or `KeyError`, and changes nothing, if `export` cannot have returned it.
        """
        now = self._clock.monotonic()
        breakers = restored_breakers(values["breakers"][-MOST_BREAKERS:], shift, self._policy, now)
        rests = restored_rests(values["rests"][-MOST_BREAKERS:], shift, now)
        for name, breaker in breakers.items():
            self._keep(name, breaker)
        self.cooldowns = {**rests, **self.cooldowns}

    def breakers(self) -> list[dict[str, Any]]:
        """Return a row for every known breaker, for `/admin/breakers` and metrics."""
        return breaker_rows(self._breakers, self.policy, self._clock.monotonic())

    def rests(self) -> list[dict[str, Any]]:
        """Return a row for every cooldown, for `/admin/providers`."""
        return rest_rows(self.cooldowns, self._clock.monotonic())

    def latencies(self) -> Mapping[str, float]:
        """Return the measured seconds to the first content, by deployment."""
        return dict(self._latency)

    def _breaker(self, deployment: Deployment, key: ProviderKey | None) -> Breaker:
        return self._breakers.get(_name(deployment, key)) or Breaker()

    def _known(self, name: BreakerName) -> Breaker:
        """Return the breaker of that name; a new one takes no part in rows and the state file until it fails."""
        breaker = self._breakers.get(name) or self._healthy.get(name)
        if breaker is None:
            if len(self._healthy) >= MOST_BREAKERS:
                self._healthy.clear()
            breaker = self._healthy[name] = Breaker()
        return breaker

    def _keep(self, name: BreakerName, new: Breaker) -> Breaker:
        """Return the breaker of that name, storing `new` if there is none."""
        self._healthy.pop(name, None)
        breaker = self._breakers.setdefault(name, new)
        self._breakers.move_to_end(name)
        while len(self._breakers) > MOST_BREAKERS:
            self._breakers.popitem(last=False)
        return breaker

    def _rest_of(self, deployment: Deployment, key_id: str, now: float) -> Rest | None:
        provider = deployment.provider.name
        for where in ((provider, key_id, None), (provider, key_id, deployment.model)):
            rest = self.cooldowns.get(where)
            if rest and rest.until > now:
                return rest
        return None

    def _next(self, provider: str, keys: list[ProviderKey | None]) -> ProviderKey | None:
        """Return the next key by smooth weighted round robin, which is deterministic and spreads shares evenly."""
        if len(keys) == 1:
            return keys[0]
        turns = self._turns.setdefault(provider, {})
        total = 0.0
        for key in keys:
            weight = key.weight if key else 1
            turns[_id(key)] = turns.get(_id(key), 0.0) + weight
            total += weight
        best = max(keys, key=lambda key: turns[_id(key)])
        turns[_id(best)] -= total
        return best


def _keys(deployment: Deployment, key_id: str | None) -> list[ProviderKey | None]:
    keys: list[ProviderKey | None] = list(deployment.provider.keys) or [None]
    return keys if key_id is None else [key for key in keys if _id(key) == key_id]


def _id(key: ProviderKey | None) -> str:
    return key.id if key else KEYLESS


def _name(deployment: Deployment, key: ProviderKey | None) -> BreakerName:
    return deployment.provider.name, deployment.model, _id(key)


def _matches(name: tuple[str | None, ...], wanted: tuple[str | None, ...]) -> bool:
    return all(want is None or have == want for have, want in zip(name, wanted, strict=True))
