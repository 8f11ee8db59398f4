"""Which keys of which deployments may be used now: breakers, resting keys, and measured latency.

One breaker for each (provider, model, key); a key rests for one model (429) or everywhere (401, 403). State is kept
under names, not under configuration objects, so that it outlives a reload. What is healthy and unknown takes no memory.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.breaker import Breaker, Permit
from proxy.core.clock import Clock
from proxy.core.failures import UpstreamFailure
from proxy.core.types import BreakerPolicy, Deployment, DeploymentHealth, HealthView, ProviderKey, Snapshot

_LOG = logging.getLogger(__name__)

RATE_LIMIT_REST = 5.0  # seconds, where the provider does not say
REJECTED_REST = 60.0  # seconds; doubles with each rejection in a row up to REJECTED_MAX
REJECTED_MAX = 1800.0
LATENCY_WEIGHT = 0.2  # of a new measurement in the moving average
MOST_BREAKERS = 10_000  # `any_model` lets clients name models; the oldest are forgotten
KEYLESS = "-"  # the id of the key that a keyless provider does not have

BreakerName = tuple[str, str, str]  # provider, model, key id


@dataclass(slots=True)
class Rest:
    """A key resting until a time."""

    until: float
    reason: str
    times: int = 1  # in a row


@dataclass(frozen=True, slots=True)
class Block:
    """Why a deployment cannot be used now: `rate_limited` and `key_rejected` say that all its keys rest."""

    reason: str
    retry_after: float
    message: str


class Lease:
    """Leave to use one key of one deployment for one attempt; settle it exactly once."""

    def __init__(
        self, health: Health, deployment: Deployment, key: ProviderKey | None, breaker: Breaker, permit: Permit
    ) -> None:
        self.deployment = deployment
        self.key = key
        self.breaker = breaker
        self.permit = permit
        self._health = health
        self._settled = False

    @property
    def key_id(self) -> str:
        """The key's id, for records."""
        return self.key.id if self.key else KEYLESS

    def settle(self, *, ok: bool | None) -> None:
        """Tell the breaker what the attempt showed; None where it showed nothing. Only the first call counts."""
        if not self._settled:
            self._settled = True
            self._health.settle(self, ok=ok)

    def fail(self, failure: UpstreamFailure) -> None:
        """Settle with a failure: what the table says of it happens to the breaker and to the key."""
        verdict = failure.verdict
        if verdict.rest:
            self._health.rest(self, failure)
        self.settle(ok=False if verdict.trip else None)

    def succeed(self, seconds: float | None = None) -> None:
        """Settle with success, which also ends a row of rejections of this key.

        `seconds` to the first content enter the deployment's measured latency.
        """
        self._health.accepted(self)
        if seconds is not None:
            self._health.measured(self.deployment, seconds)
        self.settle(ok=True)


