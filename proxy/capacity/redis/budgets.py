"""The budget store in Redis, which all replicas share; leases end on the clock of Redis.

A counter is a hash (`spent`, `reserved`, `closed`, `seeded`), a sorted set of its reservations by the end of their
lease, and one of those whose lease has ended. Each step is one script. Settling is idempotent, because it counts only
a reservation that is in one of the sets; a counter that Redis has lost is seeded again from the ledger.
"""

from __future__ import annotations

import math
import secrets
from collections import OrderedDict, deque
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
from proxy.capacity.redis.budget_scripts import budget_scripts
from proxy.capacity.redis.client import StateClient, state_key
from proxy.capacity.redis.connection import Argument
from proxy.capacity.redis.scripts import SERVER_TIME

MAX_SETTLED = 10_000  # ids of settled reservations that are kept
MAX_UNRETURNED = 1000  # reservations that ended while Redis was unavailable; others return with their lease
MAX_SEEN = 10_000  # counters whose last known state is kept
RENEWED_AT_ONCE = 100  # charges in one script, so that Redis is never busy for long


class RedisBudgets:
    """A `BudgetStore` over Redis. `reserve`, `seed` and `read` raise `StateUnavailable` while Redis is unavailable.

    What is settled meanwhile is summed up by counter, and added when Redis is available again.
    """

    shared = True

    def __init__(self, client: StateClient, *, time: str = SERVER_TIME) -> None:
        self._client = client
        self._scripts = budget_scripts(time)
        self._settled: OrderedDict[str, None] = OrderedDict()  # ids, oldest first
        self._deferred: dict[BudgetCounter, tuple[int, bool, BudgetCharge]] = {}  # cost, whether it closes, charge
        self._unreturned: deque[BudgetReservation] = deque(maxlen=MAX_UNRETURNED)
        self._seen: dict[BudgetCounter, Spending] = {}
        client.on_recovery.append(self._send_deferred)

    def reserve_at_once(self, reservation: BudgetReservation, lease: float) -> None:
        """Reserve nothing: only Redis knows what other processes have spent."""

    async def reserve(self, reservation: BudgetReservation, lease: float) -> Granted | Refused | Unseeded:
        """Reserve for `lease` seconds in all counters of the reservation, or in none."""
        charges = reservation.charges
        arguments: list[Argument] = [_member(reservation), reservation.nusd, math.ceil(lease * 1e6)]
        for charge in charges:
            arguments += (_or_none(charge.hard), _or_none(charge.soft), _expiry(charge))
        state, *rest = await self._client.call(self._scripts.reserve, _keys(charges), arguments)
        if state == 1:
            return Granted(tuple([charges[index - 1] for index in rest])) if rest else GRANTED
        if state == 2:
            return Unseeded(tuple([charges[index - 1] for index in rest]))
        index, spent, reserved, closed = rest
        return Refused(charges[index - 1], Spending(int(spent), int(reserved), bool(closed)))

    async def seed(self, charge: BudgetCharge, nusd: int, *, again: bool = False) -> None:
        """Set what a counter has spent before its first use; `again`: it may have been seeded with too little."""
        await self._client.call(self._scripts.seed, _keys([charge]), [nusd, _expiry(charge), int(again)])

    def settle(self, reservation: BudgetReservation, nusd: int) -> None:
        """End a reservation with the real cost in the background; again does no harm."""
        settled = self._settled
        if reservation.id in settled:
            return
        settled[reservation.id] = None
        if len(settled) > MAX_SETTLED:
            settled.popitem(last=False)
        closes = nusd > reservation.nusd
        if not self._client.available:
            for charge in reservation.charges:
                self._defer(charge, nusd, closes=closes and charge.hard is not None)
            self._unreturned.append(reservation)
            return
        self._end(reservation, nusd, closes=closes)

    def _end(self, reservation: BudgetReservation, nusd: int, *, closes: bool = False) -> None:
        arguments: list[Argument] = [_member(reservation), reservation.nusd, nusd]
        for charge in reservation.charges:
            arguments += (int(closes and charge.hard is not None), _expiry(charge))
        self._client.post(self._scripts.settle, _keys(reservation.charges), arguments, repeat=True)

    def commit(self, charges: Sequence[BudgetCharge], nusd: int) -> None:
        """Add a cost that was reserved elsewhere, in the background."""
        for charge in charges:
            self._defer(charge, nusd, closes=False)
        if self._client.available:
            self._send_deferred()

    def renew(self, reservations: Sequence[BudgetReservation], lease: float) -> None:
        """Extend the leases to `lease` seconds from now, in the background."""
        if not self._client.available:
            return
        pairs = [(each, charge) for each in reservations if each.id not in self._settled for charge in each.charges]
        for start in range(0, len(pairs), RENEWED_AT_ONCE):
            some = pairs[start : start + RENEWED_AT_ONCE]
            arguments: list[Argument] = [math.ceil(lease * 1e6)]
            for reservation, charge in some:
                arguments += (_member(reservation), reservation.nusd, _expiry(charge))
            self._client.post(self._scripts.renew, _keys([charge for _, charge in some]), arguments)

    def peek(self, counter: BudgetCounter) -> Spending | None:
        """Return what `read` last returned for a counter."""
        return self._seen.get(counter)

    async def read(self, counters: Sequence[BudgetCounter]) -> Sequence[Spending | None]:
        """Return the state of the counters; `None` for one that is not seeded."""
        if not counters:
            return []
        keys = [key for counter in counters for key in _keys([BudgetCharge(counter, None)])]
        answers = await self._client.call(self._scripts.read, keys)
        rows: list[Spending | None] = []
        for counter, (seeded, spent, reserved, closed) in zip(counters, answers, strict=True):
            row = Spending(int(spent), int(reserved), bool(closed)) if seeded else None
            rows.append(row)
            if row is not None:
                if len(self._seen) >= MAX_SEEN:
                    self._seen.clear()
                self._seen[counter] = row
        return rows

    def _defer(self, charge: BudgetCharge, nusd: int, *, closes: bool) -> None:
        before, closed, _ = self._deferred.get(charge.counter, (0, False, charge))
        if nusd or closes:
            self._deferred[charge.counter] = before + nusd, closed or closes, charge

    def _send_deferred(self) -> None:
        """Add what was settled while Redis was unavailable, and return what was reserved; repetitions count once."""
        while self._unreturned:
            self._end(self._unreturned.popleft(), 0)
        deferred, self._deferred = self._deferred, {}
        for nusd, closes, charge in deferred.values():
            sum_key = state_key("budget-sum", secrets.token_hex(8))
            arguments = [nusd, int(closes), _expiry(charge)]
            self._client.post(self._scripts.add, [sum_key, *_keys([charge])], arguments, repeat=True)


def _keys(charges: Sequence[BudgetCharge]) -> list[str]:
    keys = []
    for charge in charges:
        scope, id, period, start = charge.counter
        name = f"{scope}:{period}:{start}:{id}"
        keys += [state_key(kind, name) for kind in ("budget", "budget-leases", "budget-ended")]
    return keys


def _member(reservation: BudgetReservation) -> str:
    return f"{reservation.id}:{reservation.nusd}"


def _or_none(limit: int | None) -> int:
    return -1 if limit is None else limit


def _expiry(charge: BudgetCharge) -> int:
    return 0 if charge.end is None else charge.end + KEEP_SECONDS
