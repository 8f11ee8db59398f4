"""Stores in this process's memory: the default, and the reference for those that are shared.

No method gives up control between reading and writing, which is what makes each of them one step.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from proxy.core.clock import Clock
from proxy.core.window import Window
from proxy.stores.base import Receipt, Row, Ticket, Wait

MOST = 100_000  # names; beyond it the least recently used are forgotten, in use or not
SWEEP = 1024  # names before it is worth looking for idle ones
HOLD = 1.0  # seconds: how long a place is held, before we have seen one
HOLD_WEIGHT = 0.2  # of the newest hold in the moving average
SOONEST = 0.001  # seconds: no estimate is shorter


class Places:
    """Who holds how much of a limited concurrency, and since when."""

    __slots__ = ("_held", "_hold", "_known", "_used", "limit", "seconds")

    def __init__(self, limit: int) -> None:
        self.seconds = 0.0
        self.limit = limit
        self._held: dict[str, tuple[float, int]] = {}  # receipt -> since, amount; oldest first
        self._used = 0
        self._hold = HOLD
        self._known = False  # whether one has been seen

    @property
    def usual(self) -> float:
        """Seconds for which a place is held, 0 where that is not known."""
        return self._hold if self._known else 0.0

    def used(self, now: float) -> int:
        """Places held."""
        return self._used

    def hold(self, owner: str, amount: int, now: float) -> None:
        """Give `owner` that many places."""
        self._held[owner] = (now, amount)
        self._used += amount

    def release(self, owner: str, now: float, *, unused: bool) -> None:
        """Take them back; how long they were held is learned, unless nothing was done with them."""
        since, amount = self._held.pop(owner)
        self._used -= amount
        if not unused:
            self._known = True
            self._hold += HOLD_WEIGHT * (now - since - self._hold)

    def when(self, amount: int, now: float) -> float:
        """An estimate: those who came first leave first, after the usual time; the overdue leave one by one."""
        short = self._used + amount - self.limit
        if short <= 0:
            return 0.0
        if amount > self.limit:
            return math.inf
        for since, held in self._held.values():
            short -= held
            if short <= 0:
                left = since + self._hold - now
                return max(left if left > 0 else self._hold / len(self._held), SOONEST)
        return math.inf


class _Part:
    """What one ticket of a receipt counts for at the moment."""

    __slots__ = ("amount", "counter", "stamp")

    def __init__(self, counter: Window | Places, stamp: int, amount: int) -> None:
        self.counter = counter
        self.stamp = stamp
        self.amount = amount


class MemoryCounters:
    """A `CounterStore` in memory. Names that count nothing any more are dropped as new ones come."""

    def __init__(self, clock: Clock, *, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._counters: OrderedDict[str, Window | Places] = OrderedDict()  # the least recently used first
        self._rests: dict[str, float] = {}
        self._taken: dict[str, dict[str, _Part]] = {}  # by receipt and name, until it is given back
        self._ids = itertools.count(1)
        self._sweep_at = min(SWEEP, most)

    async def take(self, tickets: Sequence[Ticket]) -> Receipt | Wait:
        """All or nothing; see `CounterStore`."""
        now = self._clock.monotonic()
        if wait := self._longest(tickets, now):
            return wait
        receipt = Receipt(str(next(self._ids)), tuple(tickets))
        taken = {}
        for ticket in tickets:
            if ticket.amount:
                counter = self._counter(ticket, now)
                stamp = 0
                if isinstance(counter, Window):
                    stamp = counter.take(ticket.amount, now)
                else:
                    counter.hold(receipt.id, ticket.amount, now)
                taken[ticket.name] = _Part(counter, stamp, ticket.amount)
        self._taken[receipt.id] = taken
        return receipt

    async def correct(self, receipt: Receipt, name: str, amount: int) -> None:
        """Only windows can be corrected; places are what they are."""
        part = self._taken.get(receipt.id, {}).get(name)
        if part is not None and isinstance(part.counter, Window):
            part.counter.correct(part.stamp, amount - part.amount, self._clock.monotonic())
            part.amount = amount

    async def give_back(self, receipt: Receipt, *, unused: bool) -> None:
        """Only the first call does anything."""
        now = self._clock.monotonic()
        for part in self._taken.pop(receipt.id, {}).values():
            if not isinstance(part.counter, Window):
                part.counter.release(receipt.id, now, unused=unused)
            elif unused:
                part.counter.correct(part.stamp, -part.amount, now)

    async def wait(self, tickets: Sequence[Ticket]) -> float:
        """Seconds until `take` would take."""
        wait = self._longest(tickets, self._clock.monotonic())
        return wait.seconds if wait else 0.0

    async def rest_until(self, name: str, seconds: float) -> None:
        """A rest outlives the counter of its name."""
        now = self._clock.monotonic()
        if len(self._rests) >= self._sweep_at:
            self._sweep(now)
        self._rests[name] = max(now + seconds, self._rests.get(name, 0.0))

    async def wake(self, name: str) -> None:
        """Whatever was asked for before."""
        self._rests.pop(name, None)

    async def read(self, prefix: str) -> Sequence[Row]:
        """For `/admin/limits`; it looks at every name."""
        now = self._clock.monotonic()
        names = {name for name, counter in self._counters.items() if name.startswith(prefix) and counter.used(now)}
        names |= {name for name, until in self._rests.items() if name.startswith(prefix) and until > now}
        return [self._row(name, now) for name in sorted(names)]

    def _row(self, name: str, now: float) -> Row:
        rests = max(0.0, self._rests.get(name, 0.0) - now)
        counter = self._counters.get(name)
        if counter is None:
            return Row(name, 0, None, 0.0, rests)
        return Row(name, counter.used(now), counter.limit, counter.seconds, rests)

    def _longest(self, tickets: Iterable[Ticket], now: float) -> Wait | None:
        """What is in the way for the longest time, or None."""
        longest, name = 0.0, ""
        for ticket in tickets:
            seconds = self._when(ticket, now)
            if seconds > longest:
                longest, name = seconds, ticket.name
        if not longest:
            return None
        counter = self._counters.get(name)
        if isinstance(counter, Places):
            return Wait(longest, name, counter.usual, max(counter.limit, 1))
        return Wait(longest, name)

    def _when(self, ticket: Ticket, now: float) -> float:
        rests = 0.0
        if self._rests and ticket.name in self._rests:
            rests = self._rests[ticket.name] - now
        if not ticket.amount:
            return rests
        if ticket.amount > ticket.limit:
            return math.inf
        counter = self._counters.get(ticket.name)
        if counter is None or counter.seconds != ticket.seconds:
            return rests
        counter.limit = ticket.limit
        return max(rests, counter.when(ticket.amount, now))

    def _counter(self, ticket: Ticket, now: float) -> Window | Places:
        """The ticket's counter, made if need be; another length of the window begins anew."""
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
        """Drop what is idle; the next sweep is due when as much has come again, so that it costs little for each."""
        for name in [name for name, counter in self._counters.items() if not counter.used(now)]:
            del self._counters[name]
        for name in [name for name, until in self._rests.items() if until <= now]:
            del self._rests[name]
        while len(self._counters) >= self._most:
            self._counters.popitem(last=False)
        while len(self._rests) >= self._most:
            del self._rests[next(iter(self._rests))]
        live = max(len(self._counters), len(self._rests))
        self._sweep_at = min(max(SWEEP, 2 * live), self._most)
