"""Background probes: they test keys in cooldown and open breakers before client traffic does.

Shortly before the cooldown of a rejected key or the open time of a breaker ends, the prober requests the provider's
list of models, which costs nothing. Its outcome decides:

| answer                          | a rejected key      | an open breaker                                          |
| ------------------------------- | ------------------- | -------------------------------------------------------- |
| the list                        | its cooldown ends   | closes, if the list would have shown its failures        |
| 401, 403                        | longer cooldown     | unchanged                                                |
| 5xx, no answer, no connection   | unchanged           | opens again for twice as long, if this is its failure    |
| no such path, 429               | unchanged           | closes if it opened because of failed connections        |

The list is weaker evidence than a chat call: a key may be valid for chat only, and a list may be broken permanently. So
it never starts a cooldown of a key that no call has seen rejected. It opens a breaker again only for the failure that
had opened it, if most models of the provider fail, and not twice in a row, so that a client's call decides at least
every second time; a failed connection that is still failing is sufficient. While a failure of a model is simulated, no
list closes its breaker.

A list shows nothing about slow, broken or malformed answers, about one model that fails while others work, or about
capacity under a rate limit. In these cases, and without a list, the prober makes one chat call of one token if
`probes.chat` allows it (always for the mock, where it is free) and the key's limits have capacity. Otherwise the
breaker half-opens as usual, and a cooldown after a rate limit lasts as long as the provider demanded. The call counts
like any other attempt in limits, metrics and cost.

A probe occupies one of the breaker's half-open slots, so probes and calls together never exceed `half_open`. A provider
and key is probed once for everything that is due; at most `AT_ONCE` probes run, at randomly spread times.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random

from proxy.core.clock import Clock
from proxy.core.failures import REPEATED, FailureKind, UpstreamFailure, shown_by_list
from proxy.core.model import KEYLESS, Deployment, Provider, ProviderKey, RouteKey
from proxy.core.snapshot import Live
from proxy.upstream.health import Health, Lease
from proxy.upstream.probe_candidates import ProbeCandidate
from proxy.upstream.probe_requests import Outcome, ProbeRequests, outcome_text
from proxy.upstream.simulate import Simulator

_LOG = logging.getLogger(__name__)

AT_ONCE = 5
CHECK_SECONDS = 1.0  # between two checks for due probes
MIN_CHECK_SECONDS = 0.05
MAX_AHEAD_SECONDS = 5.0  # before the end of a cooldown or of an open time; `AHEAD_SHARE` of short ones
AHEAD_SHARE = 0.1
LONG_COOLDOWN_SECONDS = 60.0  # a shorter cooldown after a rate limit is not probed


class Prober:
    """Probes the cooldowns and breakers that `health` reports, until cancelled."""

    def __init__(
        self,
        *,
        live: Live,
        health: Health,
        requests: ProbeRequests,
        simulator: Simulator,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._live = live
        self._health = health
        self._requests = requests
        self._simulator = simulator
        self._clock = clock
        self._rng = rng
        self._times: dict[ProbeCandidate, float] = {}  # when each probe is sent; infinite once it was
        self._running: set[tuple[str, str]] = set()  # providers and keys
        self._reopened: set[RouteKey] = set()  # breakers that a failed list has opened again

    async def run(self) -> None:
        """Check every second for due probes. Without cooldowns and open breakers this costs almost nothing."""
        never = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            while True:
                due = self._due() if self._live.snapshot.probes.enabled else {}
                for (provider, key_id), candidates in due.items():
                    if len(self._running) < AT_ONCE:
                        self._running.add((provider, key_id))
                        self._times |= dict.fromkeys(candidates, math.inf)
                        group.create_task(self._probe(provider, key_id, candidates))
                soonest = min(self._times.values(), default=math.inf) - self._clock.monotonic()
                await self._clock.wait_for(never, min(max(soonest, MIN_CHECK_SECONDS), CHECK_SECONDS))

    def _due(self) -> dict[tuple[str, str], list[ProbeCandidate]]:
        """Return the probes that are due now, by provider and key."""
        now = self._clock.monotonic()
        candidates = [candidate for candidate in self._health.probe_candidates() if self._is_useful(candidate)]
        self._times = {candidate: self._times.get(candidate, self._time(candidate)) for candidate in candidates}
        self._reopened &= {RouteKey(each.provider, each.model or "", each.key_id) for each in candidates}
        keys = {_owner(candidate) for candidate, time in self._times.items() if time <= now} - self._running
        due: dict[tuple[str, str], list[ProbeCandidate]] = {}
        for candidate, time in self._times.items():
            # include probes of the same key that are due within the random spread
            if _owner(candidate) in keys and time < math.inf and candidate.until - _ahead(candidate) <= now:
                due.setdefault(_owner(candidate), []).append(candidate)
        return due

    def _is_useful(self, candidate: ProbeCandidate) -> bool:
        """Return whether to probe: a cooldown after a rate limit can only be shortened by a chat call."""
        if not candidate.cooldown or candidate.reason == FailureKind.KEY_REJECTED:
            return True
        return self._live.snapshot.probes.chat and candidate.length >= LONG_COOLDOWN_SECONDS

    def _time(self, candidate: ProbeCandidate) -> float:
        return candidate.until - _ahead(candidate) * self._rng.uniform(0.5, 1.0)

    async def _probe(self, provider_name: str, key_id: str, candidates: list[ProbeCandidate]) -> None:
        """Probe one provider and key: request the list, then make a chat call if the list is inconclusive."""
        try:
            provider = self._live.snapshot.providers.get(provider_name)
            if provider is None or key_id not in ({key.id for key in provider.keys} or {KEYLESS}):
                return  # the configuration has changed
            key = next((key for key in provider.keys if key.id == key_id), None)
            cooldowns = [candidate for candidate in candidates if candidate.cooldown]
            leases = self._leases(provider, key, [candidate for candidate in candidates if not candidate.cooldown])
            try:
                if cooldowns or leases:
                    await self._probe_by_list(provider, key, cooldowns, leases)
            finally:
                for lease, _ in leases:
                    lease.settle(ok=None)
        except Exception:  # a probe is not awaited, so it reports its own errors
            _LOG.exception("internal error in a probe")
        finally:
            self._running.discard((provider_name, key_id))

    async def _probe_by_list(
        self,
        provider: Provider,
        key: ProviderKey | None,
        cooldowns: list[ProbeCandidate],
        leases: list[tuple[Lease, str]],
    ) -> None:
        outcome = self._judged(await self._requests.model_list(provider, key))
        fields = {"provider": provider.name, "key": key.id if key else KEYLESS, "outcome": outcome_text(outcome)}
        if isinstance(outcome, UpstreamFailure) and outcome.cause:
            fields |= {"cause": outcome.cause, "error": str(outcome)}
        _LOG.info("probed", extra={"fields": fields})
        widespread = self._is_widespread(provider, key)
        for candidate in cooldowns:
            await self._settle_cooldown(candidate, provider, key, outcome)
        for lease, reason in leases:
            shown = self._shown(lease, reason, outcome, widespread=widespread)
            if shown is False and self._may_chat(lease.deployment) and not self._is_in_cooldown(lease):
                shown = await self._requests.chat(lease.deployment, lease.key)
            if isinstance(shown, UpstreamFailure):
                lease.fail(shown)
            elif shown:
                lease.succeed()

    def _judged(self, outcome: Outcome | None) -> Outcome | None:
        """Return the outcome of a list; a failure that says nothing about the key or the provider is inconclusive."""
        if not isinstance(outcome, UpstreamFailure):
            return outcome
        counts = self._health.rule(outcome).breaker and outcome.failure_class not in REPEATED
        serious = outcome.kind is FailureKind.KEY_REJECTED or counts  # a missing list is no failure
        return outcome if serious or outcome.status is None else False

    def _shown(self, lease: Lease, reason: str, outcome: Outcome | None, *, widespread: bool) -> Outcome:
        """Return what the outcome of a list shows about the failures that opened one breaker."""
        deployment = lease.deployment
        unconnected = reason == FailureKind.CONNECT
        list_shows_reason = unconnected or (widespread and shown_by_list(reason))
        if not isinstance(outcome, UpstreamFailure):
            simulated = self._simulator.fails(deployment.provider.name, deployment.model)
            return list_shows_reason and not simulated and (outcome is True or (unconnected and outcome is False))
        alike = outcome.kind == reason or (outcome.verdict.shown_by_list and shown_by_list(reason))
        if alike and unconnected:
            return outcome
        route = deployment.route(lease.key_id)
        if not alike or not widespread or route in self._reopened:
            self._reopened.discard(route)
            return False
        self._reopened.add(route)
        return outcome

    async def _settle_cooldown(
        self, candidate: ProbeCandidate, provider: Provider, key: ProviderKey | None, outcome: Outcome | None
    ) -> None:
        if candidate.reason == FailureKind.KEY_REJECTED:
            if outcome is True:
                self._health.probed(candidate, None)
                return
            if isinstance(outcome, UpstreamFailure):
                if outcome.kind is FailureKind.KEY_REJECTED:
                    self._health.probed(candidate, outcome)
                return
        deployment = self._deployment(provider, candidate.model)
        if isinstance(outcome, UpstreamFailure) or deployment is None or not self._may_chat(deployment):
            return
        shown = await self._requests.chat(deployment, key)
        if shown is True:
            self._health.probed(candidate, None)
        elif shown and shown.kind in (FailureKind.RATE_LIMITED, FailureKind.KEY_REJECTED):
            self._health.probed(candidate, shown)

    def _is_in_cooldown(self, lease: Lease) -> bool:
        """Return whether the key is in cooldown for this model, so that a call is useless."""
        owner, model = (lease.deployment.provider.name, lease.key_id), lease.deployment.model
        candidates = [each for each in self._health.probe_candidates() if each.cooldown and _owner(each) == owner]
        return any(candidate.model in (None, model) for candidate in candidates)

    def _is_widespread(self, provider: Provider, key: ProviderKey | None) -> bool:
        """Return whether most of the provider's models fail with this key, which is then not the models' fault."""
        owner = (provider.name, key.id if key else KEYLESS)
        candidates = self._health.probe_candidates()
        failing = {each.model for each in candidates if not each.cooldown and _owner(each) == owner}
        deployments = self._live.snapshot.deployments.values()
        known = {deployment.model for deployment in deployments if deployment.provider.name == provider.name}
        return 2 * len(failing) > len(known)

    def _may_chat(self, deployment: Deployment) -> bool:
        return deployment.kind == "chat" and (self._live.snapshot.probes.chat or deployment.provider.dialect == "mock")

    def _leases(
        self, provider: Provider, key: ProviderKey | None, candidates: list[ProbeCandidate]
    ) -> list[tuple[Lease, str]]:
        """Return a lease for each breaker that grants one, with the reason why it is open."""
        leases = []
        for candidate in candidates:
            deployment = self._deployment(provider, candidate.model)
            if deployment and (lease := self._health.probe(deployment, key)):
                leases.append((lease, candidate.reason))
        return leases

    def _deployment(self, provider: Provider, model: str | None) -> Deployment | None:
        """Return the deployment, any one if `model` is `None`, or a minimal one for a model that clients named."""
        deployments = self._live.snapshot.deployments
        if model is None:
            own = (deployment for deployment in deployments.values() if deployment.provider.name == provider.name)
            return next(own, None)
        deployment = deployments.get(f"{provider.name}/{model}")
        if deployment is None and provider.any_model:
            return Deployment(provider, model, listed=False, timeouts=provider.timeouts)
        return deployment


def _owner(candidate: ProbeCandidate) -> tuple[str, str]:
    return candidate.provider, candidate.key_id


def _ahead(candidate: ProbeCandidate) -> float:
    """Return how many seconds before the end a probe may be sent."""
    return min(MAX_AHEAD_SECONDS, candidate.length * AHEAD_SHARE)
