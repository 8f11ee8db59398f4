"""The attempt loop: targets in order until one answers, and the relay of that answer.

What follows from a failure is in the table of `core/failures.py`; here it only happens. A fault before the commit point
moves us along unseen; after it, the stream ends with an error event. Whatever an attempt holds (connection, lease) is
released in reverse order, also when the client leaves.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

from proxy.core.backoff import delay
from proxy.core.clock import Clock
from proxy.core.errors import InvalidRequest
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.types import (
    Attempt,
    Call,
    Deployment,
    DialectName,
    Plan,
    Record,
    Reply,
    Target,
    UpstreamRequest,
    UpstreamResponse,
)
from proxy.dialects.base import Dialect
from proxy.upstream.health import Health, Lease
from proxy.upstream.outcome import deadline_error, error_for, nothing_tried
from proxy.upstream.relay import Relay, Start, read_error, timed, until_commit, waiting
from proxy.upstream.transport import Transport

ERROR_BODY_LIMIT = 256 * 1024


@dataclass(slots=True)
class Run:
    """What one call has left: targets not yet tried, attempts, time."""

    call: Call
    record: Record
    targets: list[Target]
    attempts: int
    started: float

    @property
    def spare(self) -> bool:
        """Whether an attempt can be spent on the same target without taking one that a later target needs."""
        return self.attempts > len(self.targets)


class Executor:
    """Runs plans. One instance serves every call."""

    def __init__(
        self,
        *,
        transports: Mapping[DialectName, Transport],
        dialects: Mapping[DialectName, Dialect],
        health: Health,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._transports = transports
        self._dialects = dialects
        self._health = health
        self._clock = clock
        self._rng = rng

    @asynccontextmanager
    async def run(self, call: Call, plan: Plan, record: Record) -> AsyncIterator[Reply]:
        """Yield the first reply that starts. Raises `ProxyError` when no target can answer."""
        async with AsyncExitStack() as stack:
            yield await self._first_reply(stack, call, plan, record)

    async def _first_reply(self, stack: AsyncExitStack, call: Call, plan: Plan, record: Record) -> Reply:
        policy = call.snapshot.retry
        run = Run(call, record, list(plan.targets), policy.attempts, record.started)
        failure: UpstreamFailure | None = None
        outgrown: Deployment | None = None  # the last one whose context was too small
        while run.targets and run.attempts:
            self._prefer_fast(run)
            target = run.targets.pop(0)
            if outgrown and not _may_be_larger(target.deployment, outgrown):
                continue
            result = await self._try(stack, run, target)
            if isinstance(result, Reply):
                return result
            if result and not (failure and result.kind is FailureKind.UNSUPPORTED):
                failure = result
            if result and result.verdict.larger_only:
                outgrown = target.deployment
            if result and not result.verdict.fall_back:
                break
        if failure is None:
            return await self._last_resort(stack, run, plan)
        raise error_for(failure, record.attempts, only=len(plan.targets) == 1)

    async def _try(
        self, stack: AsyncExitStack, run: Run, target: Target, *, force: bool = False
    ) -> Reply | UpstreamFailure | None:
        """One target, with its retries and its keys. None if none of its keys may be used now."""
        policy = run.call.snapshot.retry
        failure: UpstreamFailure | None = None
        retries, rejected = 0, frozenset[str]()
        while run.attempts:
            lease = self._health.lease(target.deployment, key_id=run.call.options.key_id, avoid=rejected, force=force)
            if lease is None:
                return failure
            try:
                request = self._request(run, target, lease)
            except InvalidRequest as exc:
                return UpstreamFailure(FailureKind.UNSUPPORTED, str(exc), param=exc.param, code=exc.error_code)
            run.attempts -= 1
            try:
                return await self._attempt(stack, run, target, lease, request)
            except UpstreamFailure as exc:
                failure = exc
            if force or not run.spare:
                return failure
            if failure.verdict.rest:
                rejected |= {lease.key_id}  # another key of the same target may do
                continue
            if not failure.verdict.retry or retries >= policy.same_target or self._late(run):
                return failure
            retries += 1
            pause = delay(policy, retries, self._rng)
            if failure.retry_after is not None:
                pause = max(pause, failure.retry_after)
            if pause > policy.max_backoff:
                return failure  # the provider wants a longer rest than we give anybody
            await self._pause(run, pause)
        return failure

    def _request(self, run: Run, target: Target, lease: Lease) -> UpstreamRequest:
        """What `target` is sent. Where there is nothing to send, the lease is given back: it showed nothing."""
        try:
            return self._dialects[target.deployment.provider.dialect].request(run.call, target, lease.key)
        except BaseException:
            lease.settle(ok=None)
            raise

    async def _last_resort(self, stack: AsyncExitStack, run: Run, plan: Plan) -> Reply:
        """Nothing was tried, all targets being blocked: an open breaker never keeps us from the last one left."""
        key_id = run.call.options.key_id
        blocks = [(target, self._health.blocked(target.deployment, key_id)) for target in plan.targets]
        for target, block in blocks:
            if block is None or block.reason == "circuit_open":
                result = await self._try(stack, run, target, force=True)
                if isinstance(result, Reply):
                    return result
                if result is not None:
                    raise error_for(result, run.record.attempts, only=len(plan.targets) == 1)
        raise nothing_tried([(target.deployment, block) for target, block in blocks if block])

    async def _attempt(
        self, stack: AsyncExitStack, run: Run, target: Target, lease: Lease, request: UpstreamRequest
    ) -> Reply:
        """One attempt up to its commit point. Raises `UpstreamFailure`, or `ProxyError` when time is over."""
        record, deployment = run.record, target.deployment
        if self._left(run) <= 0:
            lease.settle(ok=None)
            raise deadline_error(run.call.snapshot.deadline.hard)
        attempt = Attempt(deployment.provider.name, deployment.model, lease.key_id)
        record.attempts.append(attempt)
        record.chosen = deployment
        began = self._clock.monotonic()
        async with AsyncExitStack() as held:
            held.callback(lease.settle, ok=None)
            held.callback(self._stopwatch, record, attempt, began)
            try:
                reply = await self._open(held, run, target, lease, request)
            except UpstreamFailure as failure:
                attempt.outcome, attempt.status = failure.kind.value, failure.status or attempt.status
                for secret in _secrets(deployment, lease):
                    failure.redact(secret)
                lease.fail(failure)
                raise
            stack.push_async_exit(held.pop_all())
            return reply

    async def _open(
        self, held: AsyncExitStack, run: Run, target: Target, lease: Lease, request: UpstreamRequest
    ) -> Reply:
        call, deployment, attempt = run.call, target.deployment, run.record.attempts[-1]
        began = self._clock.monotonic()
        left = self._left(run)
        patience = deployment.timeouts.first_token if call.stream else deployment.timeouts.total
        try:
            async with asyncio.timeout(min(patience, left)):
                response, start, chunks = await self._start(held, run, target, request)
        except TimeoutError:
            if left > patience:
                message = f"no answer came within {patience:g} s"
                raise UpstreamFailure(FailureKind.FIRST_TOKEN_TIMEOUT, message) from None
            attempt.outcome = "deadline_exceeded"
            raise deadline_error(call.snapshot.deadline.hard) from None
        now = self._clock.monotonic()
        if lease.permit.probe and start.broken is None:
            lease.succeed()  # a probe has shown what it had to; the stream may take minutes
        self._note_start(run.record, attempt, response, now, began)
        headers = _headers(response, stream=call.stream)
        if self._dialects[deployment.provider.dialect].translates:
            headers["content-type"] = "text/event-stream; charset=utf-8" if call.stream else "application/json"
        events = call.kind in ("chat", "completion") or headers["content-type"].startswith("text/event-stream")
        deadline = began + deployment.timeouts.total
        relay = Relay(self._clock, run.record, attempt, lease, start, deadline=deadline, events=events)
        stream = call.stream or not headers["content-type"].startswith("application/json")
        return Reply(response.status, headers, relay.chunks(chunks, deployment.timeouts.idle), stream)

    async def _start(
        self, held: AsyncExitStack, run: Run, target: Target, request: UpstreamRequest
    ) -> tuple[UpstreamResponse, Start, AsyncGenerator[bytes, None]]:
        """Send, and read up to the commit point."""
        name = target.deployment.provider.dialect
        dialect = self._dialects[name]
        run.record.dropped = request.dropped
        with waiting(self._clock, run.record):
            response = await held.enter_async_context(self._transports[name].send(request))
        run.record.attempts[-1].status = response.status
        run.record.upstream_request_id = response.headers.get("x-request-id") or response.headers.get("request-id")
        chunks = await held.enter_async_context(aclosing(timed(self._clock, run.record, response.chunks)))
        if not 200 <= response.status < 300:
            body = await read_error(chunks, ERROR_BODY_LIMIT)
            raise dialect.failure(response.status, response.headers, body, self._clock.time())
        decoder = dialect.decoder(run.call, target, response.headers)
        return response, await until_commit(decoder, chunks), chunks

    def _note_start(
        self, record: Record, attempt: Attempt, response: UpstreamResponse, now: float, began: float
    ) -> None:
        attempt.first_token_ms = (now - began) * 1000
        record.first_token = now
        record.committed = True

    def _prefer_fast(self, run: Run) -> None:
        """After the soft deadline the fastest of the remaining targets comes first."""
        if self._late(run) and len(run.targets) > 1:
            measured = self._health.latencies()
            run.targets.sort(key=lambda target: _latency(target.deployment, measured))

    def _late(self, run: Run) -> bool:
        return self._clock.monotonic() - run.started >= run.call.snapshot.deadline.soft

    async def _pause(self, run: Run, seconds: float) -> None:
        with waiting(self._clock, run.record):
            await self._clock.sleep(min(seconds, max(0.0, self._left(run))))

    def _left(self, run: Run) -> float:
        """Seconds until the hard deadline."""
        return run.started + run.call.snapshot.deadline.hard - self._clock.monotonic()

    def _stopwatch(self, record: Record, attempt: Attempt, began: float) -> None:
        attempt.ms = (self._clock.monotonic() - began) * 1000
        if attempt.outcome == "started":
            attempt.outcome = "cancelled"


def _secrets(deployment: Deployment, lease: Lease) -> Iterator[str]:
    """What an upstream may have been told and must not repeat to the client."""
    if lease.key is not None:
        yield lease.key.value
    for value in deployment.provider.headers.values():
        yield value
        yield value.rpartition(" ")[2]


def _headers(response: UpstreamResponse, *, stream: bool) -> dict[str, str]:
    """Of the upstream's headers only `content-type` and `openai-*` pass."""
    headers = {name: value for name, value in response.headers.items() if name.startswith("openai-")}
    default = "text/event-stream" if stream else "application/json"
    headers["content-type"] = response.headers.get("content-type") or default
    return headers


def _may_be_larger(deployment: Deployment, than: Deployment) -> bool:
    """An unknown context window passes, as it does everywhere."""
    before = than.context_window
    return before is None or deployment.context_window is None or deployment.context_window > before


def _latency(deployment: Deployment, measured: Mapping[str, float]) -> float:
    return measured.get(deployment.name, deployment.latency if deployment.latency is not None else float("inf"))
