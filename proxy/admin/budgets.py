"""`GET /admin/budgets`: every budget with what is spent and reserved in its current period."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from itertools import dropwhile
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.endpoint import Answer, Context, ReadBudgets, reads
from proxy.admin.pages import bounds, invalid_after
from proxy.admin.values import visible
from proxy.capacity.budgets import BudgetRow
from proxy.core.accounts import Budget, BudgetScope, Team, User, VirtualKey
from proxy.core.budgets import BudgetPolicy, BudgetRule, reset_text, rule_of
from proxy.core.money import usd
from proxy.store.accounts import Accounts

_PAGE = 500  # rows of accounts that are read at once
_KINDS: dict[BudgetScope, type[Any]] = {
    "team": Team,
    "user": User,
    "key": VirtualKey,
}
_CONFIG = "config"

Numbered = tuple[str, BudgetRule]  # the cursor behind which the next page begins, and the rule


class BudgetRows:
    """The endpoint."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [reads("/budgets", self.list)]
        self.answers: dict[str, Answer] = {}

    async def list(self, request: Request) -> Response:
        """`GET /admin/budgets`: those of the configuration, then those of teams, users and keys."""
        context, (limit, after) = self._context, bounds(request)
        accounts = None if context.storage is None else context.storage.accounts
        found: list[Numbered] = []
        async with aclosing(budget_rules(accounts, context.live.snapshot.budgets, after)) as numbered:
            async for each in numbered:
                found.append(each)
                if len(found) > limit:
                    break
        shown = found[:limit]
        data = await budget_rows(context.budgets, [rule for _, rule in shown])
        last = shown[-1][0] if shown else None
        return JSONResponse({"object": "list", "data": data, "has_more": len(found) > limit, "last_id": last})


async def budget_rows(budgets: ReadBudgets | None, rules: Sequence[BudgetRule]) -> list[dict[str, Any]]:
    """Return rules with their state; without `budgets` nothing is counted."""
    states = [] if budgets is None else await budgets.read(rules)
    return [_shown(rule, states[number] if states else None) for number, rule in enumerate(rules)]


async def budget_rules(
    accounts: Accounts | None, policy: BudgetPolicy | None, after: str | None = None
) -> AsyncGenerator[Numbered, None]:
    """Yield all budgets behind the cursor `after`. Raises `InvalidRequest` for an invalid cursor."""
    section, id = _cursor(after)
    if section == _CONFIG:
        start = int(id) + 1 if id else 0
        for number, rule in enumerate(_configured(policy)):
            if number >= start:
                yield f"{_CONFIG}/{number}", rule
        section, id = "team", ""
    if accounts is None:
        return
    for scope in dropwhile(lambda scope: scope != section, _KINDS):
        async for rule in _stored(accounts, scope, id or None, policy):
            yield f"{scope}/{rule.id}", rule
        id = ""


async def _stored(
    accounts: Accounts, scope: BudgetScope, after: str | None, policy: BudgetPolicy | None
) -> AsyncIterator[BudgetRule]:
    while True:
        rows = await accounts.list(_KINDS[scope], after, _PAGE)
        for row in rows:
            budget = row.budget or (_default(policy, row.id) if scope == "user" else None)
            if budget is not None:
                yield rule_of(scope, row.id, budget)
        if len(rows) < _PAGE:
            return
        after = rows[-1].id


def _default(policy: BudgetPolicy | None, user: str) -> Budget | None:
    """Return `defaults.user_budget` for a user without a budget of its own or of the configuration."""
    return None if policy is None or ("user", user) in policy.rules else policy.user


def _configured(policy: BudgetPolicy | None) -> Iterator[BudgetRule]:
    for rules in policy.rules.values() if policy else ():
        yield from rules


def _cursor(after: str | None) -> tuple[str, str]:
    if after is None:
        return _CONFIG, ""
    section, _, id = after.partition("/")
    number = id.isascii() and id.isdigit() and len(id) < 10
    if (section == _CONFIG and number) or (section in _KINDS and visible(id)):
        return section, id
    raise invalid_after()


def _shown(rule: BudgetRule, row: BudgetRow | None) -> dict[str, Any]:
    return {
        "scope": rule.scope,
        "id": rule.id or None,
        "usd": usd(rule.nusd),
        "period": rule.period,
        "hard": rule.hard,
        "timezone": rule.timezone,
        "spent_usd": usd(row.spending.spent) if row else 0.0,
        "reserved_usd": usd(row.spending.reserved) if row else 0.0,
        "resets_at": reset_text(row.window) if row else None,
    }
