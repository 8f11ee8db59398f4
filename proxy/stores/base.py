"""What the stores promise. Each method is one atomic step, so that a shared store can be one script for each.

Time is the store's own: callers speak of durations only, and processes whose clocks differ agree all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ticket:
    """A wish for `amount` of what `name` counts, of which there may be `limit` in any `seconds`.

    `seconds` 0 is concurrency: held until it is given back. `amount` 0 takes nothing and waits only for a rest.
    """

    name: str
    limit: int
    seconds: float
    amount: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that tickets were taken; give it back exactly once (again does no harm). `id` is the store's own."""

    id: str
    tickets: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing was taken: all tickets would fit in `seconds` at the earliest, `name` being the last of them.

    Windows and rests are exact if nobody else takes anything; a place that somebody holds is an estimate from how long
    such places were held before. Infinite where an amount is above its limit. Of places, `at_once` may be held by those
    who wait, each for `pace` seconds as estimated likewise, 0 where nothing is known.
    """

    seconds: float
    name: str
    pace: float = 0.0
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One counter as the store sees it; `rests` is the seconds for which nothing may be taken."""

    name: str
    used: int
    limit: int | None  # None: a rest without a counter
    seconds: float
    rests: float


class CounterStore(Protocol):
    """Limits over windows of time and over places held, taken together or not at all."""

    async def take(self, tickets: Sequence[Ticket]) -> Receipt | Wait:
        """Take all tickets, or none of them. Their names differ from each other."""
        ...

    async def correct(self, receipt: Receipt, name: str, amount: int) -> None:
        """The real amount in place of the reserved one; the last word counts. Nothing once it was given back."""
        ...

    async def give_back(self, receipt: Receipt, *, unused: bool) -> None:
        """End what is held; `unused` returns the amounts of windows too, because nothing was sent."""
        ...

    async def wait(self, tickets: Sequence[Ticket]) -> float:
        """The seconds that `take` would answer now, 0 where it would take; takes nothing."""
        ...

    async def rest_until(self, name: str, seconds: float) -> None:
        """Nothing of `name` for that long from now; a longer rest that was asked before stands."""
        ...

    async def wake(self, name: str) -> None:
        """End the rest of `name`, if it has one."""
        ...

    async def read(self, prefix: str) -> Sequence[Row]:
        """The counters in use, and the rests, whose names begin with `prefix`, by name."""
        ...
