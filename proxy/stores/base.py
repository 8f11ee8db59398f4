"""The protocol of counter stores. Each method is one atomic step, so that a shared store can be one script for each.

Only reading and reserving have a result to wait for. The other methods are not coroutines: a shared store sends them in
the background, in order, before its next request.

The store keeps the time: callers pass durations in seconds, so processes whose clocks differ share limits correctly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request for `amount` from counter `name`, which allows `limit` per window of `seconds`.

    `seconds` 0 means concurrency: a slot is held until it is released. `amount` 0 takes nothing and only waits for a
    cooldown to end. An `estimated` amount is corrected later, mostly downwards, which frees capacity.
    """

    name: str
    limit: int
    seconds: float
    amount: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """A reservation of all `tickets`; release it exactly once (again does no harm). The store assigns `id`."""

    id: str
    tickets: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """The answer if nothing was taken: all tickets fit in `seconds` at the earliest; counter `name` is the last to fit.

    Waits for windows and cooldowns are `exact` if no other call takes anything. Waits for slots and reserved amounts
    are estimates from earlier hold times. `seconds` is infinite if an amount exceeds its limit. `at_once` waiting calls
    can proceed together, each for an estimated `pace` seconds (0: unknown). `portion` is the requested share of the
    limit, 0 if no request can be smaller.
    """

    seconds: float
    name: str
    pace: float = 0.0
    at_once: int = 1
    exact: bool = True
    portion: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """The state of one counter; `rests` is the remaining cooldown in seconds."""

    name: str
    used: int
    limit: int | None  # `None` for a cooldown without a counter
    seconds: float
    rests: float


class CounterStore(Protocol):
    """Limits over time windows and concurrency slots, reserved together or not at all."""

    async def take(self, tickets: Sequence[Ticket]) -> Receipt | Wait:
        """Reserve all tickets or none of them. Their names must differ."""
        ...

    def correct(self, receipt: Receipt, name: str, amount: int) -> None:
        """Replace the reserved amount by the real one; the last call wins. Does nothing after the release."""
        ...

    def give_back(self, receipt: Receipt, *, unused: bool) -> None:
        """Release the slots; `unused` also returns the amounts of windows, because nothing was sent."""
        ...

    async def wait(self, tickets: Sequence[Ticket]) -> float:
        """Return the wait in seconds that `take` would report now, 0 if it would succeed; takes nothing."""
        ...

    def rest_until(self, name: str, seconds: float) -> None:
        """Put `name` into cooldown for that many seconds; a longer cooldown stays."""
        ...

    def wake(self, name: str) -> None:
        """End the cooldown of `name`, if it has one."""
        ...

    async def read(self, prefix: str) -> Sequence[Row]:
        """Return the counters in use and the cooldowns whose names begin with `prefix`, by name."""
        ...

    def export(self, prefix: str, shift: float, *, longer_than: float = 0.0) -> list[dict[str, Any]]:
        """Return the windows whose names begin with `prefix`, as JSON values, to be saved across a restart.

        Windows of at most `longer_than` seconds are left out. `shift` is wall-clock time minus monotonic time, in
        seconds. A shared store survives a restart: it returns an empty list and has nothing to `restore`.
        """
        ...

    def restore(self, rows: Sequence[Mapping[str, Any]], shift: float) -> None:
        """Count what `export` returned, possibly in another process, as if it had been taken here.

        Raises `ValueError`, `TypeError` or `KeyError`, and changes nothing, if `export` cannot have returned it.
        """
        ...
