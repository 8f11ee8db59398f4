"""Slow calls: what is far above normal, and what normal learns."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

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


@pytest.mark.parametrize(("own", "slow"), [(0.0, True), (2.4, True), (2.6, False)])
def test_what_may_be_our_own_doing_is_not_slow(own: float, slow: bool) -> None:
    assert used_to(0.5).judge(5.0, POLICY, own=own) is slow


def test_what_may_be_our_own_doing_teaches_nothing() -> None:
    baseline = used_to(0.5)

    for _ in range(100):
        baseline.judge(5.0, POLICY, own=10.0)

    assert baseline.seconds == pytest.approx(0.5)
    assert baseline.percentile(0.95, 10) == 0.5
    assert baseline.judge(5.0, POLICY)


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


def test_a_sudden_tenfold_slowdown_is_slow_at_once() -> None:
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


# what was given up


def given_up(baseline: Baseline, times: Iterable[float]) -> list[bool]:
    return [baseline.judge(seconds, POLICY, lost=True) for seconds in times]


@pytest.mark.parametrize(("seconds", "slow"), [(2.4, False), (2.6, True)])
def test_what_was_given_up_is_slow_if_it_was_so_by_then(seconds: float, slow: bool) -> None:
    assert given_up(used_to(0.5), [seconds]) == [slow]


def test_a_percentile_of_exact_times_is_the_nearest_rank() -> None:
    rng, baseline = random.Random(7), Baseline()
    times = [rng.random() for _ in range(100)]
    judged(baseline, [*times, min(times)])
    times[0] = min(times)

    for share in (0.01, 0.5, 0.9, 0.95, 0.99):
        assert baseline.percentile(share, 100) == sorted(times)[round(share * 100) - 1]


def test_calls_given_up_early_do_not_lower_a_percentile() -> None:
    baseline = Baseline()
    given_up(baseline, [0.01] * 5)

    judged(baseline, [0.1 * number for number in range(20, 0, -1)])

    assert baseline.percentile(0.95, 20) == pytest.approx(1.9)


def test_a_percentile_rises_with_calls_given_up_until_unknown() -> None:
    baseline = Baseline()
    judged(baseline, [0.1 * number for number in range(1, 96)])
    judged(baseline, [0.1])
    seen = []

    for _ in range(7):
        seen.append(baseline.percentile(0.95, 20))
        given_up(baseline, [20.0])
        judged(baseline, [0.1])

    known = [seconds for seconds in seen if seconds is not None]
    assert known == sorted(known)
    assert seen[-1] is None


def test_a_percentile_needs_enough_calls_with_known_times() -> None:
    baseline = Baseline()
    given_up(baseline, [0.001] * 19)
    judged(baseline, [1.0] * 2)

    assert baseline.percentile(0.95, 20) is None
    assert baseline.percentile(0.95, 2) == 1.0


@pytest.mark.parametrize(("share", "row"), [(0.95, 3), (0.9, 3), (0.5, 10)])
def test_a_row_of_calls_given_up_makes_the_percentile_unknown(share: float, row: int) -> None:
    baseline = Baseline()
    judged(baseline, [0.4, 0.5] * 50)
    before = baseline.percentile(share, 20)

    given_up(baseline, [0.6] * (row - 1))
    one_less = baseline.percentile(share, 20)
    given_up(baseline, [0.6])
    silent = baseline.percentile(share, 20)
    judged(baseline, [5.0])
    still = baseline.percentile(share, 20)
    judged(baseline, [0.4])

    assert (silent, still) == (None, None)
    assert None not in (before, one_less, baseline.percentile(share, 20))


def test_calls_given_up_early_do_not_lower_the_norm() -> None:
    baseline = used_to(0.5)

    given_up(baseline, [0.01] * 100)

    assert baseline.seconds == pytest.approx(0.5)


TIMES: dict[str, Callable[[random.Random], float]] = {
    "even": lambda rng: rng.uniform(1.0, 5.0),
    "nearly constant": lambda rng: rng.uniform(0.020, 0.021),
    "varying": lambda rng: rng.lognormvariate(0.0, 0.4),
    "varying widely": lambda rng: rng.lognormvariate(0.0, 1.0),
    "a rare pause": lambda rng: 2.5 if rng.random() < 0.02 else rng.uniform(0.5, 1.0),
}


@pytest.mark.parametrize("other", [0.005, 1.0])
@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
def test_the_share_given_up_matches_the_percentile(times: Callable[[random.Random], float], other: float) -> None:
    rng, baseline = random.Random(7), Baseline()
    hedged = slow = 0

    for _ in range(1000):
        seconds, percentile = times(rng), baseline.percentile(0.95, 20)
        beside = percentile is not None and seconds > percentile
        lost = percentile is not None and seconds > percentile + other
        slow += baseline.judge(percentile + other if lost and percentile else seconds, POLICY, lost=lost)
        hedged += beside

    assert 0.04 <= hedged / 1000 <= 0.065
    assert slow <= 2


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
    monkeypatch.setattr(module, "MAX_DEPLOYMENTS", 2)
    calls = SlowCalls()

    for name in ["a"] * SAMPLES + ["b", "a", "c"]:
        calls.judge(name, 1.0, POLICY)

    assert calls.normal("a") == pytest.approx(1.0)
    for _ in range(SAMPLES - 1):
        calls.judge("b", 1.0, POLICY)
    assert calls.normal("b") is None


def test_slow_calls_that_do_not_teach_leave_the_norm_unchanged() -> None:
    baseline = used_to(0.5)

    slow = [baseline.judge(5.0, POLICY, teach=False) for _ in range(200)]
    normal = baseline.seconds
    baseline.judge(0.8, POLICY, teach=False)

    assert all(slow)
    assert normal == pytest.approx(0.5)
    assert baseline.seconds is not None
    assert baseline.seconds > 0.5
