"""What one call has left: targets, attempts, time and patience, by values alone."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import Deployment
from proxy.core.plan import Target
from proxy.core.policies import DeadlinePolicy, QueuePolicy, RetryPolicy
from proxy.upstream.run import Run, new_run
from tests.support.calls import HELLO, call, plan, record
from tests.support.fakes import FakeClock
from tests.unit.upstream.bench import A, B, C, on, target

K = FailureKind


def begun(*deployments: Deployment, raw: bytes = HELLO, content_fallback: bool = False, **policies: Any) -> Run:
    """A call at the start of its attempts."""
    of, clock = call(raw, on=on(*deployments, **policies)), FakeClock()
    planned = replace(plan(*deployments), content_fallback=content_fallback)
    return new_run(clock, of, planned, record(of, started=clock.now))


def failed(run: Run, of: Deployment, kind: FailureKind, **fields: Any) -> bool:
    """One target is tried, and fails."""
    tried = next(each for each in run.targets if each.deployment is of)
    run.targets.remove(tried)
    return run.failed(tried, UpstreamFailure(kind, "x", **fields))


def names(targets: list[Target]) -> str:
    return "".join(each.deployment.provider.name for each in targets)


def test_a_recorded_failure_does_not_keep_the_answer() -> None:
    run = begun(A, B)
    answers: list[weakref.ref[set[str]]] = []

    def read() -> None:
        answer = {"a large answer"}
        answers.append(weakref.ref(answer))
        try:
            raise ValueError(answer)
        except ValueError as exc:
            raise UpstreamFailure(K.MALFORMED, "x") from exc

    gc.disable()
    try:
        try:
            read()
        except UpstreamFailure as failure:
            run.failed(run.targets[0], failure)
        kept = answers[0]()
    finally:
        gc.enable()

    assert kept is None


def test_a_call_starts_with_its_whole_plan_and_policies() -> None:
    run = begun(A, B, retry=RetryPolicy(attempts=7), queue=QueuePolicy(max_wait=3.0))

    assert (names(run.targets), run.attempts, run.patience, run.only) == ("ab", 7, 3.0, False)


@pytest.mark.parametrize(("asked", "patience"), [(b"2.5", 2.5), (b"0", 0.0), (b"60", 60.0)])
def test_the_client_says_how_long_it_wants_to_wait(asked: bytes, patience: float) -> None:
    raw = b'{"model":"x","messages":[{"role":"user"}],"router":{"max_wait_seconds":%s}}' % asked

    assert begun(A, raw=raw, queue=QueuePolicy(max_wait=10.0)).patience == patience


@pytest.mark.parametrize(("attempts", "spare"), [(1, False), (2, False), (3, True)])
def test_a_spare_attempt_exists_only_beyond_one_for_each_target(attempts: int, spare: bool) -> None:
    run = begun(A, B, retry=RetryPolicy(attempts=attempts))

    assert run.spare is spare


def test_time_runs_from_the_beginning_of_the_call() -> None:
    of, clock = call(HELLO, on=on(A, deadline=DeadlinePolicy(soft=2.0, hard=10.0))), FakeClock()
    run = new_run(clock, of, plan(A), record(of, started=clock.now - 1.5))

    assert (run.left, run.late) == (8.5, False)
    clock.pass_(0.5)
    assert (run.left, run.late) == (8.0, True)
    clock.pass_(9.0)
    assert run.left == -1.0


def test_predictions_add_up() -> None:
    run = begun(A)

    run.predict(1.5)
    run.predict(0.25)

    assert run.record.timings.predicted_queue_seconds == 1.75


@pytest.mark.parametrize(
    ("sizes", "left"),
    [((8, 4, 16), "c"), ((8, 8, 8), ""), ((8, None, 4), "b"), ((None, 4, 9), "bc")],
)
def test_after_one_that_was_too_small_only_larger_ones_may_do(sizes: tuple[int | None, ...], left: str) -> None:
    chosen = [target(name, context_window=size) for name, size in zip("abc", sizes, strict=True)]
    run = begun(*chosen)

    assert failed(run, chosen[0], K.CONTEXT_TOO_LONG)

    assert names(run.eligible()) == left
    assert names(run.targets) == "bc"


@pytest.mark.parametrize("kind", [kind for kind in K if kind is not K.RATE_LIMITED])
def test_a_target_that_failed_is_not_tried_again(kind: FailureKind) -> None:
    run = begun(A, B)

    failed(run, A, kind, retry_after=1.0)

    assert names(run.targets) == "b"


@pytest.mark.parametrize(("said", "left"), [(2.0, "ba"), (0.0, "ba"), (None, "b")])
def test_a_rate_limited_target_with_retry_after_is_last_again(said: float | None, left: str) -> None:
    run = begun(A, B)

    assert failed(run, A, K.RATE_LIMITED, retry_after=said)

    assert names(run.targets) == left


@pytest.mark.parametrize(
    ("kind", "allowed", "goes_on"),
    [
        (K.SERVER_ERROR, False, True),
        (K.BAD_REQUEST, True, False),
        (K.CONTENT_FILTERED, False, False),
        (K.CONTENT_FILTERED, True, True),
    ],
)
def test_only_content_refusals_can_fall_back(kind: FailureKind, allowed: bool, goes_on: bool) -> None:
    run = begun(A, B, content_fallback=allowed)

    assert failed(run, A, kind) is goes_on


def test_the_newest_failure_is_reported_unless_it_is_incapacity() -> None:
    run = begun(A, B, C)

    failed(run, A, K.UNSUPPORTED)
    first = run.failure
    failed(run, B, K.OVERLOADED)
    failed(run, C, K.UNSUPPORTED)

    assert first
    assert first.kind is K.UNSUPPORTED
    assert run.failure
    assert run.failure.kind is K.OVERLOADED
