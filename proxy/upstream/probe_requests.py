"""The requests of background probes: a provider's list of models, which costs nothing, and a chat call of one token.

Both use a new connection, because a stale pooled one would show nothing about the provider. The chat call counts like
any other attempt in limits, budgets, metrics and cost.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from msgspec import structs

from proxy.capacity.budgets import Budgets
from proxy.capacity.limits import Limits
from proxy.capacity.store import Wait
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.dialects import DialectName
from proxy.core.errors import ProxyError
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import compact
from proxy.core.ledger import Ledger
from proxy.core.model import KEYLESS, Deployment, Provider, ProviderKey
from proxy.core.money import worst_case_nusd
from proxy.core.plan import Target
from proxy.core.principal import Principal
from proxy.core.record import AttemptOutcome, AttemptRecord, Record, Timings
from proxy.core.record import Outcome as CallOutcome
from proxy.core.snapshot import Live
from proxy.core.usage import Usage
from proxy.core.wire import UpstreamRequest
from proxy.dialects.base import Dialect, DialectKey
from proxy.surfaces.openai.chat import read_chat
from proxy.upstream.commit import read_error, until_commit
from proxy.upstream.costs import real_cost
from proxy.upstream.secrets import Cleaners
from proxy.upstream.simulate import Simulator
from proxy.upstream.transport import Response, Transport

TIMEOUT_SECONDS = 10.0
CALL_TOKENS = 16  # tokens to reserve for a chat call: one word, its framing, and one token of output
PROBE = Principal("probe")
MAX_ERROR_BYTES = 64 * 1024

Outcome = bool | UpstreamFailure  # True: success; False: inconclusive; or the failure
# counts a chat call: deployment, outcome, tokens, nano-dollars
Count = Callable[[Deployment, str, Usage | None, int | None], None]


class ProbeRequests:
    """Sends the requests of probes."""

    def __init__(
        self,
        *,
        live: Live,
        limits: Limits,
        budgets: Budgets,
        transports: Mapping[DialectName, Transport],
        dialects: Mapping[DialectKey, Dialect],
        simulator: Simulator,
        count: Count,
        cleaners: Cleaners,
        clock: Clock,
        ledger: Ledger | None = None,
    ) -> None:
        self._live = live
        self._limits = limits
        self._budgets = budgets
        self._transports = transports
        self._dialects = dialects
        self._simulator = simulator
        self._count = count
        self._cleaners = cleaners
        self._clock = clock
        self._ledger = ledger

    async def model_list(self, provider: Provider, key: ProviderKey | None) -> Outcome | None:
        """Request the list of models: True if it was received, or the failure; `None` if the dialect has no list."""
        request = self._dialects[provider.dialect].model_list(provider, key)
        if request is None:
            return None
        try:
            async with self._response(provider, request, model=""):
                return True
        except UpstreamFailure as failure:
            return self._cleaners.of(provider).failure(failure)

    async def chat(self, deployment: Deployment, key: ProviderKey | None) -> Outcome:
        """Make a chat call of one token. True if it succeeded, or if the model rejected the request as invalid.

        False if it was not sent: no capacity, no budget, or the target cannot be called.
        """
        raw = compact({"model": deployment.name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1})
        key_id = key.id if key else KEYLESS
        try:
            call = read_chat(raw, {}, id="req_probe", request_id="req_probe", snapshot=self._live.snapshot)
            request = self._dialects[deployment.provider.dialect].request(call, Target(deployment), key)
            reservation = await self._limits.reserve(deployment, key_id, CALL_TOKENS)
        except (ProxyError, UpstreamFailure):
            return False
        if isinstance(reservation, Wait):
            return False
        clock = self._clock
        tokens: int | None = 0
        record = Record(f"probe_{secrets.token_hex(12)}", "-", Timings(clock.monotonic()), int(clock.time() * 1e6))
        record.principal, record.call = PROBE, replace(call, endpoint="probe")
        try:
            outcome, attempt = await self._paid(deployment, record, key_id, call, request)
            tokens = attempt.used_tokens
        except ProxyError:  # no budget allows it, or it cannot be recorded: it was not sent
            return False
        except BaseException:
            tokens = None
            raise
        finally:
            if reservation is not None:
                self._limits.settle(reservation, tokens)
        self._count(deployment, outcome_text(outcome), attempt.usage, attempt.cost_nusd)
        if not isinstance(outcome, UpstreamFailure):
            return outcome
        self._cleaners.of(deployment.provider).failure(outcome)
        return outcome if outcome.kind is not FailureKind.BAD_REQUEST else True

    async def _paid(
        self, deployment: Deployment, record: Record, key_id: str, call: Call, request: UpstreamRequest
    ) -> tuple[Outcome, AttemptRecord]:
        """Send a call within the budgets, and record it. Raises `ProxyError` if it was not sent."""
        clock, ledger = self._clock, self._ledger
        nusd = worst_case_nusd(deployment, call.body, len(call.raw), at=int(clock.time() * 1e6))
        reserved = await self._budgets.reserve_probe(deployment, nusd)
        attempt = record.attempt(deployment, key_id, clock.monotonic())
        sent = False
        try:
            if ledger is not None:
                ledger.begin(record, attempt)
            sent = True
            outcome = await self._send(deployment, call, request, attempt)
            if isinstance(outcome, UpstreamFailure):
                attempt.fail(outcome)
                record.end(CallOutcome.ERROR, status=outcome.status or 502, code=outcome.kind)
            else:
                attempt.end(AttemptOutcome.OK)
                record.end(CallOutcome.OK, status=200)
            return outcome, attempt
        finally:
            attempt.close(clock.monotonic())
            if record.outcome is CallOutcome.STARTED:  # it was cancelled
                record.end(CallOutcome.DRAINING)
            if reserved is not None:
                self._budgets.settle(reserved, real_cost(attempt, reserved) if sent else 0, deployment)
            if ledger is not None and sent:
                ledger.close(record)

    async def _send(
        self, deployment: Deployment, call: Call, request: UpstreamRequest, attempt: AttemptRecord
    ) -> Outcome:
        """Send a call; return its outcome, and note its usage if the provider reported it."""
        provider, dialect = deployment.provider, self._dialects[deployment.provider.dialect]
        try:
            async with self._response(provider, request, model=deployment.model) as response:
                decoder = dialect.decoder(call, Target(deployment), response.headers)
                await until_commit(decoder, response)
        except UpstreamFailure as failure:
            return failure
        attempt.first_token, attempt.usage = self._clock.monotonic(), decoder.usage
        return True

    @asynccontextmanager
    async def _response(self, provider: Provider, request: UpstreamRequest, *, model: str) -> AsyncIterator[Response]:
        """Yield a 2xx response. Raises `UpstreamFailure` for other responses and on timeout.

        Simulated failures of `model` and of all models apply.
        """
        dialect = self._dialects[provider.dialect]
        transport = self._simulator.over(self._transports[provider.dialect], provider.name, model)
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                aclosing(await transport.send(structs.replace(request, fresh=True))) as response,
            ):
                if not 200 <= response.status < 300:
                    body = await read_error(response, MAX_ERROR_BYTES)
                    raise dialect.failure(response.status, response.headers, body, self._clock.time())
                yield response
        except TimeoutError:
            raise UpstreamFailure(FailureKind.FIRST_TOKEN_TIMEOUT, "the probe received no answer in time") from None


def outcome_text(outcome: Outcome | None) -> str:
    """Return the outcome for log lines and metrics."""
    if isinstance(outcome, UpstreamFailure):
        return outcome.kind.value
    return "ok" if outcome else "unclear"
