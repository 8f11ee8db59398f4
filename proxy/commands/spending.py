"""The spending of budgets according to the ledger. Only running servers know what is reserved."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proxy.admin.budgets import budget_rows, budget_rules
from proxy.capacity.budget_store import Spending
from proxy.capacity.budgets import BudgetRow
from proxy.commands.shell import Shell
from proxy.config.compile.snapshot import compile_snapshot
from proxy.core.budgets import BudgetRule, Windows

_US = 1_000_000


class LedgerSpending:
    """The spending of budgets in their current windows."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._windows = Windows()

    async def read(self, found: Iterable[BudgetRule]) -> list[BudgetRow]:
        """Return the state of these budgets."""
        return [await self._row(rule) for rule in found]

    async def _row(self, rule: BudgetRule) -> BudgetRow:
        now = self._shell.clock.time()
        window = self._windows.at(rule.period, rule.timezone, now)
        end = window.end if window.end is not None else int(now) + 86_400
        spent = await self._shell.ledger.spent(rule.scope, rule.id, window.start * _US, end * _US)
        return BudgetRow(rule, window, Spending(spent=spent))


async def budget_report(shell: Shell) -> list[dict[str, Any]]:
    """Return the rows of all budgets; `reserved_usd` is unknown here."""
    policy = compile_snapshot(shell.settings).budgets
    rules = [rule async for _, rule in budget_rules(shell.accounts, policy)]
    return [{**row, "reserved_usd": None} for row in await budget_rows(LedgerSpending(shell), rules)]
