"""What the stores promise. Each method is one atomic step, so that a shared store can be one script for each.

Time is the store's own: callers speak of durations only, and processes whose clocks differ agree all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Ticket:
    """A wish for `amount` of what `name` counts, of which there may be `limit` in any `seconds`.

    `seconds` 0 is concurrency: held until it is given back. `amount` 0 takes nothing and waits only for a rest. What is
    `estimated` will be corrected, and mostly downwards: who finds no room because of it may hope for more.
    """

    name: str
    limit: int
    seconds: float
    amount: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that tickets were taken; give it back exactly once (again does no harm). `id` is the store's own."""

    id: str
    tickets: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing was taken: all tickets would fit in `seconds` at the earliest, `name` being the last of them.

    Windows and rests are `exact` if nobody else takes anything; what somebody holds, places or reserved amounts, is an
    estimate from how long such things were held before. Infinite where an amount is above its limit. `at_once` of those
    who wait may go together, each for `pace` seconds as estimated likewise, 0 where nothing is known. `portion` is the
    part of the limit that is wished for, 0 where nothing could be smaller.
    """

    seconds: float
    name: str
    pace: float = 0.0
    at_once: int = 1
    exact: bool = True
    portion: float = 0.0


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

    def export(self, prefix: str, shift: float, *, longer_than: float = 0.0) -> list[dict[str, Any]]:
        """Of the windows whose names begin with `prefix`, what would be lost with this process, as JSON values.

        Only of those of more than `longer_than` seconds.

        `shift` is the wall's clock less the process's monotonic one. A store that is shared loses nothing: it has an
        empty list, and nothing to `restore`.
        """
        ...

    def restore(self, rows: Sequence[Mapping[str, Any]], shift: float) -> None:
        """Count what `export` said, in another process perhaps, as if it had been taken here.

        Raises `ValueError`, `TypeError` or `KeyError`, and changes nothing, for what `export` never says.
        """
        ...
