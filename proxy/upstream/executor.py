"""The attempt loop: attempts the targets in order until one answers.

The tables of `core/failures.py` decide what follows from a failure. A failure before the commit point leads to a retry
or fallback that the client does not see; `relay.py` handles failures after it. Attempts beyond a call's first count
against one retry budget of the whole process.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from proxy.core.backoff import delay
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import InvalidRequest, ProxyError, RateLimited, UpstreamRejected
from proxy.core.failures import FailureKind, FailureRule, UpstreamFailure
from proxy.core.limited import ModelLimits
from proxy.core.model import Deployment
from proxy.core.plan import Plan, Target
from proxy.core.record import Record
from proxy.core.retry_budget import RetryBudget
from proxy.upstream.attempt import Attempt
from proxy.upstream.attempts import Attempts
from proxy.upstream.continuation import Continuation, may_continue
from proxy.upstream.health import Block, Health, Lease
from proxy.upstream.hedge import Hedge
from proxy.upstream.outcome import deadline_error, error_for, nothing_tried
from proxy.upstream.own_keys import OwnKeys
from proxy.upstream.relay import Relay
from proxy.upstream.run import Run, new_run
from proxy.upstream.slots import Picked, Slots


class Executor:
    """Executes plans. One instance serves all calls."""

    def __init__(
        self,
        *,
        attempts: Attempts,
        health: Health,
        slots: Slots,
        budget: RetryBudget,
        hedge: Hedge,
        clock: Clock,
        rng: random.Random,
        own_keys: OwnKeys | None = None,
    ) -> None:
        self._attempts = attempts
        self._health = health
        self._slots = slots
        self._budget = budget
        self._hedge = hedge
        self.clock = clock
        self._rng = rng
        self._own_keys = own_keys  # `None`: users cannot have any

    async def run(self, call: Call, plan: Plan, record: Record) -> Relay:
        """Return the first answer that starts; the caller closes it. Raises `ProxyError` when no target can answer."""
        if self._own_keys is not None:
            plan = self._own_keys.apply(call, plan) or await self._own_keys.load(call, plan)
        run = new_run(self.clock, call, plan, record)
        self._budget.called(record.timings.started)
        attempt = await self.first(run)
        try:
            rescue = None
            if call.snapshot.mid_stream == "continue" and not attempt.native and may_continue(run, attempt.target):
                rescue = Continuation(self, attempt)
            return Relay(attempt, self.clock, rescue)
        except BaseException:
            await attempt.close()
            raise

    async def count(self, call: Call, plan: Plan, record: Record) -> Relay | None:
        """Return the answer of the first target to a call that only counts tokens; `None` if it does not answer.

        Providers limit counting apart from their models' answers, and some do not have it. So nothing is reserved,
        waited for or tried again, and the outcome shows nothing about the target. Raises `UpstreamRejected` for a wrong
        request.
        """
        if self._own_keys is not None:
            plan = self._own_keys.apply(call, plan) or await self._own_keys.load(call, plan)
        run, target = new_run(self.clock, call, plan, record), plan.targets[0]
        lease = self._health.lease(target.deployment, key_id=call.options.key_id)
        if lease is None:
            return None
        lease.silence()
        try:
            attempt = None if lease.is_trial else self._attempts.new(run, target, lease)
            if attempt is not None:
                await attempt.open()
        except UpstreamFailure as failure:
            run.failed(target, failure)
            error = self._error(run, None)
            if isinstance(error, UpstreamRejected):
                raise error from None
            return None
        except ProxyError:
            return None
        if attempt is None:
            return None
        try:
            return Relay(attempt, self.clock, None)
        except BaseException:
            await attempt.close()
            raise

    async def first(self, run: Run) -> Attempt:
        """Return the first attempt that reaches its commit point. Raises `ProxyError` if none does."""
        refusal: ProxyError | None = None
        at_once = len(run.plan.targets) == 1 and run.outgrown is None and run.attempts
        picked = self._slots.take_at_once(run.call, run.targets, run.plan) if at_once else None
        while run.attempts:
            force = False
            if picked is None:
                try:
                    picked = await self._pick(run)
                except (RateLimited, InvalidRequest) as exc:
                    refusal = exc
            if picked is None:
                force, picked = True, await self._force(run)
            if picked is None:
                break
            target, lease = picked
            picked = None
            run.targets.remove(target)
            result = await self._try(run, target, lease, force=force)
            if isinstance(result, Attempt):
                return result
            if not run.failed(target, result):
                break
        raise self._error(run, refusal)

    def _error(self, run: Run, refusal: ProxyError | None) -> ProxyError:
        """Return the client's error; `refusal` is the error of the queue, if any."""
        if run.failure is None and run.left <= 0:
            return deadline_error(run.call.snapshot.deadline.hard)
        blocks = self._blocks(run)
        if run.failure is None:
            return refusal or nothing_tried(blocks)
        error = error_for(run.failed_targets, run.record.attempts, only=run.only, rules=run.call.snapshot.failures)
        error.retryable = error.retryable or run.cut_short
        if isinstance(error, RateLimited):
            waits = [block.retry_after for _, block in blocks if block.reason == FailureKind.RATE_LIMITED]
            own = error.retry_after if run.failure.kind is FailureKind.OVER_LIMIT else None
            queued = refusal.retry_after if isinstance(refusal, RateLimited) else None
            waits += [seconds for seconds in (own, queued) if seconds is not None]
            error.retry_after = min(waits, default=error.retry_after)  # the earliest of all
        return error

    async def _pick(self, run: Run) -> Picked | None:
        """Return the next target with capacity, after a wait if that helps; `None` if waiting cannot help.

        Raises `RateLimited` if the wait would be too long, `InvalidRequest` if the call exceeds every limit.
        """
        if run.late and len(run.targets) > 1:
            measured = self._health.latencies()
            family = run.plan.family  # an open tool loop leaves it last
            run.targets.sort(
                key=lambda each: (
                    bool(family) and each.deployment.name not in family,
                    _latency(each.deployment, measured),
                )
            )
        targets = run.eligible()
        if not targets:
            return None
        if picked := self._slots.take_at_once(run.call, targets, run.plan):
            return picked
        if run.record.model_limits is not None:
            targets = await self._allowed(run, targets, run.record.model_limits)
            if not targets:
                return None
        began = self.clock.monotonic()
        patience = max(0.0, min(run.patience, run.left))
        try:
            return await self._slots.first(
                run.call, targets, run.plan.input_tokens, max_wait=patience, predicted=run.predict
            )
        finally:
            self._waited(run, began)

    async def _allowed(self, run: Run, targets: list[Target], limits: ModelLimits) -> list[Target]:
        """Return the targets that the caller's limits of models allow now; no call queues for the others."""
        allowed = []
        for target in tuple(targets):  # which may be the list of the run
            refusal = await limits.refusal(target.deployment)
            if refusal is None:
                allowed.append(target)
            else:
                run.targets.remove(target)
                run.failed(target, refusal)
        return allowed

    def _waited(self, run: Run, began: float) -> None:
        seconds = self.clock.monotonic() - began
        run.patience -= seconds
        run.record.timings.queue_seconds += seconds

    async def _try(self, run: Run, target: Target, lease: Lease, *, force: bool) -> Attempt | UpstreamFailure:
        """Attempt one target with its retries and keys, beginning with `lease`."""
        avoid: set[str] = set()
        failure: UpstreamFailure | None = None
        while True:
            try:
                attempt = self._attempts.new(run, target, lease)
            except BaseException as exc:
                self._slots.release(lease)
                if not isinstance(exc, InvalidRequest):
                    raise
                return UpstreamFailure(FailureKind.UNSUPPORTED, str(exc), param=exc.param, code=exc.error_code)
            pays = bool(run.record.attempts) and run.pays
            if pays or run.record.model_limits is not None:
                refusal = await self._refusal(run, attempt, pays=pays)
                if refusal is not None:
                    return failure or refusal
            try:
                if run.call.snapshot.hedge.enabled:
                    return await self._hedge.open(run, attempt)
                await attempt.open()
                return attempt
            except UpstreamFailure as exc:
                if not exc.verdict.sent:
                    self._budget.give_back(self.clock.monotonic(), int(pays))
                    return failure or exc
                run.next_key(target, failure, exc)
                failure = exc
            again = None if force or not run.spare else await self._retry(run, target, lease, failure, avoid)
            if again is None:
                return failure
            lease = again

    async def _refusal(self, run: Run, attempt: Attempt, *, pays: bool) -> UpstreamFailure | None:
        """Return why an attempt is not made, and close it: a limit of the caller, or the retry budget if it `pays`."""
        limits = run.record.model_limits
        if limits is not None and (refusal := await attempt.reserve(limits)) is not None:
            return refusal
        if pays and not self._budget.take(self.clock.monotonic()):
            await attempt.close()
            run.attempts, run.cut_short = 0, True  # the call ends with its last failure
            return run.failure or UpstreamFailure(FailureKind.OVERLOADED, "retry budget exhausted")
        return None

    async def _retry(
        self, run: Run, target: Target, lease: Lease, failure: UpstreamFailure, avoid: set[str]
    ) -> Lease | None:
        """Return a lease to retry the same target, with another key or after a wait; `None` without a retry.

        `avoid` holds the keys that failed.
        """
        rule = self._health.rule(failure)
        other_key = rule.key != "none" or failure.verdict.other_key
        if other_key:
            avoid.add(lease.key_id)  # another key of the same target may work
        elif not await self._backed_off(run, target, failure, rule):
            return None
        again = await self._slots.take(run.call, target.deployment, run.plan.input_tokens, avoid=frozenset(avoid))
        if isinstance(again, Lease):
            return again
        if again is not None and not other_key:
            run.try_again(target)  # its capacity was taken meanwhile; wait for it as for any target
        return None

    async def _backed_off(self, run: Run, target: Target, failure: UpstreamFailure, rule: FailureRule) -> bool:
        """Wait before a retry of the same target; return `False` if there must be no retry."""
        policy, retries = run.call.snapshot.retry, run.retries.get(target.deployment.name, 0)
        most = policy.same_target if rule.retries is None else rule.retries
        if retries >= most or run.late or not failure.verdict.fall_back or failure.verdict.larger_only:
            return False
        longest = policy.max_backoff if rule.max_backoff is None else rule.max_backoff
        shortest = policy.backoff if rule.backoff is None else rule.backoff
        pause = max(delay(shortest, longest, retries + 1, self._rng), failure.retry_after or 0.0)
        if pause > longest:
            return False  # the provider demands a longer wait than the maximum
        run.record.timings.upstream_begins(self.clock.monotonic())
        try:
            await self.clock.sleep(min(pause, max(0.0, run.left)))
        finally:
            run.record.timings.upstream_ends(self.clock.monotonic())
        run.retries[target.deployment.name] = retries + 1
        return True

    async def _force(self, run: Run) -> Picked | None:
        """Return a target despite its open breaker, if no other target is left."""
        if not run.may_force:
            return None
        key_id = run.call.options.key_id
        blocks = [(target, self._health.blocked(target.deployment, key_id)) for target in run.eligible()]
        barred = [(target, block) for target, block in blocks if block and block.reason == "circuit_open"]
        if not barred:
            return None
        targets = [target for target, _ in sorted(barred, key=lambda each: not each[1].slow)]  # slow ones answer
        began = self.clock.monotonic()
        patience = max(0.0, min(run.patience, run.left))
        try:
            return await self._slots.last(
                run.call, targets, run.plan.input_tokens, max_wait=patience, sparing=run.failure is not None
            )
        except RateLimited:
            return None
        finally:
            self._waited(run, began)

    def _blocks(self, run: Run) -> list[tuple[Deployment, Block]]:
        """Return the reason why each unavailable target of the plan is blocked."""
        key_id = run.call.options.key_id
        blocks = [(each.deployment, self._health.blocked(each.deployment, key_id)) for each in run.plan.targets]
        return [(deployment, block) for deployment, block in blocks if block]


def _latency(deployment: Deployment, measured: Mapping[str, float]) -> float:
    return measured.get(deployment.name, deployment.latency if deployment.latency is not None else float("inf"))
