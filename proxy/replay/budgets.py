"""The budgets in a replay: what a call would have found spent, and whether a hard budget would have refused it."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.capacity.budget_rules import counter_of, rules
from proxy.capacity.budget_store import BudgetCounter
from proxy.core.budgets import BudgetPolicy, BudgetRule, Windows
from proxy.core.model import Deployment
from proxy.core.plan import Room
from proxy.core.principal import Principal

NO_BUDGETS = BudgetPolicy()


class Spending:
    """What the replayed calls have spent, by budget and period."""

    def __init__(self, policy: BudgetPolicy | None, spent: Mapping[BudgetCounter, int] | None = None) -> None:
        """`spent`: what was spent before the first call, in the windows that contain its time."""
        self._policy = policy or NO_BUDGETS
        self._spent = dict(spent or {})
        self._windows = Windows()

    def refusing(self, principal: Principal, deployment: Deployment, now: float, nusd: int) -> BudgetRule | None:
        """Return the hard budget that does not allow a call that costs `nusd`; `now` is in seconds since 1970."""
        for rule in rules(principal, deployment, self._policy):
            if rule.hard and self._spent.get(self._counter(rule, now), 0) + nusd > rule.nusd:
                return rule
        return None

    def room(self, principal: Principal, deployment: Deployment, now: float) -> Room | None:
        """Return what is left of the hard budget with the least; `None` without one."""
        rooms = [
            Room(rule.name, max(0, rule.nusd - self._spent.get(self._counter(rule, now), 0)))
            for rule in rules(principal, deployment, self._policy)
            if rule.hard
        ]
        return min(rooms, key=lambda room: room.nusd, default=None)

    def add(self, principal: Principal, deployment: Deployment, now: float, nusd: int) -> None:
        """Count a call in every budget that covers it."""
        for counter in {self._counter(rule, now) for rule in rules(principal, deployment, self._policy)}:
            self._spent[counter] = self._spent.get(counter, 0) + nusd

    def _counter(self, rule: BudgetRule, now: float) -> BudgetCounter:
        return counter_of(rule, self._windows.at(rule.period, rule.timezone, now))
