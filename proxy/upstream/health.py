"""Which keys of which deployments may be used now: breakers, resting keys, and measured latency.

One breaker for each (provider, model, key); a key rests for one model (429) or everywhere (401, 403). State is kept
under names, not under configuration objects, so that it outlives a reload. What is healthy and unknown takes no memory.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from proxy.core.breaker import Breaker, Permit
from proxy.core.clock import Clock
from proxy.core.failures import REPEATED, RULES, FailureClass, FailureKind, FailureRule, UpstreamFailure, class_of
from proxy.core.policies import BreakerPolicy
from proxy.core.types import KEYLESS, Deployment, DeploymentHealth, HealthView, ProviderKey, Snapshot, way
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
from proxy.upstream.limits import UNLIMITED

_LOG = logging.getLogger(__name__)

LATENCY_WEIGHT = 0.2  # of a new measurement in the moving average
SPARING = 0.25  # seconds between two attempts at an open breaker's target that are not a call's first
MOST_BREAKERS = 10_000  # `any_model` lets clients name models; the oldest are forgotten
SLOW = "slow"  # the reason of a breaker that slow calls opened
WORDS = {"rate_limited": "the provider's rate limit", "key_rejected": "the provider rejected the key"}


@dataclass(frozen=True, slots=True)
class Block:
    """Why a deployment cannot be used now: `rate_limited` and `key_rejected` say that all its keys rest."""

    reason: str
    retry_after: float
    message: str
    slow: bool = False  # of an open breaker: it answers, but slowly


class Lease:
    """Leave to use one key of one deployment for one attempt; settle it exactly once."""

    def __init__(
        self, health: Health, deployment: Deployment, key: ProviderKey | None, breaker: Breaker, permit: Permit
    ) -> None:
        self.deployment = deployment
        self.key = key
        self.breaker = breaker
        self.permit = permit
        self.receipt = UNLIMITED  # what was reserved under the key's limits
        self._health = health
        self._settled = False
        self._measured = False

    @property
    def key_id(self) -> str:
        """The key's id, for records."""
        return self.key.id if self.key else KEYLESS

    def settle(self, *, ok: bool | None, reason: str = "") -> None:
        """Tell the breaker what the attempt showed; None where it showed nothing. Only the first call counts.

        `reason` names the failure.
        """
        if not self._settled:
            self._settled = True
            self._health.settle(self, ok=ok, reason=reason)

    def return_unused(self) -> None:
        """Settle at once, where there was no room for the attempt. Who waits is not told: nothing has changed."""
        if not self._settled:
            self._settled = True
            self._health.settle(self, ok=None, told=False)

    def fail(self, failure: UpstreamFailure) -> None:
        """Settle with a failure: what the table says of it happens to the breaker and to the key."""
        rule = self._health.rule(failure)
        if rule.key != "none":
            self._health.rest(self, failure)
        self.settle(ok=False if rule.breaker else None, reason=failure.kind.value)

    def slow(self, seconds: float) -> None:
        """Settle with an answer that came, but far too late: the key works, the target is as good as failing."""
        self._health.accepted(self)
        self._measure(seconds)
        self.settle(ok=False, reason=SLOW)

    def succeed(self, seconds: float | None = None) -> None:
        """Settle with success, which also ends a row of rejections of this key.

        `seconds` to the first content enter the deployment's measured latency.
        """
        self._health.accepted(self)
        if seconds is not None:
            self._measure(seconds)
        self.settle(ok=True)

    def _measure(self, seconds: float) -> None:
        if not self._measured:
            self._measured = True
            self._health.measured(self.deployment, seconds)


