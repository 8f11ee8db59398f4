"""Compilation of budgets: exact amounts, grouped by what they cover."""

from __future__ import annotations

from pathlib import Path

from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.load import load
from proxy.core.accounts import Budget
from proxy.core.budgets import BudgetPolicy, BudgetRule

TEXT = """
budgets:
  - {scope: total, usd: 100, timezone: Europe/Berlin}
  - {scope: total, usd: 0.1, period: day, hard: false}
  - {scope: user, id: alice, usd: 1.000000001}
defaults: {user_budget: {usd: 1, period: total}}
auth: {mode: keys, pepper: 0123456789abcdef0123456789abcdef}
"""


def compiled(folder: Path, text: str) -> BudgetPolicy | None:
    path = folder / "signalbox.yaml"
    path.write_text(text)
    return compile_snapshot(load(path, {}).settings).budgets


def test_budgets_are_grouped_by_what_they_cover(tmp_path: Path) -> None:
    assert compiled(tmp_path, TEXT) == BudgetPolicy(
        {
            ("total", ""): (
                BudgetRule("total", "", 100_000_000_000, timezone="Europe/Berlin"),
                BudgetRule("total", "", 100_000_000, "day", hard=False),
            ),
            ("user", "alice"): (BudgetRule("user", "alice", 1_000_000_001),),
        },
        Budget(1_000_000_000, "total"),
    )


def test_without_budgets_there_is_no_policy(tmp_path: Path) -> None:
    assert compiled(tmp_path, "budgets: []") is None
    assert compiled(tmp_path, "defaults: {user_budget: {usd: 1}}") is None  # there are no users without `auth.mode`
