"""Compiles the budgets of the configuration, with amounts in nano-dollars."""

from proxy.config.settings.schema import Settings
from proxy.core.accounts import Budget, BudgetScope
from proxy.core.budgets import BudgetPolicy, BudgetRule
from proxy.core.money import nano_dollars


def compile_budgets(settings: Settings) -> BudgetPolicy | None:
    """Return the budgets by scope and id, and the default of users; `None` if there is neither."""
    grouped: dict[tuple[BudgetScope, str], tuple[BudgetRule, ...]] = {}
    for budget in settings.budgets:
        scope, id = budget.scope, budget.id or ""
        rule = BudgetRule(scope, id, nano_dollars(budget.usd), budget.period, budget.hard, budget.timezone)
        grouped[scope, id] = (*grouped.get((scope, id), ()), rule)
    default = settings.defaults.user_budget if settings.auth.mode != "none" else None  # else there are no users
    user = None if default is None else Budget(nano_dollars(default.usd), default.period, default.hard)
    return BudgetPolicy(grouped, user) if grouped or user else None
