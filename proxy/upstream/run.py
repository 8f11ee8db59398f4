"""The state of one call in the attempt loop: remaining targets, attempts, time and queue time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.failures import FREE, FailureKind, Rank, UpstreamFailure, class_of
from proxy.core.model import Deployment
from proxy.core.plan import Plan, Target
from proxy.core.record import Record
from proxy.upstream.own_keys import after_own_key


@dataclass(frozen=True, slots=True)
class FailedTarget:
    """A failed target of a call, with its failure and the key used."""

    deployment: Deployment
    failure: UpstreamFailure
    key_id: str | None = None


def worst(failed: Sequence[FailedTarget]) -> FailedTarget:
    """Return the failure to report: the lowest rank, then the shortest `retry_after` for rank 0, then the newest."""

    def order(number: int) -> tuple[int, float, int]:
        failure = failed[number].failure
        rank = failure.verdict.rank
        if failure.kind is FailureKind.OVER_LIMIT and failure.retry_after is None:
            rank = Rank.UNSENT  # no wait mends it
        wait = float("inf") if failure.retry_after is None else failure.retry_after
        return rank, wait if rank is Rank.WAIT else 0.0, -number

    return failed[min(range(len(failed)), key=order)]


class Run(Struct):
    """The attempt loop's state for one call; times are monotonic seconds."""

    clock: Clock
    call: Call
    plan: Plan
    record: Record
    targets: list[Target]  # not attempted yet, or worth another attempt
    attempts: int  # attempts left
    patience: float  # seconds left for waiting in the queue
    since: float  # start of the deadlines
    failed_targets: list[FailedTarget] = []  # in order of failure
    outgrown: Deployment | None = None  # the last deployment whose context window was too small
    retries: dict[str, int] = {}  # retries with the same key, by deployment
    cut_short: bool = False  # the retry budget ended the call; a later call may succeed
    may_force: bool = True  # if no other target is left, attempt those with open breakers

    @property
    def spare(self) -> bool:
        """Whether the same target can be retried without using an attempt that a later target needs."""
        return self.attempts > len(self.targets)

    @property
    def pays(self) -> bool:
        """Whether the next attempt counts against the retry budget.

        The first attempt does not, nor does an attempt after a healthy target rejected the call itself, because such
        calls do not indicate an outage.
        """
        if not self.record.attempts:
            return False
        return class_of(self.record.attempts[-1].outcome) not in FREE

    @property
    def left(self) -> float:
        """The seconds until the hard deadline."""
        return self.since + self.call.snapshot.deadline.hard - self.clock.monotonic()

    @property
    def late(self) -> bool:
        """Whether the soft deadline has passed: fast targets come first, without retries."""
        return self.clock.monotonic() - self.since >= self.call.snapshot.deadline.soft

    @property
    def only(self) -> bool:
        """Whether the plan has one deployment only."""
        return len({target.deployment.name for target in self.plan.targets}) == 1

    @property
    def failure(self) -> UpstreamFailure | None:
        """The failure to report if no further attempt is made."""
        return worst(self.failed_targets).failure if self.failed_targets else None

    def eligible(self) -> list[Target]:
        """Return the targets worth an attempt. After a context window was exceeded, only larger ones qualify; a target
        whose configured window is too small qualifies only if it is the only one."""
        targets = self.targets
        if len(self.plan.targets) > 1 and any(_is_too_small(target, self.plan) for target in targets):
            fitting = [target for target in targets if not _is_too_small(target, self.plan)]
            targets = fitting if fitting or self.failed_targets else targets
        if self.outgrown is None:
            return targets
        return [target for target in targets if _may_be_larger(target.deployment, self.outgrown)]

    def predict(self, seconds: float) -> None:
        """Add a wait predicted by the queue, in seconds."""
        self.record.timings.predicted_queue_seconds += seconds

    def failed(self, target: Target, failure: UpstreamFailure) -> bool:
        """Record the failure of `target`; return whether to fall back to another one."""
        if all(failure is not each.failure for each in self.failed_targets):
            # The traceback refers to this run: the cycle would keep the answer in its frames until it is collected.
            failure.__traceback__ = failure.__context__ = failure.__cause__ = None
            self.failed_targets.append(FailedTarget(target.deployment, failure, self._key_of(target, failure)))
        if failure.verdict.larger_only:
            self.outgrown = target.deployment
        if failure.kind is FailureKind.RATE_LIMITED and failure.retry_after is not None:
            self._later(target)  # it may be usable again within the queue time
        if failure.kind is FailureKind.KEY_REJECTED and len(target.deployment.provider.keys) > 1:
            self._later(target)  # its other keys may work, also those with an open breaker
        if target.deployment.provider.own_key is not None:
            after_own_key(self.targets, target.deployment, failure)
        if failure.kind is FailureKind.CONTENT_FILTERED:
            return self.plan.content_fallback
        return failure.verdict.fall_back

    def next_key(self, target: Target, before: UpstreamFailure | None, newest: UpstreamFailure) -> None:
        """Note what an earlier key of `target` has met, where the newest failure would hide that time mends it."""
        if before is None or before.kind is not FailureKind.RATE_LIMITED:
            return
        if newest.kind is FailureKind.KEY_REJECTED:
            self.failed(target, before)

    def _key_of(self, target: Target, failure: UpstreamFailure) -> str | None:
        """Return the key id of the target's last attempt; `None` if nothing was sent."""
        if not failure.verdict.sent:
            return None
        name = target.deployment.name
        attempts = reversed(self.record.attempts)
        return next((attempt.key_id for attempt in attempts if attempt.deployment.name == name), None)

    def try_again(self, target: Target) -> None:
        """Make `target` the next one, once it has capacity."""
        self.targets.insert(0, target)

    def _later(self, target: Target) -> None:
        if target not in self.targets:
            self.targets.append(target)


def new_run(clock: Clock, call: Call, plan: Plan, record: Record) -> Run:
    """Return the state at the start of a call's attempts."""
    asked = call.options.max_wait_seconds
    patience = call.snapshot.queue.max_wait if asked is None else asked
    attempts = call.snapshot.retry.attempts
    return Run(clock, call, plan, record, list(plan.targets), attempts, patience, since=record.timings.started)


def _is_too_small(target: Target, plan: Plan) -> bool:
    window = target.deployment.context_window
    return window is not None and window < plan.input_tokens


def _may_be_larger(deployment: Deployment, than: Deployment) -> bool:
    """Return whether the context window may be larger; an unknown one may be."""
    before = than.context_window
    return before is None or deployment.context_window is None or deployment.context_window > before
