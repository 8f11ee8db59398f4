"""Budgets under random interleavings of reserving, settling, expiring leases and crashes.

Spending never exceeds a hard budget, in whatever order attempts run, and nothing stays reserved in the end. Attempts
cost at most what is reserved for them, and a running attempt's lease is renewed in time, as `Budgets.run` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.capacity.budget_memory import MemoryBudgets
from proxy.capacity.budget_store import BudgetCharge, BudgetCounter, BudgetReservation, Granted, Spending
from tests.support.fakes import FakeClock

LEASE = 60.0
CAPS = {"total": 1000, "user": 400, "key": 150}
COUNTERS = {
    "total": BudgetCounter("total", "", "month", 0),
    "user": BudgetCounter("user", "alice", "month", 0),
    "key": BudgetCounter("key", "k_1", "month", 0),
}
T = TypeVar("T")


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that does not wait."""
    return asyncio.run(coroutine)


class Spend(RuleBasedStateMachine):
    """Several processes with attempts, which share one store."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.store = MemoryBudgets(self.clock)
        self.running: list[BudgetReservation] = []
        self.committed = dict.fromkeys(CAPS, 0)
        self.number = 0
        for name, counter in COUNTERS.items():
            now(self.store.seed(BudgetCharge(counter, None, CAPS[name]), 0))

    @rule(names=st.sets(st.sampled_from(sorted(CAPS)), min_size=1), nusd=st.integers(0, 300))
    def begin(self, names: set[str], nusd: int) -> None:
        self.number += 1
        charges = tuple(BudgetCharge(COUNTERS[name], None, CAPS[name]) for name in sorted(names))
        reservation = BudgetReservation(f"p-{self.number}", charges, nusd)
        fits = all(self.committed[name] + self.reserved(name) + nusd <= CAPS[name] for name in names)

        result = now(self.store.reserve(reservation, LEASE))

        assert not fits or isinstance(result, Granted)
        if isinstance(result, Granted):
            self.running.append(reservation)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        reservation = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        nusd = data.draw(st.integers(0, reservation.nusd))
        for _ in range(data.draw(st.integers(1, 2))):  # again does no harm
            self.store.settle(reservation, nusd)
        for charge in reservation.charges:
            self.committed[charge.counter.scope] += nusd

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Forget an attempt without settling it: its reservation stays until its lease ends."""
        self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))

    @rule(seconds=st.floats(0, LEASE - 1))
    def pass_time(self, seconds: float) -> None:
        self.clock.pass_(seconds)
        self.store.renew(self.running, LEASE)

    def reserved(self, name: str) -> int:
        [row] = now(self.store.read([COUNTERS[name]]))
        assert row is not None
        return row.reserved

    @invariant()
    def spending_is_within_the_budgets(self) -> None:
        rows = now(self.store.read(list(COUNTERS.values())))
        for (name, cap), row in zip(CAPS.items(), rows, strict=True):
            assert row is not None
            assert row.spent == self.committed[name]
            assert row.spent + row.reserved <= cap
            mine = [each for each in self.running if any(c.counter.scope == name for c in each.charges)]
            assert row.reserved >= sum(each.nusd for each in mine)

    def teardown(self) -> None:
        for reservation in self.running:
            self.store.settle(reservation, 0)
        self.clock.pass_(LEASE)

        rows = now(self.store.read(list(COUNTERS.values())))

        assert rows == [Spending(self.committed[name], 0) for name in CAPS]


Spend.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSpend = Spend.TestCase
