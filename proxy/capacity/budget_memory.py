"""Budgets in the memory of one process."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.capacity.budget_store import (
    GRANTED,
    KEEP_SECONDS,
    BudgetCharge,
    BudgetCounter,
    BudgetReservation,
    Granted,
    Refused,
    Spending,
    Unseeded,
)
from proxy.core.clock import Clock

MAX_SETTLED = 10_000  # ids of settled reservations that are kept; one is settled twice within moments or never
MIN_PRUNED = 1000  # counters below which ended windows are kept


class _Account:
    """One counter. `held` has the amount and the end of the lease of each reservation."""

    __slots__ = ("closed", "end", "held", "reserved", "spent")

    def __init__(self, spent: int, end: int | None) -> None:
        self.spent = spent
        self.reserved = 0
        self.closed = False
        self.end = end
        self.held: dict[str, tuple[int, float]] = {}

    def allows(self, nusd: int, limit: int) -> bool:
        return not self.closed and self.spent + self.reserved + nusd <= limit

    def expire(self, now: float) -> None:
        """Give back the reservations whose leases have ended."""
        for id, (nusd, until) in list(self.held.items()):
            if until <= now:
                del self.held[id]
                self.reserved -= nusd


class MemoryBudgets:
    """A `BudgetStore` for one process."""

    shared = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accounts: dict[BudgetCounter, _Account] = {}
        self._settled: dict[str, None] = {}  # ids, oldest first
        self._prune_at = MIN_PRUNED

    async def reserve(self, reservation: BudgetReservation, lease: float) -> Granted | Refused | Unseeded:
        """Reserve for `lease` seconds in all counters of the reservation, or in none."""
        return self.reserve_at_once(reservation, lease)

    def reserve_at_once(self, reservation: BudgetReservation, lease: float) -> Granted | Refused | Unseeded:
        """Do what `reserve` does."""
        accounts, charges, nusd = self._accounts, reservation.charges, reservation.nusd
        for charge in charges:
            if charge.counter not in accounts:
                return Unseeded(tuple([each for each in charges if each.counter not in accounts]))
        now = self._clock.monotonic()
        exceeded: tuple[BudgetCharge, ...] = ()
        for charge in charges:
            account = accounts[charge.counter]
            if charge.hard is not None and not account.allows(nusd, charge.hard):
                account.expire(now)
                if not account.allows(nusd, charge.hard):
                    return Refused(charge, Spending(account.spent, account.reserved, account.closed))
            if charge.soft is not None and account.spent >= charge.soft:
                exceeded += (charge,)
        self._add(reservation, now + lease)
        return Granted(exceeded) if exceeded else GRANTED

    async def seed(self, charge: BudgetCharge, nusd: int, *, again: bool = False) -> None:
        """Set what a counter has spent before its first use; `again`: it may have been seeded with too little."""
        account = self._accounts.get(charge.counter)
        if account is None:
            self._prune()
            self._accounts[charge.counter] = _Account(nusd, charge.end)
        elif again:
            account.spent = max(account.spent, nusd)

    def settle(self, reservation: BudgetReservation, nusd: int) -> None:
        """End a reservation with the real cost; again does no harm. A cost above it closes its hard budgets."""
        settled = self._settled
        if reservation.id in settled:
            return
        settled[reservation.id] = None
        if len(settled) > MAX_SETTLED:
            del settled[next(iter(settled))]
        for charge in reservation.charges:
            account = self._accounts.get(charge.counter)
            if account is None:
                continue  # its window ended long ago
            if held := account.held.pop(reservation.id, None):
                account.reserved -= held[0]
            account.spent += nusd
            if nusd > reservation.nusd and charge.hard is not None:
                account.closed = True

    def commit(self, charges: Sequence[BudgetCharge], nusd: int) -> None:
        """Add a cost for which nothing is reserved in this store."""
        for charge in charges:
            if account := self._accounts.get(charge.counter):
                account.spent += nusd

    def renew(self, reservations: Sequence[BudgetReservation], lease: float) -> None:
        """Extend the leases to `lease` seconds from now. One that had expired is reserved again."""
        now = self._clock.monotonic()
        for reservation in reservations:
            if reservation.id not in self._settled:
                self._add(reservation, now + lease)
        for account in self._accounts.values():
            account.expire(now)

    def peek(self, counter: BudgetCounter) -> Spending | None:
        """Return the state of a counter; `None` for one that is not seeded."""
        account = self._accounts.get(counter)
        if account is None:
            return None
        account.expire(self._clock.monotonic())
        return Spending(account.spent, account.reserved, account.closed)

    async def read(self, counters: Sequence[BudgetCounter]) -> Sequence[Spending | None]:
        """Return the state of the counters; `None` for one that is not seeded."""
        return [self.peek(counter) for counter in counters]

    def _add(self, reservation: BudgetReservation, until: float) -> None:
        for charge in reservation.charges:
            account = self._accounts.get(charge.counter)
            if account is None:
                continue
            if reservation.id not in account.held:
                account.reserved += reservation.nusd
            account.held[reservation.id] = (reservation.nusd, until)

    def _prune(self) -> None:
        """Forget windows that ended long ago; what they have spent is in the store of records."""
        if len(self._accounts) < self._prune_at:
            return
        before = self._clock.time() - KEEP_SECONDS
        ended = [key for key, each in self._accounts.items() if each.end and each.end < before and not each.held]
        for counter in ended:
            del self._accounts[counter]
        self._prune_at = max(MIN_PRUNED, 2 * len(self._accounts))
