"""Options of the shell commands, as fields of objects."""

from __future__ import annotations

from typing import Any

import click
import pytest

from proxy.commands.options import BudgetType, ModelLimitType, fields_of, pairs


@pytest.mark.parametrize(
    ("text", "usd", "period", "hard"),
    [
        ("5usd/month", 5.0, "month", True),
        ("5", 5.0, "month", True),
        ("$0.50/day", 0.5, "day", True),
        ("20 USD/total:soft", 20.0, "total", False),
        ("1/WEEK", 1.0, "week", True),
    ],
)
def test_a_budget_is_an_amount_and_a_period(text: str, usd: float, period: str, hard: bool) -> None:
    assert BudgetType().convert(text, None, None) == {"usd": usd, "period": period, "hard": hard}


@pytest.mark.parametrize("text", ["", "five", "5eur", "5/year", "-1/day", "1e9", "5usd/month:hard", "٥/day"])
def test_other_budgets_are_rejected(text: str) -> None:
    with pytest.raises(click.BadParameter):
        BudgetType().convert(text, None, None)


def test_a_limit_of_a_model_has_its_pattern_and_numbers() -> None:
    given = tuple(ModelLimitType().convert(text, None, None) for text in ("a/b=rpm:5,tpd:9", "x=y/*=concurrency:1"))

    assert fields_of({"model_limits": given}) == {
        "model_limits": {"a/b": {"rpm": 5, "tpd": 9}, "x=y/*": {"concurrency": 1}}
    }


@pytest.mark.parametrize("text", ["", "a/b", "a/b=", "=rpm:5", "a/b=rpm", "a/b=rps:5", "a/b=rpm:-5", "a/b=rpm:5,"])
def test_other_limits_of_models_are_rejected(text: str) -> None:
    with pytest.raises(click.BadParameter):
        ModelLimitType().convert(text, None, None)


def test_omitted_options_name_no_field() -> None:
    options: dict[str, Any] = {"name": None, "rpm": 5, "tpm": None, "models": (), "team": "red"}

    assert fields_of(options, ["budget"]) == {"team": "red", "limits": {"rpm": 5}, "budget": None}
    assert fields_of({"models": ("a", "b")}) == {"models": ["a", "b"]}


def test_metadata_are_pairs() -> None:
    assert pairs(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    assert pairs([]) is None
    with pytest.raises(click.BadParameter):
        pairs(["nothing"])
