"""One attempt: a request to one target with one key, up to its commit point, and the reply that follows.

The resources of an attempt (connection, lease, reservation) are released in reverse order, also when the client
disconnects. This module reports what an attempt shows about its target (success, failure, slowness, limits).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace

from proxy.core.call import Call
from proxy.core.clean import Cleaner
from proxy.core.clock import Clock
from proxy.core.dialects import DialectName
from proxy.core.durations import duration_text
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.plan import Target
from proxy.core.record import AttemptOutcome, AttemptRecord
from proxy.core.slow import SlowCalls
from proxy.core.wire import Reply, UpstreamRequest, UpstreamResponse
from proxy.dialects.base import Dialect
from proxy.dialects.openai.errors import refuses_usage
from proxy.upstream.batches import send_batches
from proxy.upstream.health import SLOW, Lease
from proxy.upstream.outcome import deadline_error
from proxy.upstream.pulse import Pulse
from proxy.upstream.relay import Relay, Rescue, Start, read_error, timed, until_commit, waiting
from proxy.upstream.run import Run
from proxy.upstream.secrets import Cleaners
from proxy.upstream.simulate import Simulator
from proxy.upstream.slots import Slots
from proxy.upstream.transport import Transport

_LOG = logging.getLogger(__name__)

ERROR_BODY_LIMIT = 256 * 1024
_WHOLE = (200, 201, 202, 203)  # statuses of complete answers; clients receive 200
JSON, EVENTS = "application/json", "text/event-stream"
_SOUND = ("audio/", "video/", "application/ogg", "application/octet-stream", EVENTS)  # content types of speech
TURNS = 10  # the most event-loop iterations from the start of an attempt to its first content
# outcomes after which the usage of an attempt is unknown
_UNKNOWN_COST = frozenset(
    {
        FailureKind.FIRST_TOKEN_TIMEOUT,
        AttemptOutcome.DEADLINE_EXCEEDED,
        AttemptOutcome.CANCELLED,
        AttemptOutcome.HEDGE_LOST,
    }
)


@dataclass(frozen=True, slots=True)
class Opened:
    """An attempt that has reached its commit point."""

    attempt: AttemptRecord
    lease: Lease
    target: Target
    request: UpstreamRequest
    response: UpstreamResponse
    start: Start
    chunks: AsyncGenerator[bytes, None]
    began: float  # monotonic seconds
    committed: float


class Attempts:
    """Makes attempts. One instance serves all calls."""

    def __init__(
        self,
        *,
        transports: Mapping[DialectName, Transport],
        dialects: Mapping[DialectName, Dialect],
        slots: Slots,
        simulator: Simulator,
        slow: SlowCalls,
        pulse: Pulse,
        cleaners: Cleaners,
        clock: Clock,
    ) -> None:
        self._transports = transports
        self._dialects = dialects
        self._slots = slots
        self._simulator = simulator
        self._slow = slow
        self._pulse = pulse
        self._cleaners = cleaners
        self._clock = clock
        self._without_usage: set[tuple[str, str]] = set()  # deployments whose upstream rejects `stream_options`

    def request(self, run: Run, target: Target, lease: Lease) -> UpstreamRequest:
        """Return the request for `target`. Raises `InvalidRequest` if its API cannot express the client's request."""
        dialect = self._dialects[target.deployment.provider.dialect]
        return dialect.request(run.call, self._as_learned(target), lease.key)

    async def open(
        self, stack: AsyncExitStack, run: Run, target: Target, lease: Lease, request: UpstreamRequest
    ) -> Opened:
        """Make one attempt up to its commit point; `stack` then owns its resources.

        Raises `UpstreamFailure`, or `ProxyError` when the call's deadline has passed.
        """
        if run.left <= 0:
            self._slots.release(lease)
            raise deadline_error(run.call.snapshot.deadline.hard)
        run.attempts -= 1
        async with AsyncExitStack() as held:
            made: list[AttemptRecord] = []
            held.callback(self._give_back, made, lease)
            held.callback(lease.settle, ok=None)
            try:
                opened = await self._sent(held, run, target, lease, request, made)
            except UpstreamFailure as failure:
                lease.fail(self._cleaners.of(target.deployment.provider).failure(failure))
                raise
            stack.push_async_exit(held.pop_all())
            return opened

    def reply(self, run: Run, opened: Opened, rescue: Rescue | None = None) -> Reply:
        """Return the reply to the client, and record the attempt as the chosen one."""
        record, deployment, response = run.record, opened.target.deployment, opened.response
        record.chosen, record.dropped = deployment, opened.request.dropped
        cleaner = self._cleaners.of(deployment.provider)
        record.upstream_request_id = _upstream_id(cleaner, response)
        record.timings.first_token = opened.committed
        headers = _headers(cleaner, response, stream=run.call.stream)
        if self._dialects[deployment.provider.dialect].translates:
            headers["content-type"] = EVENTS + "; charset=utf-8" if run.call.stream else JSON
        is_chat = run.call.kind in ("chat", "completion")
        headers["content-type"] = _label(headers["content-type"], run.call)
        events = is_chat or headers["content-type"].startswith(EVENTS)
        relay = Relay(
            self._clock,
            record,
            opened.attempt,
            opened.lease,
            opened.start,
            cleaner=cleaner,
            deadline=opened.began + deployment.timeouts.total,
            events=events,
            rescue=rescue,
        )
        stream = run.call.stream or not headers["content-type"].startswith(JSON)
        return Reply(200, headers, relay.chunks(opened.chunks, deployment.timeouts.idle), stream)

    def lost(self, run: Run, lease: Lease, seconds: float) -> None:
        """Report that an attempt lost a hedge after `seconds` without content."""
        if self._too_slow(run, lease, seconds, lost=True):
            lease.settle(ok=False, reason=SLOW)

    async def _sent(
        self,
        held: AsyncExitStack,
        run: Run,
        target: Target,
        lease: Lease,
        request: UpstreamRequest,
        made: list[AttemptRecord],
    ) -> Opened:
        """Send once, or again on a new connection if the pooled one was stale and most likely carried nothing.

        The resend uses neither an attempt nor the retry budget, but is recorded: the upstream may have received both.
        """
        try:
            return await self._once(held, run, target, lease, request, made)
        except UpstreamFailure as failure:
            if request.asks_usage and refuses_usage(failure):
                return await self._unasked(held, run, target, lease, made)
            again = failure.kind is FailureKind.STALE_CONNECTION and run.call.snapshot.retry.stale_post
            if request.fresh or not again:
                raise
        return await self._sent(held, run, target, lease, replace(request, fresh=True), made)

    async def _unasked(
        self, held: AsyncExitStack, run: Run, target: Target, lease: Lease, made: list[AttemptRecord]
    ) -> Opened:
        """Repeat the request without the added `stream_options`, which the upstream rejects; free as well.

        This is remembered for the deployment, unless the upstream also rejects the request without them.
        """
        place = _place(target)
        self._without_usage.add(place)
        try:
            opened = await self._sent(held, run, target, lease, self.request(run, target, lease), made)
        except UpstreamFailure as failure:
            if failure.kind is FailureKind.BAD_REQUEST:
                self._without_usage.discard(place)
            raise
        _LOG.warning(
            "an upstream refuses stream_options; its streams have no usage",
            extra={"fields": {"provider": target.deployment.provider.name, "model": target.deployment.model}},
        )
        return opened

    def _as_learned(self, target: Target) -> Target:
        """Return the target, adjusted to what its upstream has rejected before."""
        if not self._without_usage or _place(target) not in self._without_usage:
            return target
        provider = replace(target.deployment.provider, stream_usage="never")
        return replace(target, deployment=replace(target.deployment, provider=provider))

    async def _once(
        self,
        held: AsyncExitStack,
        run: Run,
        target: Target,
        lease: Lease,
        request: UpstreamRequest,
        made: list[AttemptRecord],
    ) -> Opened:
        deployment = target.deployment
        began = self._clock.monotonic()
        attempt = run.record.attempt(deployment, lease.key_id, began)
        made.append(attempt)
        held.callback(lambda: attempt.close(self._clock.monotonic()))
        try:
            response, start, chunks = await self._in_time(held, run, target, request, attempt)
        except UpstreamFailure as failure:
            attempt.fail(failure)
            attempt.close(self._clock.monotonic())
            raise
        now = self._clock.monotonic()
        attempt.first_token = now
        self._judge(run, lease, start, now - began)
        return Opened(attempt, lease, target, request, response, start, chunks, began, now)

    async def _in_time(
        self, held: AsyncExitStack, run: Run, target: Target, request: UpstreamRequest, attempt: AttemptRecord
    ) -> tuple[UpstreamResponse, Start, AsyncGenerator[bytes, None]]:
        """Send the request and read to the commit point, within the target's timeout and the call's deadline.

        For a reasoning model every received chunk restarts the timeout, because its content may start late.
        """
        timeouts, left = target.deployment.timeouts, run.left
        patience = min(timeouts.first_token, timeouts.total) if run.call.stream else timeouts.total
        reasons = run.call.stream and "reasoning" in (target.deployment.capabilities or ())
        loop = asyncio.get_running_loop()
        latest = loop.time() + min(left, timeouts.total)

        def alive() -> None:
            if reasons:
                timer.reschedule(min(loop.time() + patience, latest))

        try:
            async with asyncio.timeout(min(patience, left)) as timer:
                return await self._start(held, run, target, request, attempt, alive)
        except TimeoutError:
            if run.left > 0 and left > patience:
                whole = patience == timeouts.total or timer.when() == latest
                limit = (
                    f"`timeouts.total` ({duration_text(timeouts.total)})"
                    if whole
                    else f"`timeouts.first_token` ({duration_text(patience)})"
                )
                raise UpstreamFailure(FailureKind.FIRST_TOKEN_TIMEOUT, f"no answer came within {limit}") from None
            attempt.end(AttemptOutcome.DEADLINE_EXCEEDED)
            raise deadline_error(run.call.snapshot.deadline.hard) from None

    async def _start(
        self,
        held: AsyncExitStack,
        run: Run,
        target: Target,
        request: UpstreamRequest,
        attempt: AttemptRecord,
        alive: Callable[[], None],
    ) -> tuple[UpstreamResponse, Start, AsyncGenerator[bytes, None]]:
        """Send the request and read to the commit point."""
        deployment, record = target.deployment, run.record
        name = deployment.provider.dialect
        transport = self._simulator.over(self._transports[name], deployment.provider.name, deployment.model)
        record.dropped = request.dropped
        with waiting(self._clock, record.timings):
            sending = send_batches(transport, request) if request.further else transport.send(request)
            response = await held.enter_async_context(sending)
        alive()
        attempt.status = response.status
        record.upstream_request_id = _upstream_id(self._cleaners.of(deployment.provider), response)
        self._slots.learn(deployment, attempt.key_id or "", response)
        chunks = await held.enter_async_context(aclosing(timed(self._clock, record.timings, response.chunks)))
        if not 200 <= response.status < 300:
            body = await read_error(chunks, ERROR_BODY_LIMIT)
            raise self._dialects[name].failure(response.status, response.headers, body, self._clock.time())
        if response.status not in _WHOLE:
            raise UpstreamFailure(FailureKind.MALFORMED, f"an answer with status {response.status} is not whole")
        decoder = self._dialects[name].decoder(run.call, self._as_learned(target), response.headers)
        return response, await until_commit(decoder, chunks, alive), chunks

    def _judge(self, run: Run, lease: Lease, start: Start, seconds: float) -> None:
        """Judge the target by the time to the first content; the duration of the whole answer does not count."""
        if run.call.stream and self._too_slow(run, lease, seconds):
            lease.slow(seconds)
        elif (lease.permit.probe or lease.permit.forced) and start.broken is None:
            lease.succeed()  # settle a probe now, because the stream may take minutes

    def _too_slow(self, run: Run, lease: Lease, seconds: float, *, lost: bool = False) -> bool:
        policy = run.call.snapshot.slow
        teach = lease.breaker.current(lease.permit)
        own = self._pulse.late * TURNS
        slow = self._slow.judge(lease.deployment.name, seconds, policy, teach=teach, own=own, lost=lost)
        return slow and policy.enabled

    def _give_back(self, made: list[AttemptRecord], lease: Lease) -> None:
        """Settle the reservation with the tokens used: none after an error, unknown after a timeout or false report."""
        last = made[-1]
        tokens: int | None = None
        if last.first_token is not None:
            usage = last.usage
            tokens = usage.input + usage.output if usage and usage.source == "reported" else None
        elif last.outcome not in _UNKNOWN_COST:
            tokens = 0
        self._slots.give_back(lease, tokens, unused=False)


