"""Metrics of budgets."""

from __future__ import annotations

from proxy.core.budgets import BudgetRule
from proxy.observe.budgets import budget_amounts, budget_counts


def test_amounts_are_in_dollars() -> None:
    rule = BudgetRule("user", "alice", 1_000_000_000)

    families = {family.name: family.values for family in budget_amounts([(rule, 250_000_000, 1)])}

    labels = '{id="alice",period="month",scope="user"}'
    assert families == {
        "signalbox_budget_limit_usd": {f"signalbox_budget_limit_usd{labels}": 1.0},
        "signalbox_budget_spent_usd": {f"signalbox_budget_spent_usd{labels}": 0.25},
        "signalbox_budget_reserved_usd": {f"signalbox_budget_reserved_usd{labels}": 1e-9},
    }


def test_without_budgets_there_are_no_amounts() -> None:
    assert list(budget_amounts([])) == []


def test_counts_begin_at_zero() -> None:
    refused, exceeded, overruns = budget_counts({"user": 2}, {}, {("acme", "small"): 1})

    assert refused.values['signalbox_budget_refusals_total{scope="user"}'] == 2
    assert set(exceeded.values.values()) == {0}
    assert len(exceeded.values) == 5
    assert overruns.values == {'signalbox_budget_overruns_total{model="small",provider="acme"}': 1}
