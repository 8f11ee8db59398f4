"""Tests of proxy/routing/calibrate.py."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from proxy.core.plan import CostSample
from proxy.core.policies import CostTarget
from proxy.routing.calibrate import EVEN_SCORES, EVERY, Calibrator

STRONG_NUSD = 1_000_000
PRIOR = EVEN_SCORES


def run(
    target: CostTarget, scores: Sequence[float], calibrator: Calibrator | None = None, *, ratio: int = 20
) -> list[CostSample]:
    calibrator = calibrator or Calibrator()
    samples = []
    for score in scores:
        strong = calibrator.current(target, "rules", PRIOR).needs_strong(score)
        samples.append(CostSample(score, strong, STRONG_NUSD // ratio, STRONG_NUSD))
        calibrator.note(samples[-1])
    return samples


def share(samples: Sequence[CostSample]) -> float:
    return sum(sample.strong for sample in samples) / len(samples)


def spent(samples: Sequence[CostSample]) -> float:
    costs = [(each.strong_nusd if each.strong else each.weak_nusd) or 0 for each in samples]
    return sum(costs) / (STRONG_NUSD * len(samples))


def drawn(draw: Callable[[random.Random], float], count: int = 1000) -> list[float]:
    rng = random.Random(7)
    return [draw(rng) for _ in range(count)]


HARD, EASY = (lambda rng: rng.betavariate(8, 2)), (lambda rng: rng.betavariate(2, 8))
FEW_VALUES = lambda rng: rng.choice((0.1, 0.1, 0.4, 0.9))  # noqa: E731


@pytest.mark.parametrize("target", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("draw", [HARD, EASY, FEW_VALUES])
def test_the_target_is_realised_within_two_points(target: float, draw: Callable[[random.Random], float]) -> None:
    samples = run(CostTarget(target), drawn(draw))

    assert share(samples[:500]) == pytest.approx(target, abs=0.02)
    assert share(samples[500:]) == pytest.approx(target, abs=0.02)


@pytest.mark.parametrize("target", [0.2, 0.5, 0.8])
def test_a_target_of_spend_is_realised_in_money(target: float) -> None:
    samples = run(CostTarget(target, "spend"), drawn(HARD))

    assert spent(samples[500:]) == pytest.approx(target, abs=0.03)


@pytest.mark.parametrize("target", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("draw", [HARD, EASY])
def test_a_target_of_spend_counts_long_calls_for_more(target: float, draw: Callable[[random.Random], float]) -> None:
    rng, calibrator, spent, strong_alone = random.Random(7), Calibrator(), 0, 0
    for score in drawn(draw, 500):  # harder prompts cost more, and the weak model that answers is not the cheapest
        strong_nusd = int(STRONG_NUSD * rng.lognormvariate(3 * score, 0.5))
        strong = calibrator.current(CostTarget(target, "spend"), "rules", PRIOR).needs_strong(score)
        nusd = strong_nusd if strong else strong_nusd // 10
        calibrator.note(CostSample(score, strong, strong_nusd // 20, strong_nusd, nusd))
        spent, strong_alone = spent + nusd, strong_alone + strong_nusd

    assert spent / strong_alone == pytest.approx(target, abs=0.02)
    realised = calibrator.current(CostTarget(target, "spend"), "rules", PRIOR).realised
    assert realised == pytest.approx(spent / strong_alone, abs=1e-4)


@pytest.mark.parametrize(("target", "expected"), [(0.0, 0.0), (1.0, 1.0)])
def test_the_ends_are_exact(target: float, expected: float) -> None:
    assert share(run(CostTarget(target), drawn(HARD, 200))) == expected


def test_the_share_follows_prompts_that_get_harder() -> None:
    samples = run(CostTarget(0.5), [*drawn(EASY, 600), *drawn(HARD, 600)])

    assert share(samples[700:]) == pytest.approx(0.5, abs=0.05)


def test_equal_prompts_are_shared_too() -> None:
    assert share(run(CostTarget(0.5), [0.3] * 1000)) == pytest.approx(0.5, abs=0.05)


def test_harder_prompts_go_to_strong_models() -> None:
    samples = run(CostTarget(0.3), drawn(HARD))[500:]
    ordered = sorted(samples, key=lambda sample: sample.score)

    assert share(ordered[:300]) < 0.1
    assert share(ordered[-100:]) > 0.9


def test_a_threshold_holds_for_a_fixed_number_of_requests() -> None:
    calibrator, target = Calibrator(), CostTarget(0.5)
    first = calibrator.current(target, "rules", PRIOR)

    run(target, [0.9] * (EVERY - 1), calibrator)
    held = calibrator.current(target, "rules", PRIOR)
    run(target, [0.9], calibrator)
    changed = calibrator.current(target, "rules", PRIOR)

    assert held is first
    assert (first.version, changed.version) == (0, 1)
    assert changed.record()["realised"] == 1.0


def test_another_target_or_classifier_starts_anew() -> None:
    calibrator = Calibrator()
    run(CostTarget(0.5), [0.9] * 100, calibrator)

    assert calibrator.current(CostTarget(0.4), "rules", PRIOR).version == 0
    assert calibrator.current(CostTarget(0.4), "model 1", PRIOR).version == 0


def test_equal_requests_give_equal_thresholds() -> None:
    one, other = Calibrator(), Calibrator()
    run(CostTarget(0.5), drawn(HARD), one)
    run(CostTarget(0.5), drawn(HARD), other)

    assert one.current(CostTarget(0.5), "rules", PRIOR) == other.current(CostTarget(0.5), "rules", PRIOR)


def test_an_outage_of_the_weak_models_is_made_up_for_a_limited_time() -> None:
    calibrator, target = Calibrator(), CostTarget(0.5)
    for score in drawn(HARD, 500):
        calibrator.note(CostSample(score, strong=True)) if calibrator.current(target, "rules", PRIOR) else None

    assert share(run(target, drawn(HARD, 400), calibrator)[200:]) == pytest.approx(0.5, abs=0.05)
