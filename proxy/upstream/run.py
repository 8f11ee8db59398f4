"""What one call has left on its way through its plan: targets, attempts, time, patience."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy.core.clock import Clock
from proxy.core.failures import FREE, FailureKind, UpstreamFailure, class_of
from proxy.core.types import Call, Deployment, Plan, Record, Target


@dataclass(frozen=True, slots=True)
class FailedTarget:
    """One target of a call, how it failed, and with which key."""

    deployment: Deployment
    failure: UpstreamFailure
    key_id: str | None = None


# Of several failures the client hears of the lowest: one that time mends, one of its own request, one that may pass,
# one that an operator must mend, and last what was never sent.
_RANKS = {
    FailureKind.RATE_LIMITED: 0,
    FailureKind.OVERLOADED: 0,
    FailureKind.BAD_REQUEST: 1,
    FailureKind.CONTENT_FILTERED: 1,
    FailureKind.KEY_REJECTED: 3,
    FailureKind.FORBIDDEN: 3,
    FailureKind.MODEL_MISSING: 3,
    FailureKind.WRONG_ADDRESS: 3,
    FailureKind.UNSUPPORTED: 4,
}
_PASSES = 2  # rank of all others


def worst(failed: Sequence[FailedTarget]) -> FailedTarget:
    """The failure that the client hears of: of those that time mends the one that names the shortest time, else the
    newest."""

    def order(number: int) -> tuple[int, float, int]:
        failure = failed[number].failure
        rank = _RANKS.get(failure.kind, _PASSES)
        wait = float("inf") if failure.retry_after is None else failure.retry_after
        return rank, wait if rank == 0 else 0.0, -number

    return failed[min(range(len(failed)), key=order)]


@dataclass(slots=True)
class Run:
    """The attempt loop's notes on one call; times are monotonic seconds."""

    clock: Clock
    call: Call
    plan: Plan
    record: Record
    targets: list[Target]  # not yet tried, or worth another try
    attempts: int  # that may still be made
    patience: float  # seconds that may still be spent in the queue
    since: float  # when its deadlines began
    failed_targets: list[FailedTarget] = field(default_factory=list)  # in the order in which they failed
    outgrown: Deployment | None = None  # the last one whose context was too small
    retries: Counter[str] = field(default_factory=Counter)  # with the same key, by deployment
    cut_short: bool = False  # by the retry budget, whatever targets are left: another call may do better
    may_force: bool = True  # targets behind open breakers are asked where nothing else is left

    @property
    def spare(self) -> bool:
        """Whether an attempt can be spent on the same target without taking one that a later target needs."""
        return self.attempts > len(self.targets)

    @property
    def pays(self) -> bool:
        """Whether the next attempt is paid from the retry budget.

        A call's first one is not, nor is what follows when a well target has found fault with the call itself: that is
        no storm, however many such calls there are.
        """
        if not self.record.attempts:
            return False
        return class_of(self.record.attempts[-1].outcome) not in FREE

    @property
    def left(self) -> float:
        """Seconds until the hard deadline."""
        return self.since + self.call.snapshot.deadline.hard - self.clock.monotonic()

    @property
    def late(self) -> bool:
        """The soft deadline has passed: fast targets first, and none twice."""
        return self.clock.monotonic() - self.since >= self.call.snapshot.deadline.soft

    @property
    def only(self) -> bool:
        """The plan has no other target."""
        return len(self.plan.targets) == 1

    @property
    def failure(self) -> UpstreamFailure | None:
        """The failure that the client hears of, so far."""
        return worst(self.failed_targets).failure if self.failed_targets else None

    def eligible(self) -> list[Target]:
        """The targets that may still do: after one that was too small, only larger ones, and none that is too small
        by its configured window, unless it is the only one."""
        targets = self.targets
        if len(self.plan.targets) > 1 and any(_is_too_small(target, self.plan) for target in targets):
            fitting = [target for target in targets if not _is_too_small(target, self.plan)]
            targets = fitting if fitting or self.failed_targets else targets
        if self.outgrown is None:
            return targets
        return [target for target in targets if _may_be_larger(target.deployment, self.outgrown)]

    def predict(self, seconds: float) -> None:
        """The queue foresees a wait."""
        self.record.predicted_wait += seconds

    def failed(self, target: Target, failure: UpstreamFailure) -> bool:
        """Note that `target` has failed; whether another one may do."""
        if all(failure is not each.failure for each in self.failed_targets):
            self.failed_targets.append(FailedTarget(target.deployment, failure, self._key_of(target, failure)))
        if failure.verdict.larger_only:
            self.outgrown = target.deployment
        if failure.kind is FailureKind.RATE_LIMITED and failure.retry_after is not None:
            self._later(target)  # it may be its turn again before our patience is over: 0 is at once
        if failure.kind is FailureKind.KEY_REJECTED and len(target.deployment.provider.keys) > 1:
            self._later(target)  # its other keys may do, also those behind an open breaker
        if failure.kind is FailureKind.CONTENT_FILTERED:
            return self.plan.content_fallback
        return failure.verdict.fall_back

    def _key_of(self, target: Target, failure: UpstreamFailure) -> str | None:
        """The id of the key with which the target's last attempt was made; None if nothing was sent."""
        if failure.kind is FailureKind.UNSUPPORTED:
            return None
        provider, model = target.deployment.provider.name, target.deployment.model
        made = (each for each in reversed(self.record.attempts) if (each.provider, each.model) == (provider, model))
        return next((attempt.key_id for attempt in made), None)

    def try_again(self, target: Target) -> None:
        """It is the next one, as soon as there is room again."""
        self.targets.insert(0, target)

    def _later(self, target: Target) -> None:
        if target not in self.targets:
            self.targets.append(target)


def new_run(clock: Clock, call: Call, plan: Plan, record: Record) -> Run:
    """At the start of a call's attempts."""
    asked = call.options.max_wait_seconds
    patience = call.snapshot.queue.max_wait if asked is None else asked
    attempts = call.snapshot.retry.attempts
    return Run(clock, call, plan, record, list(plan.targets), attempts, patience, since=record.started)


def _is_too_small(target: Target, plan: Plan) -> bool:
    window = target.deployment.context_window
    return window is not None and window < plan.input_tokens


def _may_be_larger(deployment: Deployment, than: Deployment) -> bool:
    """An unknown context window passes, as it does everywhere."""
    before = than.context_window
    return before is None or deployment.context_window is None or deployment.context_window > before
