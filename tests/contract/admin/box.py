"""The admin API over a database, for its contract tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import httpx

from proxy.admin.storage import AgentParts, ModelOverrides, Storage
from proxy.admission.keys import Peppers
from proxy.capacity.budget_memory import MemoryBudgets
from proxy.capacity.budgets import Budgets
from proxy.core.accounts import Budget, BudgetScope
from proxy.core.budgets import BudgetPolicy, BudgetRule
from proxy.core.money import NUSD
from proxy.core.principal import Principal
from proxy.store.accounts import Accounts
from proxy.store.audit_log import AuditLog
from proxy.store.database import Database
from proxy.store.ledger import LedgerStore
from tests.support.calls import deployment, live
from tests.support.fakes import FakeClock
from tests.unit.admin.context import TOKEN, context, serving

PEPPER = "canary-pepper-0123456789abcdef0123456789"
NOW = FakeClock().time()


POLICY = BudgetPolicy(
    rules={("total", ""): (BudgetRule("total", "", 10 * NUSD, "day"), BudgetRule("total", "", 50 * NUSD, "month"))},
    user=Budget(NUSD),
)


class Past:
    """The sums of a ledger; what never ends, ends far in the future."""

    is_complete = True

    def __init__(self, ledger: LedgerStore) -> None:
        self._ledger = ledger

    async def spent(self, scope: BudgetScope, id: str, start_us: int, end_us: int | None) -> int:
        return await self._ledger.spent(scope, id, start_us, 2**62 if end_us is None else end_us)


class AsPrincipal:
    """Identifies every caller without the admin token as one principal."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    def __call__(self, headers: Any, address: Any) -> Principal:
        return self._principal

    async def look_up(self, headers: Any, address: Any) -> Principal:
        return self._principal


@dataclass
class Box:
    """A client of the admin API, and what it works on."""

    http: httpx.AsyncClient
    ledger: LedgerStore
    forgotten: list[None] = field(default_factory=list)  # one for each time that the caches were dropped
    asked: list[str] = field(default_factory=list)  # the topics of questions to other workers

    async def ok(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Return the answer to a request that succeeds."""
        answer = await self.http.request(method, f"/admin/{path}", json=body, params=query)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def error(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, str | None, str]:
        """Return the status, the field and the message of a request that fails."""
        answer = await self.http.request(method, f"/admin/{path}", json=body, params=query)
        error = answer.json()["error"]
        return answer.status_code, error["param"], error["message"]


@contextlib.asynccontextmanager
async def boxed(database: Database, principal: Principal | None = None) -> AsyncIterator[Box]:
    """The admin API over `database`, for the admin token, or for a principal."""
    clock = FakeClock()
    ledger, forgotten, asked = LedgerStore(database), list[None](), list[str]()

    async def ask(topic: str, body: str) -> list[str]:
        asked.append(topic)
        return []

    storage = Storage(
        accounts=Accounts(database, clock),
        ledger=ledger,
        audit=AuditLog(database),
        overrides=cast("ModelOverrides", None),
        agents=cast("AgentParts", None),
        now=clock.time,
        issue=Peppers([PEPPER]).issue,
        forget=lambda: forgotten.append(None),
    )
    current = live(deployment())
    current.snapshot = replace(current.snapshot, budgets=POLICY)
    budgets = Budgets(MemoryBudgets(clock), clock, current, id="box", ledger=Past(ledger))
    of = replace(context(current), storage=storage, ask=ask, budgets=budgets)
    identify = None if principal is None else AsPrincipal(principal)
    async with serving(of, TOKEN, identify) as http:
        if principal is None:
            http.headers["authorization"] = f"Bearer {TOKEN}"
        yield Box(http, ledger, forgotten, asked)
