"""The health of provider keys and deployments, as observed by this process.

A facade over breakers (one per route key), cooldowns of keys, measured latency and the choice between keys. State is
stored by name, not by configuration object, so it survives a reload. Healthy entries are neither listed nor saved.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from proxy.core.breaker import Admission, Breaker
from proxy.core.clock import Clock
from proxy.core.failures import REPEATED, FailureKind, FailureRule, UpstreamFailure, class_of
from proxy.core.model import KEYLESS, Deployment, ProviderKey, RouteKey
from proxy.core.plan import DeploymentHealth, HealthView
from proxy.core.policies import BreakerPolicy
from proxy.core.saved import SavedHealth
from proxy.core.snapshot import Live, Snapshot
from proxy.upstream.blocks import Block as Block
from proxy.upstream.blocks import block_of
from proxy.upstream.breakers import MAX_BREAKERS, Breakers
from proxy.upstream.cooldowns import MAX_COOLDOWNS, CooldownKey, Cooldowns
from proxy.upstream.identity import replaced
from proxy.upstream.keys import Choice, KeyRing
from proxy.upstream.lease import SLOW as SLOW
from proxy.upstream.lease import Lease as Lease
from proxy.upstream.probe_candidates import ProbeCandidate, probe_candidates

_LOG = logging.getLogger(__name__)

LATENCY_WEIGHT = 0.2  # of a new measurement in the moving average
MAX_LATENCIES = 10_000  # `any_model` lets clients name models; the oldest are dropped
FORCE_INTERVAL_SECONDS = 0.25  # between two forced attempts at a target, after a call's first attempt


class Latencies:
    """Moving averages of the seconds to the first content, by deployment; `seconds` is for reading."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, name: str, seconds: float) -> None:
        """Add the time to the first content of a successful answer."""
        averages = self.seconds
        before = averages.get(name, seconds)
        averages[name] = before + LATENCY_WEIGHT * (seconds - before)
        if len(averages) > MAX_LATENCIES:
            del averages[next(iter(averages))]


class ProbeOutcome(NamedTuple):
    """The queue's resource for calls that wait for the outcome of a probe of a deployment."""

    provider: str
    model: str