class Health:
    """The health of everything upstream, as this process has seen it."""

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
        self.identities: Mapping[tuple[str, str], str] = {}  # of the keys in force, by provider and id
        self._changed = changed  # called when what was blocked may be free: names of ways, none for all
        self._clock = clock
        self._breakers: OrderedDict[BreakerName, Breaker] = OrderedDict()
        self._resting: dict[RestName, Rest] = {}
        self._latency: OrderedDict[str, float] = OrderedDict()
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
        """A key of `deployment` that is neither resting nor behind an open breaker, or None.

        `key_id` pins one, `avoid` leaves some out, `force` takes the first key that is not resting whatever its breaker
        says: a breaker never closes the last target left. With `sparing`, only if that was not done just now.
        """
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
        breaker = self._keep(_name(deployment, key), Breaker())
        permit = breaker.admit(self.policy, now, force=force)
        return Lease(self, deployment, key, breaker, permit) if permit else None

    def blocked(self, deployment: Deployment, key_id: str | None = None) -> Block | None:
        """Why `lease` would give nothing now, or None if it would."""
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
        return Block(soonest.reason, soonest.until - now, f"all its keys rest: {words}")

    def probing(self, deployment: Deployment, key_id: str | None = None) -> bool:
        """Whether a probe is out whose outcome may free `deployment`."""
        return any(self._breaker(deployment, key).probing for key in _keys(deployment, key_id))

    def rested(self, deployment: Deployment, key_id: str | None, avoid: frozenset[str]) -> dict[str, float]:
        """The keys that rest for their rate limit, with the seconds until they may be used again."""
        if not self._resting:
            return {}
        now = self._clock.monotonic()
        ids = [_id(key) for key in _keys(deployment, key_id) if _id(key) not in avoid]
        rests = {each: self._rest_of(deployment, each, now) for each in ids}
        return {each: rest.until - now for each, rest in rests.items() if rest and rest.reason == "rate_limited"}

    def of(self, deployment: Deployment) -> DeploymentHealth | None:
        """What routing may know of `deployment` now; None where there is nothing to tell."""
        latency = self._latency.get(deployment.name)
        if self._breakers or self._resting:
            block = self.blocked(deployment)
            if block is not None:
                return DeploymentHealth(False, block.message, block.retry_after, latency)
        return None if latency is None else DeploymentHealth(latency=latency)

    def view(self, snapshot: Snapshot) -> HealthView:
        """The same of all deployments of which there is anything to tell."""
        found = {name: self.of(deployment) for name, deployment in snapshot.deployments.items()}
        return {name: health for name, health in found.items() if health is not None}

    def measured(self, deployment: Deployment, seconds: float) -> None:
        """A success took this long to its first content: it enters the moving average."""
        before = self._latency.pop(deployment.name, seconds)
        self._latency[deployment.name] = before + LATENCY_WEIGHT * (seconds - before)
        if len(self._latency) > MOST_BREAKERS:
            self._latency.popitem(last=False)

    def settle(self, lease: Lease, *, ok: bool | None, reason: str = "", told: bool = True) -> None:
        """For `Lease` only; `told` if those who wait are to look again."""
        now = self._clock.monotonic()
        name = _name(lease.deployment, lease.key)
        breaker = self._keep(name, lease.breaker)
        if breaker is not lease.breaker and (lease.permit.probe or lease.permit.forced):
            return  # the breaker that this probe was of has been reset
        ok = None if ok is False and replaced(lease.deployment.provider, lease.key, self.identities) else ok
        if ok is False:
            breaker.reason = reason
        breaker.settle(lease.permit, self._policy(reason), now, ok=ok, row_only=class_of(reason) in REPEATED)
        if breaker.is_new:
            del self._breakers[name]
        if told and (lease.permit.probe or lease.permit.forced):
            self._changed(way(lease.deployment.name, lease.key_id))

    def rule(self, failure: UpstreamFailure) -> FailureRule:
        """What follows from `failure`, as configured."""
        return self.rules[failure.failure_class]

    def _policy(self, reason: str) -> BreakerPolicy:
        """The breaker's policy, with the open time of the class of failures that may open it now."""
        failure_class = class_of(reason)
        rule = self.rules[failure_class] if failure_class else None
        if rule is None or (rule.open is None and rule.max_open is None):
            return self.policy
        longest = max(rule.max_open or self.policy.max_open, rule.open or 0.0)
        return replace(self.policy, open=rule.open or self.policy.open, max_open=longest)

    def rest(self, lease: Lease, failure: UpstreamFailure) -> None:
        """For `Lease` only: rest the key as the table says and as long as the provider asked."""
        everywhere = self.rule(failure).key == "everywhere"
        if (everywhere and lease.key is None) or replaced(lease.deployment.provider, lease.key, self.identities):
            return  # there is no key that could rest, or it is another one by now
        where = (lease.deployment.provider.name, lease.key_id, None if everywhere else lease.deployment.model)
        before = self._resting.get(where)
        # failures of calls that were under way together are one
        self._rest(where, failure, again=before is not None and before.until <= self._clock.monotonic())

    def _rest(self, where: RestName, failure: UpstreamFailure, *, again: bool) -> None:
        now, rule = self._clock.monotonic(), self.rule(failure)
        rejected = failure.kind is FailureKind.KEY_REJECTED
        before = self._resting.get(where)
        times = (before.times if before else 1) + again
        seconds = failure.retry_after
        if seconds is None or rejected:  # nobody mends a key by waiting for as long as its provider says
            seconds = min(rule.rest * (2 ** min(times - 1, 16) if rejected else 1), rule.max_rest)
        if rejected:
            _LOG.warning(
                "a provider rejected a key",
                extra={"fields": {"provider": where[0], "key": where[1], "status": failure.status, "rests_s": seconds}},
            )
        until = max(now + min(seconds, rule.max_rest), before.until if before else 0.0)
        self._resting[where] = Rest(until, failure.kind.value, times, until - now)
        while len(self._resting) > MOST_BREAKERS:
            del self._resting[next(iter(self._resting))]

    def accepted(self, lease: Lease) -> None:
        """For `Lease` only: the key works, so rests that are over are forgotten."""
        now = self._clock.monotonic()
        provider = lease.deployment.provider.name
        for where in ((provider, lease.key_id, None), (provider, lease.key_id, lease.deployment.model)):
            rest = self._resting.get(where)
            if rest and rest.until <= now:
                del self._resting[where]

    def reset(self, provider: str | None = None, model: str | None = None, key: str | None = None) -> int:
        """Close the breakers and end the rests that match; None matches all. Returns how many there were."""
        wanted = (provider, model, key)
        names = [name for name in self._breakers if _matches(name, wanted)]
        for name in names:
            self._breakers.pop(name).reset()
        rests = [where for where in self._resting if _matches((where[0], where[2], where[1]), wanted)]
        for where in rests:
            del self._resting[where]
        self._changed()
        return len(names) + len(rests)

    def probe(self, deployment: Deployment, key: ProviderKey | None) -> Lease | None:
        """A permit for a background probe of a breaker that is not closed, shortly before its time or after it."""
        breaker = self._breakers.get(_name(deployment, key))
        permit = breaker.early(self.policy, self._clock.monotonic()) if breaker else None
        return Lease(self, deployment, key, breaker, permit) if breaker and permit else None

    def probed(self, due: Due, failure: UpstreamFailure | None) -> None:
        """A background probe of a resting key: it works and its rest ends, or it failed and rests on, longer."""
        where = (due.provider, due.key, due.model)
        before = self._resting.get(where)
        if before is None:
            return
        if failure is None:
            before.until = self._clock.monotonic()  # the row of rejections ends with a call that works
            self._changed()
        else:
            self._rest(where, failure, again=True)

    def troubles(self) -> list[Due]:
        """Every key that rests and every breaker that is not closed; empty, and cheap, when all is well."""
        if not self._breakers and not self._resting:
            return []
        return troubles(self._breakers, self._resting, self._policy, self._clock.monotonic())

    def export(self, shift: float) -> dict[str, Any]:
        """Breakers and rests as JSON values, with times later by `shift`: the wall's clock less the monotonic one."""
        return exported(self._breakers, self._resting, shift)

    def restore(self, values: Mapping[str, Any], shift: float) -> None:
        """Take over what `export` said, in another process perhaps; what is known here already stands.

        Raises `ValueError`, `TypeError` or `KeyError`, and changes nothing, for what `export` never says.
        """
        now = self._clock.monotonic()
        breakers = restored_breakers(values["breakers"][-MOST_BREAKERS:], shift, self._policy, now)
        rests = restored_rests(values["rests"][-MOST_BREAKERS:], shift, now)
        for name, breaker in breakers.items():
            self._keep(name, breaker)
        self._resting = {**rests, **self._resting}

    def breakers(self) -> list[dict[str, Any]]:
        """Every breaker that has something to tell, for `/admin/breakers` and metrics."""
        return breaker_rows(self._breakers, self.policy, self._clock.monotonic())

    def rests(self) -> list[dict[str, Any]]:
        """Every key that rests now, for `/admin/providers`."""
        return rest_rows(self._resting, self._clock.monotonic())

    def latencies(self) -> Mapping[str, float]:
        """Measured seconds to the first content, by deployment."""
        return dict(self._latency)

    def _breaker(self, deployment: Deployment, key: ProviderKey | None) -> Breaker:
        return self._breakers.get(_name(deployment, key)) or Breaker()

    def _keep(self, name: BreakerName, new: Breaker) -> Breaker:
        """The breaker of that name, or `new` from now on."""
        breaker = self._breakers.setdefault(name, new)
        self._breakers.move_to_end(name)
        while len(self._breakers) > MOST_BREAKERS:
            self._breakers.popitem(last=False)
        return breaker

    def _rest_of(self, deployment: Deployment, key_id: str, now: float) -> Rest | None:
        provider = deployment.provider.name
        for where in ((provider, key_id, None), (provider, key_id, deployment.model)):
            rest = self._resting.get(where)
            if rest and rest.until > now:
                return rest
        return None

    def _next(self, provider: str, keys: list[ProviderKey | None]) -> ProviderKey | None:
        """Smooth weighted round robin: each key gets its share, evenly spread, and nothing is left to chance."""
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
