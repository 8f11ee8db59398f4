"""One attempt: a request to one target with one key. Read `Attempt` from top to bottom; its life is

    open     send the request, and read the response to its commit point
    relay    pass the answer on to the client                                  `relay.py`
    close    release the connection, the lease and the reservation

An attempt reports what it shows about its target (success, failure, slowness, limits) to the lease and the limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from msgspec import structs

from proxy.capacity.budget_store import BudgetCharge, BudgetReservation
from proxy.core.clean import Cleaner
from proxy.core.durations import duration_text
from proxy.core.errors import ProxyError
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.limit_headers import NAMES as LIMIT_HEADERS
from proxy.core.limited import ModelLimits, ModelReservation
from proxy.core.money import requested_ceiling
from proxy.core.plan import Target
from proxy.core.record import AttemptOutcome, AttemptRecord
from proxy.core.wire import UpstreamRequest
from proxy.dialects.base import Decoder, Dialect, NativeDecoder
from proxy.dialects.openai.errors import refuses_usage
from proxy.upstream.batches import send_batches
from proxy.upstream.commit import finished, read_error, read_to_commit
from proxy.upstream.costs import real_cost, reserve_worst_case
from proxy.upstream.deadline import Deadline
from proxy.upstream.estimated import estimated_usage
from proxy.upstream.health import SLOW, Lease
from proxy.upstream.outcome import deadline_error
from proxy.upstream.run import Run
from proxy.upstream.transport import Response

if TYPE_CHECKING:
    from proxy.upstream.attempts import Attempts

ERROR_BODY_LIMIT = 256 * 1024
TURNS = 10  # the most event-loop iterations from the start of an attempt to its first content
_WHOLE = (200, 201, 202, 203)  # statuses of complete answers; clients receive 200


class Attempt:
    """One attempt, from the sending of its request to the end of its answer."""

    deadline: Deadline
    decoder: Decoder
    entry: AttemptRecord  # in the call's record; a resent request has one of its own
    response: Response | None = None
    dropped: tuple[str, ...] = ()  # members of the client's request that the target does not receive
    reserved: BudgetReservation | None = None  # from its budgets
    limited: ModelReservation | None = None  # under its caller's limits of models, if any
    sent = False
    committed = 0.0  # monotonic seconds
    held = b""  # the client's bytes up to the commit point
    later_bytes = later_events = 0  # that the client got after the commit point
    ended = False  # the upstream's body has ended
    broken: UpstreamFailure | None = None  # the answer broke off together with its commit point
    _patience = 0.0
    _asks_no_usage = False  # the request was repeated without `stream_options`
    _closed = False

    def __init__(
        self,
        shared: Attempts,
        run: Run,
        target: Target,
        lease: Lease,
        dialect: Dialect,
        request: UpstreamRequest,
        charges: tuple[BudgetCharge, ...] = (),
        *,
        native: bool = False,
    ) -> None:
        self._shared = shared
        self.ledger = shared.ledger
        self.run = run
        self.target = target
        self.lease = lease
        self.dialect = dialect  # translates between the client and the target, or passes the client's own format
        self.request = request
        self.native = native  # the target speaks the client's own format
        self.charges = charges  # its budgets

    @property
    def cleaner(self) -> Cleaner:
        """The filter for what the provider sends."""
        return self._shared.cleaners.of(self.target.deployment.provider)

    async def reserve(self, limits: ModelLimits) -> UpstreamFailure | None:
        """Reserve under the caller's limits of models; if they do not allow the attempt, close it and return why.

        Raises `StateUnavailable` if the limits cannot be counted.
        """
        try:
            result = await limits.reserve(self.target.deployment)
        except BaseException:
            await self.close()
            raise
        if isinstance(result, UpstreamFailure):
            await self.close()
            return result
        self.limited = result
        return None

    async def open(self) -> None:
        """Send, and read to the commit point; if the attempt fails, it is closed.

        Raises `UpstreamFailure`, or `ProxyError` when the call's deadline has passed.
        """
        run = self.run
        left = run.left
        if left <= 0:
            await self.close()
            raise deadline_error(run.call.snapshot.deadline.hard)
        run.attempts -= 1
        try:
            while True:
                try:
                    await self._send(left)
                    break
                except UpstreamFailure as failure:
                    if not self._may_resend(failure):
                        self.lease.fail(self.cleaner.failure(failure))
                        raise
                    response, self.response = self.response, None
                    if response is not None:
                        await response.aclose()
                    left = run.left
            if self._asks_no_usage:
                self._shared.refused_usage.log(self.target)
            self.entry.first_token = self.committed
            seconds = self.committed - self.entry.started
            if run.call.stream and self.was_slow(seconds):
                self.lease.succeed(seconds, slow=True)
            elif self.lease.is_trial and self.broken is None:
                self.lease.succeed()  # settle a probe now, because the stream may take minutes
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Release connection, lease and reservation; only the first call has an effect."""
        if self._closed:
            return
        self._closed = True
        if not self.sent:
            self._shared.slots.release(self.lease)
            self.settle_budgets()
            if self.limited is not None:
                self.limited.end(None)
            return
        response, self.response = self.response, None
        try:
            if self.entry.first_token is not None and self.entry.outcome is AttemptOutcome.STARTED:
                self.estimate_usage()  # the client has left
            self.entry.close(self._shared.clock.monotonic())
            if self.reserved is not None:
                self.settle_budgets()
        finally:
            try:
                if response is not None:
                    await response.aclose()
            finally:
                if not self.lease.settled:
                    self.lease.settle(ok=None)
                if self.lease.reservation:
                    self._shared.slots.give_back(self.lease, self.entry.used_tokens, unused=False)
                if self.limited is not None:
                    self.limited.end(self.entry)

    def estimate_usage(self) -> None:
        """Estimate the usage of an answer that broke off, or whose upstream reports none."""
        run, entry = self.run, self.entry
        call = run.call
        ceiling = requested_ceiling(self.target.overrides) or requested_ceiling(call.body)
        written = cast("NativeDecoder", self.decoder).text_bytes if self.native else None
        entry.usage = estimated_usage(
            call, run.plan, entry.usage, self.held, self.later_bytes, self.later_events, ceiling, written
        )

    def settle_budgets(self) -> None:
        """Replace the reservation from the budgets by the real cost; only the first call has an effect."""
        reserved, self.reserved = self.reserved, None
        if reserved is not None:
            nusd = real_cost(self.entry, reserved) if self.sent else 0
            self._shared.budgets.settle(reserved, nusd, self.target.deployment)

    def was_slow(self, seconds: float, *, lost: bool = False) -> bool:
        """Judge the time to the first content, and return whether slow calls count as failures and this is one.

        `lost`: the attempt lost a hedge, and would have taken longer. The duration of a whole answer is not judged.
        """
        policy, lease = self.run.call.snapshot.slow, self.lease
        teach = lease.is_current
        own = self._shared.pulse.lag * TURNS
        slow = self._shared.slow.judge(lease.deployment.name, seconds, policy, teach=teach, own=own, lost=lost)
        return slow and policy.enabled

    def lost_hedge(self) -> None:
        """Report that another attempt answered first."""
        if self.sent and self.was_slow(self._shared.clock.monotonic() - self.entry.started, lost=True):
            self.lease.settle(ok=False, reason=SLOW)

    async def _send(self, left: float) -> None:
        """Send the request once, within the target's timeouts and the `left` seconds of the call."""
        run, deployment, clock = self.run, self.target.deployment, self._shared.clock
        if self.charges and self.reserved is None:
            native = run.call.native if self.native else None
            self.reserved = await reserve_worst_case(
                self._shared.budgets, self.charges, run, self.target, clock.time(), native
            )
        entry = run.record.attempt(deployment, self.lease.key_id, clock.monotonic())
        if self.ledger is not None:
            self.ledger.begin(run.record, entry)
        self.entry, self.sent = entry, True
        timeouts = deployment.timeouts
        self._patience = min(timeouts.first_token, timeouts.total) if run.call.stream else timeouts.total
        self.deadline = Deadline(min(self._patience, left), self._shared.deadlines)
        try:
            await self._until_commit(min(left, timeouts.total))
        except UpstreamFailure as failure:
            self.entry.fail(failure)
            self.entry.close(clock.monotonic())
            raise
        except asyncio.CancelledError:
            if not self.deadline.expired():
                raise
            timeout = self._timed_out(left)
            if isinstance(timeout, UpstreamFailure):
                self.entry.fail(timeout)
            raise timeout from None
        finally:
            self.deadline.stop()

    async def _until_commit(self, longest: float) -> None:
        """Send the request, and read the response to its commit point.

        For a reasoning model every piece restarts the timeout, because its content may start late, for at most
        `longest` seconds in all.
        """
        shared, run, request = self._shared, self.run, self.request
        deployment, record, clock = self.target.deployment, self.run.record, shared.clock
        transport = shared.transports[deployment.provider.dialect]
        if shared.simulator.active:
            transport = shared.simulator.over(transport, deployment.provider.name, deployment.model)
        self.dropped = request.dropped if self.native else run.call.dropped + request.dropped
        record.dropped = self.dropped
        reasons = run.call.stream and "reasoning" in (deployment.capabilities or ())
        alive = self._keep_alive(longest) if reasons else None
        record.timings.upstream_begins(self.entry.started)
        try:
            self.response = response = await (
                send_batches(transport, request, self.entry.note_part) if request.further else transport.send(request)
            )
            if alive is not None:
                alive()
            self.entry.status = response.status
            headers = response.headers
            if upstream_id := headers.get("x-request-id") or headers.get("request-id"):
                record.upstream_request_id = self.cleaner.header(upstream_id)
            else:
                record.upstream_request_id = None
            if not LIMIT_HEADERS.isdisjoint(headers):
                shared.slots.learn(self.lease, headers)
            if response.status not in _WHOLE:
                raise await self._refusal(response)
            refused = shared.refused_usage
            target = refused.adjusted(self.target) if refused.deployments else self.target
            self.decoder = decoder = self.dialect.decoder(run.call, target, headers)
            self.held, self.ended, self.broken = await read_to_commit(decoder, response, alive)
        finally:
            self.committed = now = clock.monotonic()
            record.timings.upstream_ends(now)
        if self.ended and self.broken is None:
            self.held, self.broken = finished(decoder, self.held)

    async def _refusal(self, response: Response) -> UpstreamFailure:
        """Return the failure of a response that is no answer."""
        if 200 <= response.status < 300:
            message = f"an answer with status {response.status} is not whole"
            return UpstreamFailure(FailureKind.MALFORMED, message)
        body = await read_error(response, ERROR_BODY_LIMIT)
        return self.dialect.failure(response.status, response.headers, body, self._shared.clock.time())

    def _keep_alive(self, longest: float) -> Callable[[], None]:
        """Return a function that restarts the timeout."""
        time, deadline, patience = asyncio.get_running_loop().time, self.deadline, self._patience
        latest = time() + longest

        def alive() -> None:
            deadline.end = max(deadline.end, min(time() + patience, latest))

        return alive

    def _timed_out(self, left: float) -> UpstreamFailure | ProxyError:
        """Return what the deadline means: the target's timeout, or the end of the call's own `left` seconds."""
        timeouts, patience = self.target.deployment.timeouts, self._patience
        if self.run.left > 0 and left > patience:
            whole = patience == timeouts.total or self._shared.clock.monotonic() - self.entry.started >= timeouts.total
            name, seconds = ("total", timeouts.total) if whole else ("first_token", patience)
            message = f"no answer came within `timeouts.{name}` ({duration_text(seconds)})"
            return UpstreamFailure(FailureKind.FIRST_TOKEN_TIMEOUT, message)
        self.entry.end(AttemptOutcome.DEADLINE_EXCEEDED)
        return deadline_error(self.run.call.snapshot.deadline.hard)

    def _may_resend(self, failure: UpstreamFailure) -> bool:
        """Return whether to send again at once, and adapt the request; this uses neither an attempt nor the budget.

        A pooled connection that was stale most likely carried nothing; a new one is used then. An upstream that
        rejects the added `stream_options` receives the request without them, and this is remembered unless it rejects
        that request too.
        """
        shared, request = self._shared, self.request
        if request.asks_usage and refuses_usage(failure):
            shared.refused_usage.add(self.target)
            self._asks_no_usage = True
            adjusted = shared.refused_usage.adjusted(self.target)
            self.request = self.dialect.request(self.run.call, adjusted, self.lease.key)
            return True
        if failure.kind is FailureKind.STALE_CONNECTION and self.run.call.snapshot.retry.stale_post:
            if not request.fresh:
                self.request = structs.replace(request, fresh=True)
                return True
        elif failure.kind is FailureKind.BAD_REQUEST and self._asks_no_usage:
            shared.refused_usage.discard(self.target)
        return False
