"""The protocol of budget stores: what has been spent and reserved in each window of each budget.

Money is reserved in all budgets of an attempt in one atomic step, or in none. A reservation has a lease, which is
renewed while its attempt runs, and returns by itself when its process is gone. Settling replaces it by the real cost,
once, also after the lease has expired. Over a shared store each step is one round trip.

What has no result is no coroutine, so that no cancellation can prevent it: a shared store sends it in the background,
in order, before its next request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from proxy.core.accounts import BudgetScope, Period

KEEP_SECONDS = 2 * 86_400  # for which the counter of an ended window is kept, in case a clock is set back


class BudgetCounter(NamedTuple):
    """The spending of one scope and id in the window that begins at `start` (seconds since 1970)."""

    scope: BudgetScope
    id: str  # empty for `total`
    period: Period
    start: int


class BudgetCharge(NamedTuple):
    """One counter of a reservation, and its limits in nano-dollars; `end` is that of its window, if it ends."""

    counter: BudgetCounter
    end: int | None
    hard: int | None = None  # nothing is reserved beyond it
    soft: int | None = None  # reported when it is exceeded


class BudgetReservation:
    """`nusd` reserved for one attempt from the counters of `charges`, which differ."""

    __slots__ = ("__weakref__", "charges", "id", "locally", "nusd")

    def __init__(self, id: str, charges: tuple[BudgetCharge, ...], nusd: int) -> None:
        self.id = id  # unique over all processes
        self.charges = charges
        self.nusd = nusd
        self.locally = False  # in this process alone, while the shared store is unavailable


class Spending(NamedTuple):
    """The state of a counter, in nano-dollars; `closed`: a cost above its reservation has closed it."""

    spent: int = 0
    reserved: int = 0
    closed: bool = False


class Granted(NamedTuple):
    """The money is reserved; the soft limits of these charges are reached."""

    exceeded: tuple[BudgetCharge, ...] = ()


class Refused(NamedTuple):
    """Nothing is reserved: the hard limit of `charge` does not allow it."""

    charge: BudgetCharge
    spending: Spending


class Unseeded(NamedTuple):
    """Nothing is reserved: it is unknown what these counters have spent before; `seed` them first."""

    charges: tuple[BudgetCharge, ...]


GRANTED = Granted()


class BudgetStore(Protocol):
    """Counters of spent and reserved money."""

    @property
    def shared(self) -> bool:
        """Whether other processes count in it too."""
        ...

    def reserve_at_once(self, reservation: BudgetReservation, lease: float) -> Granted | Refused | Unseeded | None:
        """Do what `reserve` does; `None`, and nothing is reserved, if the store has to be waited for."""
        ...

    async def reserve(self, reservation: BudgetReservation, lease: float) -> Granted | Refused | Unseeded:
        """Reserve for `lease` seconds in all counters of the reservation, or in none."""
        ...

    async def seed(self, charge: BudgetCharge, nusd: int, *, again: bool = False) -> None:
        """Set what a counter has spent before its first use; a counter that is in use is not changed.

        `again`: it was seeded with too little; the larger amount counts.
        """
        ...

    def settle(self, reservation: BudgetReservation, nusd: int) -> None:
        """End a reservation with the real cost; again does no harm. A cost above it closes its hard budgets."""
        ...

    def commit(self, charges: Sequence[BudgetCharge], nusd: int) -> None:
        """Add a cost for which nothing is reserved in this store."""
        ...

    def renew(self, reservations: Sequence[BudgetReservation], lease: float) -> None:
        """Extend the leases to `lease` seconds from now. One that had expired is reserved again."""
        ...

    def peek(self, counter: BudgetCounter) -> Spending | None:
        """Return the state of a counter without a round trip; a shared store returns what `read` last returned."""
        ...

    async def read(self, counters: Sequence[BudgetCounter]) -> Sequence[Spending | None]:
        """Return the state of the counters; `None` for one that is not seeded."""
        ...
