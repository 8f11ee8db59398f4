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
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import anyio

from proxy.capacity.limits import Limits
from proxy.capacity.store import Wait
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.dialects import DialectName
from proxy.core.errors import ProxyError
from proxy.core.failures import REPEATED, FailureKind, UpstreamFailure
from proxy.core.json_text import compact
from proxy.core.model import KEYLESS, Deployment, Provider, ProviderKey, RouteKey
from proxy.core.plan import Target
from proxy.core.snapshot import Snapshot
from proxy.core.usage import Usage
from proxy.core.wire import UpstreamRequest
from proxy.dialects.base import Dialect
from proxy.surfaces.chat import read_chat
from proxy.upstream.commit import read_error, until_commit
from proxy.upstream.health import Health, Lease, ProbeCandidate
from proxy.upstream.secrets import Cleaners
from proxy.upstream.simulate import Simulator
from proxy.upstream.transport import Response, Transport

_LOG = logging.getLogger(__name__)

AT_ONCE = 5
LOOK = 1.0  # seconds between two checks for due probes
AHEAD = 5.0  # the most seconds before the end of a cooldown; `AHEAD_SHARE` of short ones
AHEAD_SHARE = 0.1
LONG_REST = 60.0  # seconds; a shorter cooldown after a rate limit is not probed
PATIENCE = 10.0  # seconds for a probe's answer
CALL_TOKENS = 16  # tokens to reserve for a chat call: one word, its framing, and one token of output
ERROR_BODY = 64 * 1024

Shown = bool | UpstreamFailure  # True: success; False: inconclusive; or the failure
Count = Callable[[Deployment, str, Usage | None], None]  # counts a chat call: deployment, outcome, tokens

# failures that a list of models shows too if the whole provider is affected
SHOWN_BY_LIST = (FailureKind.SERVER_ERROR, FailureKind.OVERLOADED)