def _upstream_id(cleaner: Cleaner, response: UpstreamResponse) -> str | None:
    return cleaner.header(response.headers.get("x-request-id") or response.headers.get("request-id"))


def _place(target: Target) -> tuple[str, str]:
    return target.deployment.name, target.deployment.provider.base_url


def _label(label: str, call: Call) -> str:
    """Return the content type of an answer, corrected if the upstream's does not fit."""
    kind = label.lower().partition(";")[0].strip()
    if call.kind in ("chat", "completion"):
        wanted = EVENTS if call.stream else JSON
        return label if kind == wanted else wanted
    if call.endpoint == "speech":
        return label if kind.startswith(_SOUND) else "application/octet-stream"
    if call.kind == "audio":
        return JSON if kind == "text/html" else label
    may_stream = call.stream or call.kind == "image"
    return label if kind == JSON or (may_stream and kind == EVENTS) else JSON


def _headers(cleaner: Cleaner, response: UpstreamResponse, *, stream: bool) -> dict[str, str]:
    """Return the upstream headers that pass to the client: `content-type` and `openai-*`."""
    headers = cleaner.headers(response.headers, "openai-")
    default = EVENTS if stream else JSON
    headers["content-type"] = cleaner.header(response.headers.get("content-type")) or default
    return headers
