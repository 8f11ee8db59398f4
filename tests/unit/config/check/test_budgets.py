"""Checks of budgets: scopes, ids, time zones and repeats."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.errors import ConfigError
from proxy.config.load import load

PROVIDERS = "providers: {acme: {base_url: http://localhost/v1}}\n"


def problems(folder: Path, budgets: str, more: str = "") -> list[tuple[str, str]]:
    path = folder / "signalbox.yaml"
    path.write_text(f"{PROVIDERS}budgets: {budgets}\n{more}")
    try:
        load(path, {})
    except ConfigError as error:
        return [(problem.where, problem.message) for problem in error.problems]
    return []


WRONG = [
    ("[{scope: user, usd: 1}]", "budgets[0]", "needs `id`, the user that it covers"),
    (
        "[{scope: total, id: x, usd: 1}]",
        "budgets[0].id",
        "must not be set, because the scope `total` covers everything; remove it",
    ),
    (
        "[{scope: provider, id: acne, usd: 1}]",
        "budgets[0].id",
        "unknown provider `acne`; did you mean `acme`?",
    ),
    (
        "[{scope: total, usd: 1, timezone: Europe/Berin}]",
        "budgets[0].timezone",
        "is not a known time zone; use a name such as `Europe/Berlin` or `UTC`",
    ),
    (
        "[{scope: total, usd: 1, timezone: ../etc/passwd}]",
        "budgets[0].timezone",
        "is not a known time zone; use a name such as `Europe/Berlin` or `UTC`",
    ),
    (
        "[{scope: user, id: a, usd: 1}, {scope: user, id: a, usd: 2}]",
        "budgets[1]",
        "is a second budget of the user `a` with the same period; remove one",
    ),
    (
        "[{scope: total, usd: 1, period: day}, {scope: total, usd: 2, period: day}]",
        "budgets[1]",
        "is a second budget of everything with the same period; remove one",
    ),
]


@pytest.mark.parametrize(("budgets", "where", "message"), WRONG, ids=[budgets for budgets, _, _ in WRONG])
def test_wrong_budgets_are_rejected(tmp_path: Path, budgets: str, where: str, message: str) -> None:
    assert problems(tmp_path, budgets) == [(where, message)]


def test_budgets_of_all_scopes_are_accepted(tmp_path: Path) -> None:
    budgets = """
  - {scope: total, usd: 100, timezone: Europe/Berlin}
  - {scope: total, usd: 80, hard: false}
  - {scope: total, usd: 10, period: day}
  - {scope: provider, id: acme, usd: 50, period: week}
  - {scope: team, id: red, usd: 20}
  - {scope: user, id: alice, usd: 0, period: total}
  - {scope: key, id: k_1, usd: 0.05}
"""

    assert problems(tmp_path, budgets, "defaults: {user_budget: {usd: 1}}") == []