class Health:
    """The health of everything upstream, as this process has seen it."""

    def __init__(self, clock: Clock, policy: BreakerPolicy) -> None:
        self.policy = policy
        self._clock = clock
        self._breakers: OrderedDict[BreakerName, Breaker] = OrderedDict()
        self._resting: dict[tuple[str, str, str | None], Rest] = {}  # provider, key id, model or None for all
        self._latency: OrderedDict[str, float] = OrderedDict()
        self._turns: dict[str, dict[str, float]] = {}  # smooth weighted round robin, by provider

    def lease(
        self,
        deployment: Deployment,
        *,
        key_id: str | None = None,
        avoid: frozenset[str] = frozenset(),
        force: bool = False,
    ) -> Lease | None:
        """A key of `deployment` that is neither resting nor behind an open breaker, or None.

        `key_id` pins one, `avoid` leaves some out, `force` takes the first key that is not resting whatever its breaker
        says: a breaker never closes the last target left.
        """
        now = self._clock.monotonic()
        keys = [key for key in _keys(deployment, key_id) if _id(key) not in avoid]
        usable = [key for key in keys if not self._rest_of(deployment, key, now)]
        ready = [key for key in usable if self._breaker(deployment, key).ready(self.policy, now)]
        if not ready and force:
            ready = usable[:1]
        if not ready:
            return None
        key = self._next(deployment.provider.name, ready)
        breaker = self._keep(_name(deployment, key), Breaker())
        permit = breaker.admit(self.policy, now, force=force)
        return Lease(self, deployment, key, breaker, permit) if permit else None

    def blocked(self, deployment: Deployment, key_id: str | None = None) -> Block | None:
        """Why `lease` would give nothing now, or None if it would."""
        now = self._clock.monotonic()
        rests, waits = [], []
        for key in _keys(deployment, key_id):
            if rest := self._rest_of(deployment, key, now):
                rests.append(rest)
                continue
            breaker = self._breaker(deployment, key)
            if breaker.ready(self.policy, now):
                return None
            waits.append(max(0.0, breaker.open_until - now))
        if waits:
            return Block("circuit_open", min(waits), "its circuit breaker is open")
        if not rests:
            return Block("no_key", 0.0, "it has no such key")
        soonest = min(rests, key=lambda rest: rest.until)
        words = "the provider's rate limit" if soonest.reason == "rate_limited" else "the provider rejected the key"
        return Block(soonest.reason, soonest.until - now, f"all its keys rest: {words}")

    def view(self, snapshot: Snapshot) -> HealthView:
        """What routing may know now: the deployments of which there is anything to tell."""
        troubled = {(provider, model) for provider, model, _ in self._breakers}
        resting = {provider for provider, _, _ in self._resting}
        view = {}
        for name, deployment in snapshot.deployments.items():
            provider = deployment.provider.name
            block = None
            if provider in resting or (provider, deployment.model) in troubled:
                block = self.blocked(deployment)
            latency = self._latency.get(name)
            if block is not None:
                view[name] = DeploymentHealth(False, block.message, block.retry_after, latency)
            elif latency is not None:
                view[name] = DeploymentHealth(latency=latency)
        return view

    def measured(self, deployment: Deployment, seconds: float) -> None:
        """A success took this long to its first content: it enters the moving average."""
        before = self._latency.pop(deployment.name, seconds)
        self._latency[deployment.name] = before + LATENCY_WEIGHT * (seconds - before)
        if len(self._latency) > MOST_BREAKERS:
            self._latency.popitem(last=False)

    def settle(self, lease: Lease, *, ok: bool | None) -> None:
        """For `Lease` only."""
        now = self._clock.monotonic()
        name = _name(lease.deployment, lease.key)
        breaker = self._keep(name, lease.breaker)
        if breaker is not lease.breaker and (lease.permit.probe or lease.permit.forced):
            return  # the breaker that this probe was of has been reset
        breaker.settle(lease.permit, self.policy, now, ok=ok)
        if breaker.is_new:
            del self._breakers[name]

    def rest(self, lease: Lease, failure: UpstreamFailure) -> None:
        """For `Lease` only: rest the key as the table says and as long as the provider asked."""
        now = self._clock.monotonic()
        everywhere = failure.verdict.rest == "everywhere"
        if everywhere and lease.key is None:
            return  # there is no key that could rest
        where = (lease.deployment.provider.name, lease.key_id, None if everywhere else lease.deployment.model)
        before = self._resting.get(where)
        times = before.times if before else 1
        if before and before.until <= now:
            times += 1  # rejections of calls that were under way together are one
        seconds = failure.retry_after
        if everywhere:
            seconds = min(REJECTED_REST * 2 ** min(times - 1, 16), REJECTED_MAX)
        elif seconds is None:
            seconds = RATE_LIMIT_REST
        if everywhere:
            _LOG.warning(
                "a provider rejected a key",
                extra={"fields": {"provider": where[0], "key": where[1], "status": failure.status, "rests_s": seconds}},
            )
        until = max(now + seconds, before.until if before else 0.0)
        self._resting[where] = Rest(until, failure.kind.value, times)
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
        return len(names) + len(rests)

    def breakers(self) -> list[dict[str, Any]]:
        """Every breaker that has something to tell, for `/admin/breakers` and metrics."""
        now = self._clock.monotonic()
        rows = []
        for (provider, model, key), breaker in self._breakers.items():
            state = "half-open" if breaker.state == "open" and now >= breaker.open_until else breaker.state
            rows.append(
                {
                    "provider": provider,
                    "model": model,
                    "key": key,
                    "state": state,
                    "failures": breaker.failures(self.policy, now),
                    "openings": breaker.openings,
                    "open_seconds_left": round(max(0.0, breaker.open_until - now), 3) if state == "open" else 0.0,
                }
            )
        return rows

    def rests(self) -> list[dict[str, Any]]:
        """Every key that rests now, for `/admin/providers`."""
        now = self._clock.monotonic()
        return [
            {
                "provider": provider,
                "key": key,
                "model": model,
                "reason": rest.reason,
                "seconds_left": round(rest.until - now, 3),
            }
            for (provider, key, model), rest in self._resting.items()
            if rest.until > now
        ]

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

    def _rest_of(self, deployment: Deployment, key: ProviderKey | None, now: float) -> Rest | None:
        provider, key_id = deployment.provider.name, _id(key)
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
        total = 0
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
