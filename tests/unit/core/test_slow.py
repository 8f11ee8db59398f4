"""Slow calls: what is far above normal, and what normal learns."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from proxy.core import slow as module
from proxy.core.policies import SlowPolicy
from proxy.core.slow import SAMPLES, Baseline, SlowCalls

POLICY = SlowPolicy(times=5.0, at_least=1.0)


def judged(baseline: Baseline, times: Iterable[float]) -> list[bool]:
    return [baseline.judge(seconds, POLICY) for seconds in times]


def used_to(*times: float) -> Baseline:
    """A baseline that has seen these times again and again."""
    baseline = Baseline()
    judged(baseline, times * (50 // len(times)))
    return baseline


@pytest.mark.parametrize(
    ("normal", "seconds", "slow"),
    [
        ((0.5,), 5.0, True),  # ten times the normal time
        ((0.5,), 2.4, False),
        ((0.5,), 2.6, True),
        ((0.05,), 0.5, False),  # ten times as well, but nobody minds half a second
        ((0.05,), 0.99, False),
        ((0.05,), 1.01, True),
        ((4.0,), 19.0, False),
        ((4.0,), 21.0, True),
        ((0.5,), 0.0, False),
        ((0.4, 0.5, 0.6), 5.0, True),
        ((1.0, 3.0, 9.0, 27.0), 60.0, False),  # a model that thinks as long as the question needs
    ],
)
def test_slow_is_far_above_normal(normal: tuple[float, ...], seconds: float, slow: bool) -> None:
    assert used_to(*normal).judge(seconds, POLICY) is slow


@pytest.mark.parametrize("before", [0, 1, SAMPLES - 1])
def test_nothing_is_slow_before_enough_is_known(before: int) -> None:
    baseline = Baseline()
    judged(baseline, [0.1] * before)

    assert not baseline.judge(100.0, POLICY)
    assert (baseline.seconds is None) is (before + 1 < SAMPLES)


def test_a_cold_start_among_the_first_calls_is_not_the_norm() -> None:
    baseline = Baseline()
    judged(baseline, [30.0] + [0.5] * (SAMPLES - 1))

    assert baseline.seconds == pytest.approx(0.5)


def test_a_target_that_becomes_ten_times_slower_is_slow_at_once_and_stays_so_for_a_while() -> None:
    assert judged(used_to(0.5), [5.0] * 10) == [True] * 10


def test_a_lasting_change_becomes_normal_after_some_dozens() -> None:
    verdicts = judged(used_to(0.5), [5.0] * 60)

    assert 10 <= sum(verdicts) <= 30
    assert not any(verdicts[30:])


def test_a_target_that_becomes_faster_is_followed() -> None:
    baseline = used_to(10.0)

    judged(baseline, [1.0] * 60)

    assert baseline.seconds == pytest.approx(1.0, rel=0.05)
    assert baseline.judge(10.0, POLICY)


def test_a_slow_call_now_and_then_does_not_change_what_is_normal() -> None:
    baseline = used_to(0.5)

    verdicts = judged(baseline, ([0.5] * 9 + [20.0]) * 20)

    assert sum(verdicts) == 20
    assert baseline.seconds == pytest.approx(0.5, rel=0.1)


def test_a_policy_may_say_that_nothing_is_ever_slow() -> None:
    policy = SlowPolicy(times=1e308)

    assert not used_to(10.0).judge(600.0, policy)


def test_ordinary_variation_is_never_slow() -> None:
    rng, baseline = random.Random(7), Baseline()

    assert not any(judged(baseline, (rng.lognormvariate(0.0, 0.4) for _ in range(5000))))


def test_deployments_are_judged_each_by_its_own_norm() -> None:
    calls = SlowCalls()
    for _ in range(SAMPLES):
        calls.judge("acme/fast", 0.2, POLICY)
        calls.judge("acme/thinks", 20.0, POLICY)

    assert calls.judge("acme/fast", 20.0, POLICY)
    assert not calls.judge("acme/thinks", 20.0, POLICY)
    assert calls.normal("acme/thinks") == pytest.approx(20.0)
    assert calls.normal("acme/unknown") is None


def test_only_so_many_deployments_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    calls = SlowCalls()

    for name in ["a"] * SAMPLES + ["b", "a", "c"]:
        calls.judge(name, 1.0, POLICY)

    assert calls.normal("a") == pytest.approx(1.0)
    for _ in range(SAMPLES - 1):
        calls.judge("b", 1.0, POLICY)
    assert calls.normal("b") is None


def test_slow_calls_that_must_not_teach_change_nothing_and_others_do() -> None:
    baseline = used_to(0.5)

    slow = [baseline.judge(5.0, POLICY, teach=False) for _ in range(200)]
    normal = baseline.seconds
    baseline.judge(0.8, POLICY, teach=False)

    assert all(slow)
    assert normal == pytest.approx(0.5)
    assert baseline.seconds is not None
    assert baseline.seconds > 0.5
