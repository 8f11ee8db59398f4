"""Metrics of budgets: the amounts of those in the configuration, and what all budgets have refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from proxy.core.accounts import BudgetScope
from proxy.core.budgets import BudgetRule
from proxy.core.money import usd
from proxy.observe.exposition import Family, series

_AMOUNTS = (
    ("signalbox_budget_limit_usd", "Amount of each budget of the configuration."),
    ("signalbox_budget_spent_usd", "Spent in the current period of each budget of the configuration."),
    ("signalbox_budget_reserved_usd", "Reserved by running attempts in each budget of the configuration."),
)


def budget_amounts(rows: Iterable[tuple[BudgetRule, int, int]]) -> Iterator[Family]:
    """Yield the limits, and what is spent and reserved, in nano-dollars; nothing without budgets."""
    found = [(_labels(rule), (rule.nusd, spent, reserved)) for rule, spent, reserved in rows]
    if not found:
        return
    for number, (name, text) in enumerate(_AMOUNTS):
        values = {series(name, labels): usd(amounts[number]) for labels, amounts in found}
        yield Family(name, "gauge", text, values, "max")


def budget_counts(
    refused: Mapping[BudgetScope, int],
    exceeded: Mapping[BudgetScope, int],
    overruns: Mapping[tuple[str, str], int],
) -> Iterator[Family]:
    """Yield the numbers of refused attempts and exceeded soft budgets by scope, and of costs above their bound."""
    scopes: tuple[BudgetScope, ...] = get_args(BudgetScope)
    for name, text, counts in (
        ("signalbox_budget_refusals_total", "Attempts that a hard budget did not allow.", refused),
        ("signalbox_budget_exceeded_total", "Attempts beyond a soft budget.", exceeded),
    ):
        values: dict[str, float] = {series(name, [("scope", scope)]): counts.get(scope, 0) for scope in scopes}
        yield Family(name, "counter", text, values)
    name = "signalbox_budget_overruns_total"
    text = "Attempts that cost more than the bound that was reserved for them."
    above: dict[str, float] = {
        series(name, [("provider", provider), ("model", model)]): number
        for (provider, model), number in overruns.items()
    }
    yield Family(name, "counter", text, above)


def _labels(rule: BudgetRule) -> list[tuple[str, str]]:
    return [("scope", rule.scope), ("id", rule.id), ("period", rule.period)]
