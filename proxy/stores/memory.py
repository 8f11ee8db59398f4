"""The counter store in process memory: the default, and the reference for shared stores.

No method awaits between reading and writing, so each of them is atomic.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.core.clock import Clock
from proxy.core.saved import saved_text
from proxy.core.window import Window
from proxy.stores.base import Receipt, Row, Ticket, Wait
from proxy.stores.holds import Places, Reserved

MOST = 100_000  # names; beyond it the least recently used are dropped, in use or not
MOST_SAVED = 5000  # the most recently used windows; each takes at most about 3 KB in the file
SWEEP = 1024  # names before the first search for idle ones


class _Part:
    """The amount that one ticket of a reservation counts for at present."""

    __slots__ = ("amount", "counter", "reserved", "stamp")

    def __init__(self, counter: Window | Places, stamp: int, amount: int, reserved: Reserved | None) -> None:
        self.counter = counter
        self.stamp = stamp
        self.amount = amount
        self.reserved = reserved


class MemoryCounters:
    """A `CounterStore` in memory. Idle names are dropped when new ones are added."""

    def __init__(self, clock: Clock, *, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._counters: OrderedDict[str, Window | Places] = OrderedDict()  # least recently used first
        self._reserved: dict[str, Reserved] = {}  # amounts of windows that will be corrected
        self._rests: dict[str, float] = {}
        self._taken: dict[str, dict[str, _Part]] = {}  # reservation id -> name -> part, until the release
        self._ids = itertools.count(1)
        self._sweep_at = min(SWEEP, most)

    async def take(self, tickets: Sequence[Ticket]) -> Receipt | Wait:
        """Reserve all tickets or none; see `CounterStore`."""
        now = self._clock.monotonic()
        if wait := self._longest(tickets, now):
            return wait
        receipt = Receipt(str(next(self._ids)), tuple(tickets))
        taken = {}
        for ticket in tickets:
            if ticket.amount:
                taken[ticket.name] = self._part(ticket, receipt.id, now)
        self._taken[receipt.id] = taken
        return receipt

    def correct(self, receipt: Receipt, name: str, amount: int) -> None:
        """Correct the amount of a window; slots cannot be corrected."""
        part = self._taken.get(receipt.id, {}).get(name)
        if part is not None and isinstance(part.counter, Window):
            part.counter.correct(part.stamp, amount - part.amount, self._clock.monotonic())
            part.amount = amount

    def give_back(self, receipt: Receipt, *, unused: bool) -> None:
        """Release a reservation; only the first call has an effect."""
        now = self._clock.monotonic()
        for part in self._taken.pop(receipt.id, {}).values():
            if not isinstance(part.counter, Window):
                part.counter.release(receipt.id, now, unused=unused)
            elif unused:
                part.counter.correct(part.stamp, -part.amount, now)
            if part.reserved is not None:
                part.reserved.settle(receipt.id, part.amount, now, unused=unused)

    async def wait(self, tickets: Sequence[Ticket]) -> float:
        """Return the seconds until `take` can succeed."""
        wait = self._longest(tickets, self._clock.monotonic())
        return wait.seconds if wait else 0.0

    def rest_until(self, name: str, seconds: float) -> None:
        """Start a cooldown, which outlives the counter of its name."""
        now = self._clock.monotonic()
        if len(self._rests) >= self._sweep_at:
            self._sweep(now)
        self._rests[name] = max(now + seconds, self._rests.get(name, 0.0))

    def wake(self, name: str) -> None:
        """End the cooldown of `name`, whatever its length."""
        self._rests.pop(name, None)

    async def read(self, prefix: str) -> Sequence[Row]:
        """Return the rows of `/admin/limits`; visits every name."""
        now = self._clock.monotonic()
        names = {name for name, counter in self._counters.items() if name.startswith(prefix) and counter.used(now)}
        names |= {name for name, until in self._rests.items() if name.startswith(prefix) and until > now}
        return [self._row(name, now) for name in sorted(names)]

    def export(self, prefix: str, shift: float, *, longer_than: float = 0.0) -> list[dict[str, Any]]:
        """Return the windows, least recently used first. Slots are left out: they end with the process."""
        now = self._clock.monotonic()
        rows: list[dict[str, Any]] = []
        for name, counter in reversed(self._counters.items()):
            if not isinstance(counter, Window) or counter.seconds <= longer_than or not name.startswith(prefix):
                continue
            if counts := counter.export(shift, now):
                rows.append({"name": name, **counts})
                if len(rows) >= MOST_SAVED:
                    break
        return rows[::-1]

    def restore(self, rows: Sequence[Mapping[str, Any]], shift: float) -> None:
        """Add the saved windows; existing counters stay."""
        now = self._clock.monotonic()
        found = {saved_text(row["name"], 1000): Window.restored(row, shift, now) for row in rows[-MOST_SAVED:]}
        for name, window in found.items():
            if window.used(now):
                self._counters.setdefault(name, window)

    def _row(self, name: str, now: float) -> Row:
        rests = max(0.0, self._rests.get(name, 0.0) - now)
        counter = self._counters.get(name)
        if counter is None:
            return Row(name, 0, None, 0.0, rests)
        return Row(name, counter.used(now), counter.limit, counter.seconds, rests)

    def _part(self, ticket: Ticket, owner: str, now: float) -> _Part:
        """Reserve one ticket."""
        counter = self._counter(ticket, now)
        if isinstance(counter, Places):
            counter.hold(owner, ticket.amount, now)
            return _Part(counter, 0, ticket.amount, None)
        reserved = None
        if ticket.estimated:
            reserved = self._reserved.setdefault(ticket.name, Reserved())
            reserved.hold(owner, ticket.amount, now)
        return _Part(counter, counter.take(ticket.amount, now), ticket.amount, reserved)

    def _longest(self, tickets: Iterable[Ticket], now: float) -> Wait | None:
        """Return the longest of the tickets' waits, or `None` if all fit."""
        longest: Wait | None = None
        for ticket in tickets:
            wait = self._when(ticket, now)
            if wait is not None and wait.seconds > (longest.seconds if longest else 0.0):
                longest = wait
        return longest

    def _when(self, ticket: Ticket, now: float) -> Wait | None:
        """Return the wait for this ticket, or `None` if it fits."""
        rests = 0.0
        if self._rests and ticket.name in self._rests:
            rests = self._rests[ticket.name] - now
        if ticket.amount > ticket.limit:
            return Wait(math.inf, ticket.name)
        counter = self._counters.get(ticket.name) if ticket.amount else None
        if counter is not None and counter.seconds == ticket.seconds:
            counter.limit = ticket.limit
            if isinstance(counter, Places):
                seconds = counter.until(ticket.amount, now)
                if seconds > rests:
                    return Wait(seconds, ticket.name, counter.usual, max(counter.limit, 1), exact=False)
            elif (seconds := counter.when(ticket.amount, now)) > rests:
                return self._of_window(ticket, counter, max(seconds, rests), max(rests, 0.0), now)
        return Wait(rests, ticket.name) if rests > 0 else None

    def _of_window(self, ticket: Ticket, window: Window, exact: float, rests: float, now: float) -> Wait:
        """Return the wait for the window, or for the return of enough reserved tokens if that is shorter."""
        portion = ticket.amount / ticket.limit if ticket.amount > 1 else 0.0
        reserved = self._reserved.get(ticket.name)
        if reserved is not None:
            short = window.used(now) + ticket.amount - window.limit
            hope = max(reserved.until(short, now, since=now - window.seconds), rests)
            if hope < exact:
                at_once = ticket.limit // ticket.amount
                return Wait(hope, ticket.name, reserved.usual, at_once, exact=False, portion=portion)
        return Wait(exact, ticket.name, portion=portion)

    def _counter(self, ticket: Ticket, now: float) -> Window | Places:
        """Return the ticket's counter, creating it if necessary; a changed window length starts a new counter."""
        counter = self._counters.get(ticket.name)
        if counter is not None and counter.seconds == ticket.seconds:
            self._counters.move_to_end(ticket.name)
            return counter
        if len(self._counters) >= self._sweep_at:
            self._sweep(now)
        counter = Window(ticket.seconds, ticket.limit) if ticket.seconds else Places(ticket.limit)
        self._counters[ticket.name] = counter
        return counter

    def _sweep(self, now: float) -> None:
        """Drop idle names. The next sweep is due when as many names were added, which keeps the amortised cost low."""
        for name in [name for name, counter in self._counters.items() if not counter.used(now)]:
            del self._counters[name]
            self._reserved.pop(name, None)
        for name in [name for name, until in self._rests.items() if until <= now]:
            del self._rests[name]
        while len(self._counters) >= self._most:
            name, _ = self._counters.popitem(last=False)
            self._reserved.pop(name, None)
        while len(self._rests) >= self._most:
            del self._rests[next(iter(self._rests))]
        live = max(len(self._counters), len(self._rests))
        self._sweep_at = min(max(SWEEP, 2 * live), self._most)
