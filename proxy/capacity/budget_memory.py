"""Budgets in the memory of one process."""

from __future__ import annotations

from collections import OrderedDict
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

MAX_SETTLED = 2_000  # ids of settled reservations that are kept; one is settled twice within moments or never
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
        self._settled: OrderedDict[str, None] = OrderedDict()  # ids, oldest first
        self._prune_at = MIN_PRUNED

    async def reserve(self, reservation: BudgetReservation, lease: float) -> Granted | Refused | Unseeded:
        """Reserve for `lease` seconds in all counters of the reservation, or in none."""
        return self.reserve_at_once(reservation, lease)

    def reserve_at_once(self, reservation: BudgetReservation, lease: float) -> Granted | Refused | Unseeded:
        """Do what `reserve` does."""
        get, charges, id, nusd = self._accounts.get, reservation.charges, reservation.id, reservation.nusd
        accounts = [account for charge in charges if (account := get(charge.counter)) is not None]
        if len(accounts) < len(charges):
            return Unseeded(tuple([each for each in charges if each.counter not in self._accounts]))
        now = self._clock.monotonic()
        exceeded: tuple[BudgetCharge, ...] = ()
        for charge, account in zip(charges, accounts, strict=True):
            _, _, hard, soft = charge
            if hard is not None and (account.closed or account.spent + account.reserved + nusd > hard):
                account.expire(now)
                if account.closed or account.spent + account.reserved + nusd > hard:
                    return Refused(charge, Spending(account.spent, account.reserved, account.closed))
            if soft is not None and account.spent >= soft:
                exceeded += (charge,)
        held = nusd, now + lease
        for account in accounts:
            if id not in account.held:
                account.reserved += nusd
            account.held[id] = held
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
        settled, id, above = self._settled, reservation.id, nusd > reservation.nusd
        if id in settled:
            return
        settled[id] = None
        if len(settled) > MAX_SETTLED:
            settled.popitem(last=False)
        for charge in reservation.charges:
            account = self._accounts.get(charge.counter)
            if account is None:
                continue  # its window ended long ago
            if held := account.held.pop(id, None):
                account.reserved -= held[0]
            account.spent += nusd
            if above and charge.hard is not None:
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
            if account := self._accounts.get(charge.counter):
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
