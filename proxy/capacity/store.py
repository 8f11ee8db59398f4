"""The protocol of counter stores. Each method is one atomic step: over a shared store, one script and one round trip.

Only reading and reserving have a result to wait for. The other methods are not coroutines: a shared store sends them in
the background, in order, before its next request.

The store keeps the time: callers pass durations in seconds, so processes whose clocks differ share limits correctly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class CounterKey(NamedTuple):
    """The key of one counter: `owner` is a route key, or the name of anything else that has limits."""

    owner: tuple[str, ...]
    kind: str  # of the limit, for example `rpm`


class Charge(NamedTuple):
    """An amount to reserve from a counter that allows `limit` per window of `seconds`.

    `seconds` 0 means concurrency: a slot is used until it is released. `amount` 0 takes nothing and only waits for a
    cooldown to end. An `estimated` amount is replaced by the real one later, mostly a lower one, which frees capacity.
    """

    counter: CounterKey
    limit: int
    seconds: float
    amount: int
    estimated: bool = False


class Reservation(NamedTuple):
    """The reserved `charges`; end it exactly once (again does no harm). The store assigns `id`.

    `used` is what counted for each charge just after the reservation, with it; 0 for a charge of nothing.
    """

    id: str
    charges: tuple[Charge, ...]
    used: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """The answer if nothing was reserved: all charges fit in `seconds` at the earliest.

    Waits for windows and cooldowns are `exact` if no other call takes anything. Waits for slots and reserved amounts
    are estimates from earlier durations. `seconds` is infinite if an amount exceeds its limit. `at_once` waiting calls
    can proceed together, each for an estimated `pace` seconds (0: unknown). `portion` is the requested share of the
    limit, 0 if no request can be smaller. `charge` is the one that takes longest, and `used` what counts for it now.
    """

    seconds: float
    pace: float = 0.0
    at_once: int = 1
    exact: bool = True
    portion: float = 0.0
    charge: Charge | None = field(default=None, compare=False)
    used: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Row:
    """The state of one counter; `cooldown` is the remaining cooldown in seconds."""

    counter: CounterKey
    used: int
    limit: int | None  # `None` for a cooldown without a counter
    seconds: float
    cooldown: float


class CounterStore(Protocol):
    """Limits over time windows and concurrency slots, reserved together or not at all."""

    @property
    def shared(self) -> bool:
        """Whether other processes share the store; if so, every reservation waits for its answer."""
        ...

    async def reserve(self, charges: Sequence[Charge]) -> Reservation | Wait:
        """Reserve all charges; if one does not fit, reserve none and return how long to wait.

        The counters of the charges must differ.
        """
        ...

    def fits_at_once(self, charges: Sequence[Charge]) -> bool:
        """Return whether all charges fit now; always `False` in a shared store, which would need a round trip."""
        ...

    def reserve_at_once(self, charges: Sequence[Charge]) -> Reservation | None:
        """Reserve all charges without a round trip; `None` if they do not fit, and always in a shared store."""
        ...

    def settle(self, reservation: Reservation, amount: int | None) -> None:
        """End a reservation: slots are free again, and `amount` replaces estimated amounts (`None`: they stand)."""
        ...

    def release(self, reservation: Reservation) -> None:
        """Undo a reservation that was not used: slots and amounts are free again."""
        ...

    async def wait(self, charges: Sequence[Charge]) -> float:
        """Return the wait in seconds that `reserve` would report now, 0 if it would succeed; takes nothing."""
        ...

    def start_cooldown(self, counter: CounterKey, seconds: float) -> None:
        """Put `counter` into cooldown for that many seconds; a longer cooldown stays."""
        ...

    def end_cooldown(self, counter: CounterKey) -> None:
        """End the cooldown of `counter`, if it has one."""
        ...

    async def read(self) -> Sequence[Row]:
        """Return the counters in use and the cooldowns, by key."""
        ...
