"""Tests of proxy/routing/classify/rules.py."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.routing.classify.rules import RULES, tier_of
from tests.unit.routing.build import call

HARD = (
    "Design a distributed rate limiter in Go. Prove rigorously why it is correct under concurrency, derive its "
    "complexity step by step, justify each tradeoff and give a thorough strategy for edge cases.\n" * 3
)


def score(text: str = "hello", **body: Any) -> float:
    return RULES.classify(call("auto", text, body=body)).score


@pytest.mark.parametrize(
    ("text", "tier"),
    [
        ("hi", "low"),
        ("What is the capital of France?", "low"),
        ("Solve the equation 3x + 7 = 22 and prove that the solution is unique.", "medium"),
        (HARD, "high"),
    ],
)
def test_harder_prompts_need_a_higher_tier(text: str, tier: str) -> None:
    assert RULES.classify(call("auto", text)).tier == tier


def test_the_cuts_between_tiers_are_monotone() -> None:
    assert [tier_of(step / 100) for step in range(101)] == sorted(
        (tier_of(step / 100) for step in range(101)), key=("low", "medium", "high").index
    )


@pytest.mark.parametrize(
    "body",
    [
        {"reasoning_effort": "high"},
        {"tools": [{"type": "function"}]},
        {"max_completion_tokens": 8_000},
        {"messages": [{"role": "user", "content": "hello"}] * 9},
        {"messages": [{"role": "system", "content": "x" * 3_000}, {"role": "user", "content": "hello"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "image_url"}]}]},
    ],
)
def test_shape_and_parameters_raise_the_score(body: dict[str, Any]) -> None:
    assert score(**body) > score()


@pytest.mark.parametrize("body", [{"reasoning_effort": "minimal"}, {"max_tokens": 5}])
def test_small_demands_lower_the_score(body: dict[str, Any]) -> None:
    assert score("Compare apples and pears", **body) < score("Compare apples and pears")


def test_the_features_add_up_to_the_score() -> None:
    profile = RULES.classify(call("auto", "Explain why the sky is blue", body={"tools": [1]}))

    assert profile.score == pytest.approx(0.10 + sum(weight for _, weight in profile.features))
    assert {name for name, _ in profile.features} == {"task analysis", "length", "depth words", "tools"}


def test_the_score_stays_in_its_range() -> None:
    assert score(HARD * 100, reasoning_effort="xhigh", tools=[1] * 50, max_tokens=9_999) <= 1.0
    assert score("", reasoning_effort="none", max_tokens=1) >= 0.0


def test_the_clients_task_replaces_the_estimated_one() -> None:
    profile = RULES.classify(call("auto", "hi", task="math"))

    assert (profile.task, profile.confidence) == ("math", 1.0)


def test_no_word_of_the_prompt_is_in_the_profile() -> None:
    assert "xylophone" not in repr(RULES.classify(call("auto", "prove xylophone theorem")))


@pytest.mark.parametrize("value", [None, 1, [], {}, "x"])
def test_parameters_of_any_type_raise_nothing(value: Any) -> None:
    assert 0 <= score(reasoning_effort=value, max_tokens=value, tools=value, messages=value) <= 1
