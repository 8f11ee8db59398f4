"""Checks the budgets: what they cover exists, and is named once."""

from collections.abc import Iterator

from proxy.config.check.validate import Finding
from proxy.config.errors import suggestion
from proxy.config.settings.schema import BudgetSettings, Settings


def check(settings: Settings) -> Iterator[Finding]:
    """Yield every budget that is not valid."""
    seen: set[tuple[object, ...]] = set()
    for index, budget in enumerate(settings.budgets):
        identity = (budget.scope, budget.id, budget.period, budget.hard)
        if problem := _problem(budget, settings):
            yield Finding(("budgets", index, "id") if budget.id else ("budgets", index), problem)
        elif identity in seen:
            what = "everything" if budget.id is None else f"the {budget.scope} `{budget.id}`"
            yield Finding(("budgets", index), f"is a second budget of {what} with the same period; remove one")
        seen.add(identity)


def _problem(budget: BudgetSettings, settings: Settings) -> str | None:
    if budget.scope == "total":
        return "must not be set, because the scope `total` covers everything; remove it" if budget.id else None
    if not budget.id:
        return f"needs `id`, the {budget.scope} that it covers"
    if budget.scope == "provider" and budget.id not in settings.providers:
        return f"unknown provider `{budget.id}`{suggestion(budget.id, settings.providers)}"
    return None
