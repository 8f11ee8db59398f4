"""Background probes: what rests or is open is asked again before a user is.

Shortly before the time of a rejected key or an open breaker is over, its provider is asked for its list of models,
which costs nothing. What that shows decides:

| answer                          | a rejected key      | an open breaker                                 |
| ------------------------------- | ------------------- | ----------------------------------------------- |
| the list                        | its rest ends       | closes, where its failures would show there too |
| 401, 403                        | rests on, longer    | stays, and the key rests                        |
| 5xx, no answer, no connection   | is left as it is    | opens again, for twice as long                  |
| no such path, 429               | is left as it is    | closes if it was for want of a connection       |

A list says nothing of slow, broken or malformed answers, nor of room under a rate limit. There, and where there is no
list, one chat call of one token is made if `probes.chat` allows it (the mock is always asked so: it costs nothing);
otherwise the breaker half-opens as it would have, for one user at a time, and a rate limit's rest lasts as the provider
said.

A probe holds one of the breaker's permits, so that it and users never are more than `half_open` together. One provider
and key is asked once for everything that is due; at most `AT_ONCE` probes run, at moments spread by chance.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager

import anyio

from proxy.core.clock import Clock
from proxy.core.errors import ProxyError
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.types import KEYLESS, Deployment, DialectName, Provider, ProviderKey, Snapshot, Target, UpstreamRequest
from proxy.dialects.base import Dialect
from proxy.dialects.model_lists import model_list
from proxy.surfaces.chat import read_chat
from proxy.upstream.health import Health, Lease
from proxy.upstream.health_views import Due
from proxy.upstream.relay import read_error, until_commit
from proxy.upstream.simulate import Simulator
from proxy.upstream.transport import Transport

_LOG = logging.getLogger(__name__)

AT_ONCE = 5
LOOK = 1.0  # seconds between two looks at what is due
AHEAD = 5.0  # seconds before the end, at most; less is taken of short times
AHEAD_SHARE = 0.1
LONG_REST = 60.0  # seconds: a rate limit's rest below it is not worth a call
PATIENCE = 10.0  # seconds for a probe's answer
ERROR_BODY = 64 * 1024

Answered = tuple[Mapping[str, str], AsyncGenerator[bytes, None]]  # headers, body

# failures that the list of models would meet as well
SHOWN_BY_LIST = (FailureKind.CONNECT, FailureKind.SERVER_ERROR, FailureKind.OVERLOADED)


class Prober:
    """Probes what `health` says is troubled, until cancelled."""

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        health: Health,
        transports: Mapping[DialectName, Transport],
        dialects: Mapping[DialectName, Dialect],
        simulator: Simulator,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._snapshot = snapshot
        self._health = health
        self._transports = transports
        self._dialects = dialects
        self._simulator = simulator
        self._clock = clock
        self._rng = rng
        self._moments: dict[Due, float] = {}  # when what is troubled is to be probed; infinite once it was
        self._running: set[tuple[str, str]] = set()  # providers and keys

    async def run(self) -> None:
        """Look every second for what is due. When all is well this costs next to nothing and sends nothing."""
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

    def _due(self) -> dict[tuple[str, str], list[Due]]:
        """What is to be probed now, by provider and key."""
        now = self._clock.monotonic()
        troubles = [due for due in self._health.troubles() if self._worth(due)]
        self._moments = {due: self._moments.get(due, self._moment(due)) for due in troubles}
        found: dict[tuple[str, str], list[Due]] = {}
        ripe = {(due.provider, due.key) for due, moment in self._moments.items() if moment <= now} - self._running
        for due, moment in self._moments.items():
            # what chance would let wait for a moment more comes along
            if (due.provider, due.key) in ripe and moment < float("inf") and due.until - _ahead(due) <= now:
                found.setdefault((due.provider, due.key), []).append(due)
        return found

    def _worth(self, due: Due) -> bool:
        """A rate limit's rest is the provider's own word: only a real call can say that it was too long."""
        if not due.rest or due.reason == FailureKind.KEY_REJECTED:
            return True
        return self._snapshot().probes.chat and due.length >= LONG_REST

    def _moment(self, due: Due) -> float:
        return due.until - _ahead(due) * self._rng.uniform(0.5, 1.0)

    async def _probe(self, provider_name: str, key_id: str, dues: list[Due]) -> None:
        """One provider and key: the list first, then a chat call for whatever the list cannot show."""
        try:
            found = self._target(provider_name, key_id)
            if found is None:
                return  # the configuration has changed
            provider, key = found
            rests = [due for due in dues if due.rest]
            leases = self._leases(provider, key, [due for due in dues if not due.rest])
            try:
                if rests or leases:
                    await self._ask(provider, key, rests, leases)
            finally:
                for lease, _ in leases:
                    lease.settle(ok=None)
        except Exception:
            _LOG.exception("a probe failed by a fault of our own")
        finally:
            self._running.discard((provider_name, key_id))

    async def _ask(
        self, provider: Provider, key: ProviderKey | None, rests: list[Due], leases: list[tuple[Lease, str]]
    ) -> None:
        outcome = await self._list(provider, key)
        fields = {"provider": provider.name, "key": key.id if key else KEYLESS, "outcome": _words(outcome)}
        _LOG.info("probed", extra={"fields": fields})
        rejected = isinstance(outcome, UpstreamFailure) and outcome.kind is FailureKind.KEY_REJECTED
        for due in rests:
            await self._settle_rest(due, provider, key, outcome)
        for lease, reason in leases:
            if isinstance(outcome, UpstreamFailure):
                if rejected and rests:
                    lease.settle(ok=None)  # the key rests on, which has been said above
                else:
                    lease.fail(outcome)
            elif reason in SHOWN_BY_LIST and (outcome or reason == FailureKind.CONNECT):
                lease.succeed()
            else:
                await self._settle_by_chat(lease)

    async def _settle_rest(
        self, due: Due, provider: Provider, key: ProviderKey | None, outcome: bool | UpstreamFailure
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
        failure = await self._call(deployment, key)
        if failure is None or failure.kind in (FailureKind.RATE_LIMITED, FailureKind.KEY_REJECTED):
            self._health.probed(due, failure)

    async def _settle_by_chat(self, lease: Lease) -> None:
        if not self._may_chat(lease.deployment):
            return
        failure = await self._call(lease.deployment, lease.key)
        if failure is None:
            lease.succeed()
        else:
            lease.fail(failure)

    def _may_chat(self, deployment: Deployment) -> bool:
        return deployment.kind == "chat" and (self._snapshot().probes.chat or deployment.provider.dialect == "mock")

    async def _list(self, provider: Provider, key: ProviderKey | None) -> bool | UpstreamFailure:
        """True: the list came. False: somebody answered, or there is no list; that says little. Or what went wrong."""
        request = model_list(provider, key)
        if request is None:
            return False
        try:
            async with self._answer(provider, request):
                return True
        except UpstreamFailure as failure:
            failure.redact(key.value if key else "")
            serious = failure.kind is FailureKind.KEY_REJECTED or self._health.rule(failure).breaker
            return failure if serious else False

    async def _call(self, deployment: Deployment, key: ProviderKey | None) -> UpstreamFailure | None:
        """One token of chat. None if it came, or if the model found fault with the question, which it had to read."""
        body = {"model": deployment.name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        raw = json.dumps(body, separators=(",", ":")).encode()
        dialect = self._dialects[deployment.provider.dialect]
        try:
            call = read_chat(raw, {}, id="req_probe", request_id="req_probe", snapshot=self._snapshot())
            target = Target(deployment)
            async with self._answer(deployment.provider, dialect.request(call, target, key)) as (headers, chunks):
                await until_commit(dialect.decoder(call, target, headers), chunks)
        except UpstreamFailure as failure:
            failure.redact(key.value if key else "")
            return None if failure.kind is FailureKind.BAD_REQUEST else failure
        except ProxyError as exc:
            return UpstreamFailure(FailureKind.UNSUPPORTED, str(exc))
        return None

    @asynccontextmanager
    async def _answer(self, provider: Provider, request: UpstreamRequest) -> AsyncIterator[Answered]:
        """A 2xx's headers and body. Raises `UpstreamFailure` for any other answer, and for none in time."""
        dialect = self._dialects[provider.dialect]
        transport = self._simulator.over(self._transports[provider.dialect], provider.name, "")
        try:
            async with asyncio.timeout(PATIENCE), transport.send(request) as got, aclosing(got.chunks) as chunks:
                if not 200 <= got.status < 300:
                    body = await read_error(chunks, ERROR_BODY)
                    raise dialect.failure(got.status, got.headers, body, self._clock.time())
                yield got.headers, chunks
        except TimeoutError:
            raise UpstreamFailure(FailureKind.FIRST_TOKEN_TIMEOUT, "a probe had no answer in time") from None

    def _leases(self, provider: Provider, key: ProviderKey | None, dues: list[Due]) -> list[tuple[Lease, str]]:
        """A permit for each breaker that gives one, with the reason for which it is open."""
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
        """The deployment, or one of the provider's; of a model that only clients named, as much as is known."""
        known = self._snapshot().deployments
        if model is None:
            return next((each for each in known.values() if each.provider.name == provider.name), None)
        found = known.get(f"{provider.name}/{model}")
        if found is None and provider.any_model:
            return Deployment(provider, model, listed=False, timeouts=provider.timeouts)
        return found


def _ahead(due: Due) -> float:
    """The seconds before the end from which on it may be probed."""
    return min(AHEAD, due.length * AHEAD_SHARE)


def _words(outcome: bool | UpstreamFailure) -> str:
    if isinstance(outcome, UpstreamFailure):
        return outcome.kind.value
    return "ok" if outcome else "unclear"
