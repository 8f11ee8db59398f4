"""What one call has left on its way through its plan: targets, attempts, time, patience."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from proxy.core.clock import Clock
from proxy.core.failures import FailureKind, UpstreamFailure, class_of
from proxy.core.types import Call, Deployment, Plan, Record, Target


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
    failure: UpstreamFailure | None = None  # the one to tell the client of, so far
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
        return class_of(self.record.attempts[-1].outcome) != "content"

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

    def eligible(self) -> list[Target]:
        """The targets that may still do: after one that was too small, only larger ones."""
        if self.outgrown is None:
            return self.targets
        return [target for target in self.targets if _may_be_larger(target.deployment, self.outgrown)]

    def predict(self, seconds: float) -> None:
        """The queue foresees a wait."""
        self.record.predicted_wait += seconds

    def failed(self, target: Target, failure: UpstreamFailure) -> bool:
        """Note that `target` has failed; whether another one may do."""
        if self.failure is None or failure.kind is not FailureKind.UNSUPPORTED:
            self.failure = failure
        if failure.verdict.larger_only:
            self.outgrown = target.deployment
        if failure.kind is FailureKind.RATE_LIMITED and failure.retry_after is not None:
            self._later(target)  # it may be its turn again before our patience is over: 0 is at once
        if failure.kind is FailureKind.KEY_REJECTED and len(target.deployment.provider.keys) > 1:
            self._later(target)  # its other keys may do, also those behind an open breaker
        if failure.kind is FailureKind.CONTENT_FILTERED:
            return self.plan.content_fallback
        return failure.verdict.fall_back

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


def _may_be_larger(deployment: Deployment, than: Deployment) -> bool:
    """An unknown context window passes, as it does everywhere."""
    before = than.context_window
    return before is None or deployment.context_window is None or deployment.context_window > before