class Health:
    """The health of all deployments and keys; calls `notify` with resources that may be usable, without any for all."""

    def __init__(
        self,
        clock: Clock,
        live: Live,
        *,
        notify: Callable[..., None] = lambda *resources: None,
    ) -> None:
        self.breakers = Breakers()
        self.cooldowns = Cooldowns()
        self.latency = Latencies()
        self._clock = clock
        self._live = live
        self._notify = notify
        self._keys = KeyRing()
        # where other replicas share it, they are notified of each change
        self.on_breaker: Callable[[RouteKey], None] | None = None
        self.on_cooldown: Callable[[CooldownKey], None] | None = None

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
        target of a call; with `sparing`, only if no attempt was forced within `FORCE_INTERVAL_SECONDS`.
        """
        routes = deployment.routes
        if len(routes) == 1 and key_id is None and not avoid and not self.cooldowns.entries:
            breaker = self.breakers.healthy.get(routes[0]) or self.breakers.get(routes[0])
            if breaker.closed_admission is not None:
                keys, key_id = deployment.provider.keys, routes[0].key_id
                return Lease(self, deployment, keys[0] if keys else None, key_id, breaker, breaker.closed_admission)
        return self._lease(deployment, key_id, avoid, force=force, sparing=sparing)

    def _lease(
        self, deployment: Deployment, key_id: str | None, avoid: frozenset[str], *, force: bool, sparing: bool
    ) -> Lease | None:
        """Do what `lease` does, for any number of keys in any state."""
        now, policy = self._clock.monotonic(), self._live.snapshot.breaker
        usable = _choices(deployment, key_id)
        if avoid or self.cooldowns.entries:
            usable = [
                (key, route) for key, route in usable if route.key_id not in avoid and not self.cooldowns.of(route, now)
            ]
        ready = usable
        if self.breakers.failed:
            ready = [(key, route) for key, route in usable if self.breakers.ready(route, policy, now)]
        if not ready and force:
            since = now - FORCE_INTERVAL_SECONDS if sparing else now
            ready = [(key, route) for key, route in usable if self.breakers.get(route).forced_at <= since][:1]
        if not ready:
            return None
        key, route = self._keys.next(ready)
        breaker = self.breakers.get(route)
        admission = breaker.admit(policy, now, force=force)
        return self._granted(deployment, key, breaker, admission) if admission else None

    def _granted(
        self, deployment: Deployment, key: ProviderKey | None, breaker: Breaker, admission: Admission
    ) -> Lease:
        trial = admission.probe or admission.forced
        return Lease(self, deployment, key, KEYLESS if key is None else key.id, breaker, admission, trial)

    def blocked(self, deployment: Deployment, key_id: str | None = None) -> Block | None:
        """Return why `lease` would return `None` now, or `None` if it would return a lease."""
        routes = [route for _, route in _choices(deployment, key_id)]
        return block_of(routes, self.breakers, self.cooldowns, self._live.snapshot.breaker, self._clock.monotonic())

    def probing(self, deployment: Deployment, key_id: str | None = None) -> bool:
        """Return whether a probe is running whose outcome may make `deployment` available."""
        failed = self.breakers.failed
        return any(route in failed and failed[route].probing for _, route in _choices(deployment, key_id))

    def rate_limited(self, deployment: Deployment, key_id: str | None, avoid: frozenset[str]) -> dict[str, float]:
        """Return the keys in cooldown for their rate limit, with the remaining seconds."""
        if not self.cooldowns.entries:
            return {}
        now, seconds = self._clock.monotonic(), {}
        for _, route in _choices(deployment, key_id):
            cooldown = self.cooldowns.of(route, now)
            if cooldown and cooldown.reason is FailureKind.RATE_LIMITED and route.key_id not in avoid:
                seconds[route.key_id] = cooldown.until - now
        return seconds

    def of(self, deployment: Deployment) -> DeploymentHealth | None:
        """Return the deployment's health for routing; `None` if nothing is known."""
        latency = self.latency.seconds.get(deployment.name)
        if self.breakers.failed or self.cooldowns.entries:
            block = self.blocked(deployment)
            if block is not None:
                return DeploymentHealth(False, block.message, block.retry_after, latency)
        return None if latency is None else DeploymentHealth(latency=latency)

    def view(self, snapshot: Snapshot) -> HealthView:
        """Return the health of all deployments of which anything is known."""
        view = {name: self.of(deployment) for name, deployment in snapshot.deployments.items()}
        return {name: health for name, health in view.items() if health is not None}

    def settle(self, lease: Lease, *, ok: bool | None, reason: str = "", notify: bool = True) -> None:
        """Settle a lease; for `Lease` only."""
        now, route = self._clock.monotonic(), lease.deployment.route(lease.key_id)
        breaker = self.breakers.list_failed(route, lease.breaker)
        if breaker is not lease.breaker and (lease.is_trial or not lease.is_current):
            return  # the breaker of the attempt has been reset
        if ok is False and self.is_replaced(lease):
            ok = None
        if ok is False:
            breaker.reason = reason
        policy, consecutive_only = self._policy_for(reason), class_of(reason) in REPEATED
        before = (breaker.state, breaker.openings)
        breaker.settle(lease.admission, policy, now, ok=ok, consecutive_only=consecutive_only)
        self.breakers.unlist_new(route, breaker)
        if self.on_breaker and (breaker.state, breaker.openings) != before:
            self.on_breaker(route)
        if notify and lease.is_trial:
            self._notify(route, ProbeOutcome(route.provider, route.model))

    def notify(self) -> None:
        """Notify waiting calls that any resource may be usable."""
        self._notify()

    def is_replaced(self, lease: Lease) -> bool:
        """Return whether the lease's key has another value or base URL since a reload of the configuration."""
        return replaced(lease.deployment.provider, lease.key, self._live.snapshot)

    def rule(self, failure: UpstreamFailure) -> FailureRule:
        """Return the configured rule for `failure`."""
        return self._live.snapshot.failures[failure.failure_class]

    def _policy_for(self, reason: str) -> BreakerPolicy:
        """Return the breaker policy with the open times of the failure's class."""
        policy, failure_class = self._live.snapshot.breaker, class_of(reason)
        rule = self._live.snapshot.failures[failure_class] if failure_class else None
        if rule is None or (rule.open is None and rule.max_open is None):
            return policy
        longest = max(rule.max_open or policy.max_open, rule.open or 0.0)
        return replace(policy, open=rule.open or policy.open, max_open=longest)

    def cool_down(self, lease: Lease, failure: UpstreamFailure) -> None:
        """Put the key into cooldown as the table and `retry-after` demand; for `Lease` only."""
        everywhere = self.rule(failure).key == "everywhere"
        provider = lease.deployment.provider
        if (everywhere and lease.key is None) or self.is_replaced(lease):
            return  # there is no key, or it has been replaced
        key = CooldownKey(provider.name, lease.key_id, None if everywhere else lease.deployment.model)
        before = self.cooldowns.entries.get(key)
        # failures of concurrent calls count as one
        self._cool_down(key, failure, again=before is not None and before.until <= self._clock.monotonic())

    def _cool_down(self, key: CooldownKey, failure: UpstreamFailure, *, again: bool) -> None:
        rule, rejected = self.rule(failure), failure.kind is FailureKind.KEY_REJECTED
        before = self.cooldowns.entries.get(key)
        times = (before.times if before else 1) + again
        seconds = failure.retry_after
        if seconds is None or rejected:  # `retry-after` does not apply to a rejected key
            seconds = min(rule.rest * (2 ** min(times - 1, 16) if rejected else 1), rule.max_rest)
        if rejected:
            fields = {"provider": key.provider, "key": key.key_id, "status": failure.status, "rests_s": seconds}
            _LOG.warning("a provider rejected a key", extra={"fields": fields})
        self.cooldowns.start(key, failure.kind, min(seconds, rule.max_rest), times, self._clock.monotonic())
        if self.on_cooldown:
            self.on_cooldown(key)

    def accepted(self, lease: Lease) -> None:
        """Drop expired cooldowns of a key that works; for `Lease` only."""
        self.cooldowns.accepted(lease.deployment.route(lease.key_id), self._clock.monotonic())

    def reset(self, provider: str | None = None, model: str | None = None, key: str | None = None) -> int:
        """Close matching breakers and end matching cooldowns (`None` matches all); return their number."""
        routes = self.breakers.reset(provider, model, key)
        cooldowns = self.cooldowns.reset(provider, model, key)
        if self.on_breaker and self.on_cooldown:
            for route in routes:
                self.on_breaker(route)
            for cooldown in cooldowns:
                self.on_cooldown(cooldown)
        self._notify()
        return len(routes) + len(cooldowns)

    def probe(self, deployment: Deployment, key: ProviderKey | None) -> Lease | None:
        """Return a lease to probe a breaker that is not closed, shortly before its open time ends or later."""
        breaker = self.breakers.failed.get(deployment.route(key.id if key else KEYLESS))
        admission = breaker.early(self._live.snapshot.breaker, self._clock.monotonic()) if breaker else None
        return self._granted(deployment, key, breaker, admission) if breaker and admission else None

    def probed(self, candidate: ProbeCandidate, failure: UpstreamFailure | None) -> None:
        """Apply the outcome of a background probe of a key: end its cooldown, or extend it after a `failure`."""
        key = CooldownKey(candidate.provider, candidate.key_id, candidate.model)
        before = self.cooldowns.entries.get(key)
        if before is None:
            return
        if failure is None:
            self.cooldowns.end(key, self._clock.monotonic())  # the next success resets the count of rejections
            if self.on_cooldown:
                self.on_cooldown(key)
            self._notify()
        else:
            self._cool_down(key, failure, again=True)

    def probe_candidates(self) -> list[ProbeCandidate]:
        """Return all cooldowns and all breakers that are not closed; cheap if there are none."""
        if not self.breakers.failed and not self.cooldowns.entries:
            return []
        return probe_candidates(self.breakers, self.cooldowns, self._policy_for, self._clock.monotonic())

    def export(self, shift: float) -> SavedHealth:
        """Return breakers and cooldowns to save; `shift` is wall-clock time minus monotonic time."""
        return SavedHealth(self.breakers.export(shift), self.cooldowns.export(shift))

    def restore(self, saved: SavedHealth, shift: float) -> None:
        """Restore what `export` returned, possibly in another process; existing breakers and cooldowns stay."""
        now = self._clock.monotonic()
        self.breakers.restore(saved.breakers[-MAX_BREAKERS:], shift, self._policy_for, now)
        self.cooldowns.restore(saved.cooldowns[-MAX_COOLDOWNS:], shift, now)

    def breaker_rows(self) -> list[dict[str, Any]]:
        """Return a row for every known breaker, for `/admin/breakers` and metrics."""
        return self.breakers.rows(self._live.snapshot.breaker, self._clock.monotonic())

    def cooldown_rows(self) -> list[dict[str, Any]]:
        """Return a row for every cooldown, for `/admin/providers` and metrics."""
        return self.cooldowns.rows(self._clock.monotonic())

    def latencies(self) -> Mapping[str, float]:
        """Return the measured seconds to the first content, by deployment."""
        return dict(self.latency.seconds)


def _choices(deployment: Deployment, key_id: str | None) -> Sequence[Choice]:
    """Return the keys of a deployment, or the one with that id, each with its route key."""
    keys: tuple[ProviderKey | None, ...] = deployment.provider.keys or (None,)
    choices = list(zip(keys, deployment.routes, strict=True))
    return choices if key_id is None else [(key, route) for key, route in choices if route.key_id == key_id]
