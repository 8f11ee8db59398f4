"""Tests of proxy/routing/predict.py."""

from __future__ import annotations

import pytest

from proxy.core.model import TIERS, Deployment
from proxy.routing.classify.rules import Profile
from proxy.routing.predict import PRIOR, level, log_odds, sigmoid
from tests.unit.routing.build import OPENAI

MODEL = Deployment(OPENAI, "m")


def profile(score: float) -> Profile:
    return Profile("chat", "low", score, (), 1.0, cuts=(0.5, 0.6))


def success(quality: float | None, tier: str | None, score: float = 0.5) -> float:
    return PRIOR.success(profile(score), Deployment(OPENAI, "m", quality=quality), tier)  # type: ignore[arg-type]


def test_success_grows_with_the_tier_and_falls_with_the_difficulty() -> None:
    assert success(None, "low") < success(None, None) < success(None, "medium") < success(None, "high")
    assert success(None, "low", 0.9) < success(None, "low", 0.5) < success(None, "low", 0.1)


def test_quality_moves_a_model_within_its_tier() -> None:
    assert success(None, "low") < success(0.4, "low") < success(1.0, "low") < success(0.0, "medium")


def test_quality_alone_determines_a_model_without_a_tier() -> None:
    assert success(0.9, None) == pytest.approx(success(None, "high"))


@pytest.mark.parametrize("tier", TIERS)
def test_a_usual_model_of_a_tier_has_what_the_tier_requires(tier: str) -> None:
    assert PRIOR.required(profile(0.7), tier) == success(None, tier, 0.7)  # type: ignore[arg-type]


@pytest.mark.parametrize(("score", "expected"), [(0.5, 0.0), (0.6, 1.0), (0.0, -3.0), (1.0, 3.0)])
def test_a_level_counts_tiers_within_bounds(score: float, expected: float) -> None:
    assert level(profile(score)) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.1, 0.5, 0.9])
def test_log_odds_are_the_inverse_of_the_sigmoid(value: float) -> None:
    assert sigmoid(log_odds(value)) == pytest.approx(value)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_log_odds_of_certainty_are_finite(value: float) -> None:
    assert abs(log_odds(value)) < 10