class Prober:
    """Probes the cooldowns and breakers that `health` reports, until cancelled."""

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        health: Health,
        limits: Limits,
        transports: Mapping[DialectName, Transport],
        dialects: Mapping[DialectName, Dialect],
        simulator: Simulator,
        count: Count,
        cleaners: Cleaners,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._snapshot = snapshot
        self._health = health
        self._limits = limits
        self._transports = transports
        self._dialects = dialects
        self._simulator = simulator
        self._count = count
        self._cleaners = cleaners
        self._clock = clock
        self._rng = rng
        self._moments: dict[ProbeCandidate, float] = {}  # the time of each probe; infinite once it was sent
        self._running: set[tuple[str, str]] = set()  # providers and keys
        self._believed: set[RouteKey] = set()  # breakers that a failed list has opened again

    async def run(self) -> None:
        """Check every second for due probes. Without cooldowns and open breakers this costs almost nothing."""
        never = asyncio.Event()
        async with anyio.create_task_group() as group:
            while True:
                due = self._due() if self._snapshot().probes.enabled else {}
                for (provider, key), dues in due.items():
                    if len(self._running) < AT_ONCE:
                        self._running.add((provider, key))
                        self._moments |= dict.fromkeys(dues, float("inf"))
                        group.start_soon(self._probe, provider, key, dues)
                soonest = min(self._moments.values(), default=float("inf")) - self._clock.monotonic()
                await self._clock.wait_for(never, min(max(soonest, 0.05), LOOK))

    def _due(self) -> dict[tuple[str, str], list[ProbeCandidate]]:
        """Return the probes that are due now, by provider and key."""
        now = self._clock.monotonic()
        troubles = [due for due in self._health.probe_candidates() if self._worth(due)]
        self._moments = {due: self._moments.get(due, self._moment(due)) for due in troubles}
        self._believed &= {RouteKey(due.provider, due.model or "", due.key_id) for due in troubles}
        found: dict[tuple[str, str], list[ProbeCandidate]] = {}
        ripe = {(due.provider, due.key_id) for due, moment in self._moments.items() if moment <= now} - self._running
        for due, moment in self._moments.items():
            # include probes of the same key that are due within the random spread
            if (due.provider, due.key_id) in ripe and moment < float("inf") and due.until - _ahead(due) <= now:
                found.setdefault((due.provider, due.key_id), []).append(due)
        return found

    def _worth(self, due: ProbeCandidate) -> bool:
        """Return whether to probe: a cooldown after a rate limit can only be shortened by a chat call."""
        if not due.cooldown or due.reason == FailureKind.KEY_REJECTED:
            return True
        return self._snapshot().probes.chat and due.length >= LONG_REST

    def _moment(self, due: ProbeCandidate) -> float:
        return due.until - _ahead(due) * self._rng.uniform(0.5, 1.0)

    async def _probe(self, provider_name: str, key_id: str, dues: list[ProbeCandidate]) -> None:
        """Probe one provider and key: request the list, then make a chat call if the list is inconclusive."""
        try:
            found = self._target(provider_name, key_id)
            if found is None:
                return  # the configuration has changed
            provider, key = found
            rests = [due for due in dues if due.cooldown]
            leases = self._leases(provider, key, [due for due in dues if not due.cooldown])
            try:
                if rests or leases:
                    await self._ask(provider, key, rests, leases)
            finally:
                for lease, _ in leases:
                    lease.settle(ok=None)
        except Exception:
            _LOG.exception("internal error in a probe")
        finally:
            self._running.discard((provider_name, key_id))

    async def _ask(
        self, provider: Provider, key: ProviderKey | None, rests: list[ProbeCandidate], leases: list[tuple[Lease, str]]
    ) -> None:
        outcome = await self._list(provider, key)
        fields = {"provider": provider.name, "key": key.id if key else KEYLESS, "outcome": _words(outcome)}
        if isinstance(outcome, UpstreamFailure) and outcome.cause:
            fields |= {"cause": outcome.cause, "error": str(outcome)}
        _LOG.info("probed", extra={"fields": fields})
        widespread = self._widespread(provider, key)
        for due in rests:
            await self._settle_cooldown(due, provider, key, outcome)
        for lease, reason in leases:
            shown = self._shown(lease, reason, outcome, widespread=widespread)
            if isinstance(shown, UpstreamFailure):
                lease.fail(shown)
            elif shown:
                lease.succeed()
            else:
                await self._settle_by_chat(lease)

    def _shown(self, lease: Lease, reason: str, outcome: Shown | None, *, widespread: bool) -> Shown:
        """Return what the outcome of a list shows about the failures that opened one breaker."""
        deployment = lease.deployment
        unconnected = reason == FailureKind.CONNECT
        seen_there = unconnected or (widespread and reason in SHOWN_BY_LIST)
        if not isinstance(outcome, UpstreamFailure):
            drilled = self._simulator.fails(deployment.provider.name, deployment.model)
            return seen_there and not drilled and (outcome is True or (unconnected and outcome is False))
        alike = outcome.kind == reason or (outcome.kind in SHOWN_BY_LIST and reason in SHOWN_BY_LIST)
        if alike and unconnected:
            return outcome
        route = deployment.route(lease.key_id)
        if not alike or not widespread or route in self._believed:
            self._believed.discard(route)
            return False
        self._believed.add(route)
        return outcome

    async def _settle_cooldown(
        self, due: ProbeCandidate, provider: Provider, key: ProviderKey | None, outcome: Shown | None
    ) -> None:
        if due.reason == FailureKind.KEY_REJECTED:
            if outcome is True:
                self._health.probed(due, None)
                return
            if isinstance(outcome, UpstreamFailure):
                if outcome.kind is FailureKind.KEY_REJECTED:
                    self._health.probed(due, outcome)
                return
        deployment = self._deployment(provider, due.model)
        if isinstance(outcome, UpstreamFailure) or deployment is None or not self._may_chat(deployment):
            return
        shown = await self._call(deployment, key)
        if shown is True:
            self._health.probed(due, None)
        elif shown and shown.kind in (FailureKind.RATE_LIMITED, FailureKind.KEY_REJECTED):
            self._health.probed(due, shown)

    async def _settle_by_chat(self, lease: Lease) -> None:
        if not self._may_chat(lease.deployment) or self._is_cooling(lease):
            return
        shown = await self._call(lease.deployment, lease.key)
        if isinstance(shown, UpstreamFailure):
            lease.fail(shown)
        elif shown:
            lease.succeed()

    def _is_cooling(self, lease: Lease) -> bool:
        """Return whether the key is in cooldown for this model, so that a call is useless."""
        where, model = (lease.deployment.provider.name, lease.key_id, True), lease.deployment.model
        troubles = self._health.probe_candidates()
        return any((due.provider, due.key_id, due.cooldown) == where and due.model in (None, model) for due in troubles)

    def _widespread(self, provider: Provider, key: ProviderKey | None) -> bool:
        """Return whether most of the provider's models fail with this key, which is then not the models' fault."""
        key_id = key.id if key else KEYLESS
        troubles = self._health.probe_candidates()
        failing = {
            due.model for due in troubles if (due.provider, due.key_id, due.cooldown) == (provider.name, key_id, False)
        }
        known = {each.model for each in self._snapshot().deployments.values() if each.provider.name == provider.name}
        return 2 * len(failing) > len(known)

    def _may_chat(self, deployment: Deployment) -> bool:
        return deployment.kind == "chat" and (self._snapshot().probes.chat or deployment.provider.dialect == "mock")

    async def _list(self, provider: Provider, key: ProviderKey | None) -> Shown | None:
        """Request the list. True: received. False: an inconclusive answer. `None`: the dialect has no list."""
        request = self._dialects[provider.dialect].model_list(provider, key)
        if request is None:
            return None
        try:
            async with self._answer(provider, request, model=""):
                return True
        except UpstreamFailure as failure:
            self._cleaners.of(provider).failure(failure)
            counts = self._health.rule(failure).breaker and failure.failure_class not in REPEATED
            serious = failure.kind is FailureKind.KEY_REJECTED or counts  # a missing list is no failure
            return failure if serious or failure.status is None else False

    async def _call(self, deployment: Deployment, key: ProviderKey | None) -> Shown:
        """Make a chat call of one token. True if it succeeded, or if the model rejected the request as invalid.

        False if it was not sent: no capacity, or the target cannot be called.
        """
        body = {"model": deployment.name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        raw = compact(body)
        try:
            call = read_chat(raw, {}, id="req_probe", request_id="req_probe", snapshot=self._snapshot())
            request = self._dialects[deployment.provider.dialect].request(call, Target(deployment), key)
        except (ProxyError, UpstreamFailure):
            return False
        reservation = await self._limits.reserve(deployment, key.id if key else KEYLESS, CALL_TOKENS)
        if isinstance(reservation, Wait):
            return False
        used: int | None = None
        try:
            shown, usage = await self._called(deployment, call, request)
            if isinstance(shown, UpstreamFailure):
                used = None if shown.kind is FailureKind.FIRST_TOKEN_TIMEOUT else 0  # unknown after a timeout
            elif usage:
                used = usage.input + usage.output
        finally:
            if reservation is not None:
                self._limits.settle(reservation, used)
        self._count(deployment, _words(shown), usage)
        if not isinstance(shown, UpstreamFailure):
            return shown
        self._cleaners.of(deployment.provider).failure(shown)
        return shown if shown.kind is not FailureKind.BAD_REQUEST else True

    async def _called(self, deployment: Deployment, call: Call, request: UpstreamRequest) -> tuple[Shown, Usage | None]:
        """Send a call; return its outcome, and its usage if the provider reported it."""
        provider, dialect = deployment.provider, self._dialects[deployment.provider.dialect]
        try:
            async with self._answer(provider, request, model=deployment.model) as response:
                decoder = dialect.decoder(call, Target(deployment), response.headers)
                await until_commit(decoder, response)
        except UpstreamFailure as failure:
            return failure, None
        return True, decoder.usage

    @asynccontextmanager
    async def _answer(self, provider: Provider, request: UpstreamRequest, *, model: str) -> AsyncIterator[Response]:
        """Yield the response, a 2xx one. Raises `UpstreamFailure` for other answers and on timeout.

        Simulated failures of `model` and of all models apply. Uses a new connection, because a stale pooled one would
        show nothing about the provider.
        """
        dialect = self._dialects[provider.dialect]
        transport = self._simulator.over(self._transports[provider.dialect], provider.name, model)
        try:
            async with (
                asyncio.timeout(PATIENCE),
                aclosing(await transport.send(replace(request, fresh=True))) as response,
            ):
                if not 200 <= response.status < 300:
                    body = await read_error(response, ERROR_BODY)
                    raise dialect.failure(response.status, response.headers, body, self._clock.time())
                yield response
        except TimeoutError:
            raise UpstreamFailure(FailureKind.FIRST_TOKEN_TIMEOUT, "the probe received no answer in time") from None

    def _leases(
        self, provider: Provider, key: ProviderKey | None, dues: list[ProbeCandidate]
    ) -> list[tuple[Lease, str]]:
        """Return a lease for each breaker that grants one, with the reason why it is open."""
        leases = []
        for due in dues:
            deployment = self._deployment(provider, due.model)
            if deployment and (lease := self._health.probe(deployment, key)):
                leases.append((lease, due.reason))
        return leases

    def _target(self, provider: str, key_id: str) -> tuple[Provider, ProviderKey | None] | None:
        found = self._snapshot().providers.get(provider)
        if found is None:
            return None
        if key_id == KEYLESS and not found.keys:
            return found, None
        return next(((found, key) for key in found.keys if key.id == key_id), None)

    def _deployment(self, provider: Provider, model: str | None) -> Deployment | None:
        """Return the deployment, any one if `model` is `None`, or a minimal one for a model that clients named."""
        known = self._snapshot().deployments
        if model is None:
            return next((each for each in known.values() if each.provider.name == provider.name), None)
        found = known.get(f"{provider.name}/{model}")
        if found is None and provider.any_model:
            return Deployment(provider, model, listed=False, timeouts=provider.timeouts)
        return found


def _ahead(due: ProbeCandidate) -> float:
    """Return how many seconds before the end a probe may be sent."""
    return min(AHEAD, due.length * AHEAD_SHARE)


def _words(outcome: Shown | None) -> str:
    if isinstance(outcome, UpstreamFailure):
        return outcome.kind.value
    return "ok" if outcome else "unclear"
