"""Tests of proxy/commands/changes.py."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.commands.changes import changes

MODEL = {"tier": "low", "enabled": True, "price": {"input": 2.0, "output": 4.0}, "latency": 0.5}
BUDGET = {"scope": "team", "id": "red", "usd": 5.0, "period": "month", "hard": True}
SCENARIO = [{"model": "a/x", "set": {}}, {"model": "a/y", "set": {}}]


def sentences(before: Any, after: Any) -> list[str]:
    return [change.sentence for change in changes(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            {"models": {}},
            {"models": {"a/x": MODEL}},
            "Model a/x is added: tier low, input 2, output 4 USD per million tokens.",
        ),
        ({"models": {"a/x": {"tier": None}}}, {"models": {}}, "Model a/x is removed."),
        (
            {"models": {"a/x": MODEL}},
            {"models": {"a/x": {**MODEL, "price": {"input": 1.0, "output": 4.0}}}},
            "Model a/x: the price of input falls from 2 to 1 USD per million tokens (-50%).",
        ),
        ({"models": {"a/x": MODEL}}, {"models": {"a/x": {**MODEL, "enabled": False}}}, "Model a/x: is disabled."),
        (
            {"models": {"a/x": {"tier": None}}},
            {"models": {"a/x": {"tier": "high"}}},
            "Model a/x: moves from no tier to tier high.",
        ),
        (
            {"models": {"a/x": MODEL}},
            {"models": {"a/x": {**MODEL, "latency": 90.0}}},
            "Model a/x: `latency` changes from 0.5 s to 90 s.",
        ),
        ({"budgets": []}, {"budgets": [BUDGET]}, "Budget team/red is added: 5 USD per month."),
        (
            {"budgets": [BUDGET]},
            {"budgets": [{**BUDGET, "usd": 6.0}]},
            "`budgets.team/red.usd` changes from 5 to 6.",
        ),
        (
            {"routing": {"scenarios": {"s": SCENARIO}}},
            {"routing": {"scenarios": {"s": SCENARIO[::-1]}}},
            "Scenario s has another order: a/y, a/x.",
        ),
        (
            {"routing": {"scenarios": {"s": SCENARIO}}},
            {"routing": {"scenarios": {"s": SCENARIO[:1]}}},
            "Scenario s consists of a/x instead of a/x, a/y.",
        ),
        (
            {"routing": {"scenarios": {"s": SCENARIO}}},
            {"routing": {"scenarios": {"s": [{"model": "a/x", "set": {"n": 1}}, SCENARIO[1]]}}},
            "Scenario s sets other parameters or priorities of its models.",
        ),
        (
            {"routing": {"tiers": {"low": None}}},
            {"routing": {"tiers": {"low": ["a/x"]}}},
            "`tier/low` has a list: a/x.",
        ),
        (
            {"routing": {"tiers": {"low": ["a/x"]}}},
            {"routing": {"tiers": {"low": None}}},
            "`tier/low` has the models that declare the tier, not a list.",
        ),
        (
            {"routing": {"mode": "fast"}},
            {"routing": {"mode": "accurate"}},
            "`auto` uses the mode accurate instead of fast.",
        ),
        ({"left out": {}}, {"left out": {"a": "no key"}}, "Provider a is left out: no key."),
        ({"left out": {"a": "no key"}}, {"left out": {}}, "Provider a is usable; it was left out: no key."),
        ({"cache": {"enabled": False}}, {"cache": {"enabled": True}}, "`cache.enabled` is switched on."),
        ({"auth": {"pepper": "***"}}, {"auth": {"pepper": None}}, "`auth.pepper` is not set any more; it was ***."),
        (
            {"providers": {"a": {"keys": [{"id": "k", "weight": 1}]}}},
            {"providers": {"a": {"keys": [{"id": "k", "weight": 2}]}}},
            "Provider a: `keys.k.weight` changes from 1 to 2.",
        ),
    ],
)
def test_a_difference_is_a_sentence(before: Any, after: Any, sentence: str) -> None:
    assert sentences(before, after) == [sentence]


def test_what_is_equal_or_empty_on_both_sides_is_no_difference() -> None:
    assert sentences({"a": None, "b": [], "models": {"a/x": MODEL}}, {"b": None, "models": {"a/x": MODEL}}) == []


def test_the_order_of_keyed_items_is_no_difference() -> None:
    other = {**BUDGET, "id": "blue"}

    assert sentences({"budgets": [BUDGET, other]}, {"budgets": [other, BUDGET]}) == []


def test_a_change_is_json() -> None:
    [change] = changes({"budgets": [BUDGET]}, {"budgets": []})

    assert change.as_json()["path"] == ["budgets", "team/red"]
    assert (change.as_json()["before"], change.as_json()["after"]) == (BUDGET, None)
