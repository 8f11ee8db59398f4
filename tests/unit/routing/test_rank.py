"""Tests of the scores in proxy/routing/rank.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.model import EMPTY, MODES, Deployment
from proxy.core.plan import Target
from proxy.routing.boosts import Boosts
from proxy.routing.candidates import Candidate
from proxy.routing.classify.rules import Profile
from proxy.routing.rank import WEIGHTS, Criteria, cheapest_first, needed_tier, rank, weights_of
from tests.unit.routing.build import ANTHROPIC, OPENAI

LOW = Candidate(Target(Deployment(OPENAI, "low", tier="low")), cost=100_000, latency=0.5)
MEDIUM = Candidate(Target(Deployment(OPENAI, "medium", tier="medium")), cost=1_000_000, latency=1.0)
HIGH = Candidate(Target(Deployment(OPENAI, "high", tier="high")), cost=20_000_000, latency=3.0)
ALL = [HIGH, MEDIUM, LOW]


def like(candidate: Candidate, model: str, **fields: object) -> Candidate:
    return candidate._replace(target=Target(replace(candidate.target.deployment, model=model, **fields)))  # type: ignore[arg-type]


def names(candidates: list[Candidate]) -> list[str]:
    return [each.target.deployment.model for each in candidates]


def scored(
    candidates: list[Candidate],
    needed: Any,
    weights: Mapping[str, float],
    *,
    listed: Mapping[str, Any] = EMPTY,
    task: str = "chat",
) -> list[Candidate]:
    profile = Profile(task, needed, {"low": 0.1, "medium": 0.4, "high": 0.6}[needed], (), 1.0)
    return rank(candidates, Criteria(profile, needed, weights, listed, Boosts(task)))


def test_a_tier_is_sorted_by_price_then_speed_then_name() -> None:
    free = like(LOW, "free")._replace(cost=0)
    unpriced = like(LOW, "unpriced")._replace(cost=None)
    slow = like(LOW, "slow")._replace(latency=9.0)
    untimed = like(LOW, "untimed")._replace(latency=None)
    twin = like(LOW, "lox")

    ordered = cheapest_first([unpriced, untimed, slow, twin, LOW, free])

    assert names(ordered) == ["free", "low", "lox", "slow", "untimed", "unpriced"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("needed", "best"), [("low", "low"), ("medium", "medium"), ("high", "high")])
def test_every_mode_prefers_an_adequate_model(mode: str, needed: str, best: str) -> None:
    ranked = scored(ALL, needed, WEIGHTS[mode])  # type: ignore[index]

    assert names(ranked)[0] == best


def test_fast_takes_the_quickest_of_the_adequate_ones() -> None:
    quick = like(HIGH, "quick")._replace(latency=0.2)

    assert names(scored([*ALL, quick], "medium", WEIGHTS["fast"]))[0] == "quick"
    assert names(scored([*ALL, quick], "medium", WEIGHTS["balanced"]))[0] == "medium"


def test_accurate_needs_one_tier_more() -> None:
    assert [needed_tier(tier, "accurate") for tier in ("low", "medium", "high")] == ["medium", "high", "high"]
    assert [needed_tier(tier, "fast") for tier in ("low", "medium", "high")] == ["low", "medium", "high"]


def test_a_better_quality_wins_among_equals() -> None:
    better = like(MEDIUM, "better", quality=0.8)

    assert names(scored([MEDIUM, better], "medium", WEIGHTS["balanced"])) == ["better", "medium"]


def test_without_prices_easy_prompts_go_to_the_low_tier() -> None:
    bare = [each._replace(cost=None, latency=None) for each in ALL]

    assert names(scored(bare, "low", WEIGHTS["balanced"])) == ["low", "medium", "high"]


def test_an_explicit_tier_counts_where_the_model_declares_none() -> None:
    untiered = Candidate(Target(Deployment(ANTHROPIC, "untiered")), cost=100_000, latency=0.5)

    [with_tier] = scored([untiered], "high", WEIGHTS["balanced"], listed={"anthropic/untiered": "high"})
    [without] = scored([untiered], "high", WEIGHTS["balanced"])

    assert with_tier.terms["tier"] == 0.0
    assert without.terms["tier"] < 0.0


def test_the_score_is_the_sum_of_its_terms() -> None:
    for candidate in scored(ALL, "medium", WEIGHTS["balanced"]):
        assert candidate.score == pytest.approx(sum(candidate.terms.values()), abs=5e-4)


def test_equal_scores_go_by_price_latency_and_name() -> None:
    twins = [like(LOW, "b"), like(LOW, "a"), like(LOW, "c")]

    assert names(scored(twins, "low", WEIGHTS["balanced"])) == ["a", "b", "c"]


def test_small_price_differences_change_scores_little() -> None:
    dearer = like(LOW, "dearer")._replace(cost=105_000)

    first, second = scored([LOW, dearer], "low", WEIGHTS["balanced"])

    assert first.terms["cost"] - second.terms["cost"] < 0.02


def test_the_configuration_overrides_single_weights() -> None:
    assert weights_of("fast", {"latency": 0.0}) == {**WEIGHTS["fast"], "latency": 0.0}


def test_a_specialist_gets_a_bonus_for_its_task_only() -> None:
    coder = like(LOW, "coder", specialties=frozenset({"code"}))
    ranked = scored([LOW, coder], "low", WEIGHTS["balanced"], task="code")
    other = scored([LOW, coder], "low", WEIGHTS["balanced"], task="math")

    assert names(ranked) == ["coder", "low"]
    assert [candidate.terms["specialty"] for candidate in ranked] == [0.15, 0.0]
    assert {candidate.terms["specialty"] for candidate in other} == {0.0}
