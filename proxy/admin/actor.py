"""The caller of an admin endpoint, and what it may grant: never more than it has itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import NoReturn

from starlette.requests import Request

from proxy.admission.permissions import PRINCIPAL
from proxy.core.accounts import Budget, ModelLimits
from proxy.core.errors import NotAllowed
from proxy.core.model import LimitValues
from proxy.core.principal import Principal

ADMIN_TOKEN = "admin-token"
_KINDS = tuple(field.name for field in fields(LimitValues))


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change. Without a principal it holds the admin token or the database, and is unlimited."""

    name: str  # in the audit log
    principal: Principal | None = None

    def check_role(self, role: str) -> None:
        """Raise `NotAllowed` if it may not grant a role."""
        if role != "member" and self.principal is not None and self.principal.role != "admin":
            raise NotAllowed(f"`role`: only an admin may grant the role `{role}`.")

    def check_grant(
        self,
        models: Sequence[str] | None,
        limits: LimitValues,
        budget: Budget | None,
        model_limits: ModelLimits | None = None,
    ) -> None:
        """Raise `NotAllowed` if an object with these values may do more than the actor itself."""
        own = self.principal
        if own is None:
            return
        for patterns in own.models:
            if models is None or not all(_covered(model, patterns) for model in models):
                _beyond("models", f"name models within {', '.join(f'`{pattern}`' for pattern in patterns)}")
        for (_, _, *of_model), most in own.limits:
            field, granted = "limits", limits
            if of_model:
                field, granted = f"model_limits.{of_model[1]}", (model_limits or {}).get(of_model[1], LimitValues())
            for kind in _KINDS:
                bound, value = getattr(most, kind), getattr(granted, kind)
                if bound is not None and (value is None or value > bound):
                    _beyond(f"{field}.{kind}", f"give at most {bound}")
        for _, _, most_spent in own.budgets:
            if not _within(budget, most_spent):
                _beyond("budget", f"give at most {most_spent.nusd / 1e9:g} USD per {most_spent.period}")


def actor_of(request: Request) -> Actor:
    """Return the actor of a request that the guard has admitted."""
    principal: Principal | None = request.scope.get(PRINCIPAL)
    return Actor(ADMIN_TOKEN) if principal is None else Actor(principal.name, principal)


def _beyond(field: str, remedy: str) -> NoReturn:
    raise NotAllowed(f"`{field}`: this is more than your own credential allows; {remedy}.")


def _covered(pattern: str, own: Iterable[str]) -> bool:
    """Return whether everything that `pattern` matches is matched by one of `own`; in doubt it is not."""
    for mine in own:
        if pattern == mine or mine == "*":
            return True
        # a pattern may stand for its own matches only where `*` is the one wildcard of the wider pattern
        if "[" not in pattern and "[" not in mine and "?" not in mine and fnmatchcase(pattern, mine):
            return True
    return False


def _within(budget: Budget | None, most: Budget) -> bool:
    """Return whether a budget never allows more than `most` in any period of `most`."""
    if budget is None or budget.nusd > most.nusd or (most.hard and not budget.hard):
        return False
    if budget.period == "total":
        return True
    # a day is part of one week and one month; a week can be part of two months
    return budget.timezone == most.timezone and (budget.period == most.period or most.period == "day")
