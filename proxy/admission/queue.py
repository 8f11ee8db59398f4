"""Waiting for room: bounded, fair to every caller, and only where it is of use.

Callers take turns; within a caller, who came first goes first. Nobody is tried while somebody before them still waits
for all that they could use, so that small wishes never starve a large one. A wait that cannot end in time is refused at
once, with the time at which it would have ended.

There is no task of the queue's own. One waiter at a time acts: it tries its attempt when its turn has come, and one of
the others keeps the timer. Whoever leaves, for whatever reason, wakes the next.

    enter --(nothing in the way)--> attempt --> done
       \\--> line --(notify, or the predicted time, and it is our turn)--> attempt --> done | line again
                \\--(time over, displaced)--> RateLimited
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TypeVar

from proxy.core.clock import Clock
from proxy.core.errors import RateLimited
from proxy.stores.base import Wait

T = TypeVar("T")

SOMETHING = frozenset({"*"})  # what is waited for, where the caller does not say
FULL = 1.0  # seconds, at least, after which one who found the queue full may come again
SURELY = 0.5  # of an estimate: who is refused for that much of it would most likely have waited in vain
SOONEST = 0.001  # seconds between two attempts of one waiter that nothing new has caused


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One caller's share of the queue, for `/admin/queues`."""

    caller: str
    waiting: int
    oldest_seconds: float


class _Waiter:
    """One who waits. `turn` is set whenever there is something to do for it."""

    __slots__ = ("caller", "due", "predicted", "refusal", "resources", "said", "seen", "since", "turn", "until")

    def __init__(self, caller: str, resources: frozenset[str], since: float, until: float) -> None:
        self.caller = caller
        self.resources = resources
        self.since = since
        self.until = until
        self.due = 0.0  # when to try (again): as its last attempt predicted
        self.said = Wait(0.0, "")  # that prediction
        self.seen = -1  # the news that its last attempt took in
        self.predicted: Callable[[float], None] | None = None  # to be told, or refused, in the first round
        self.refusal: RateLimited | None = None
        self.turn = asyncio.Event()


class FairQueue:
    """The line before something scarce; at most `size` wait in it."""

    def __init__(self, clock: Clock, size: int) -> None:
        self.size = size
        self.claimed: Collection[str] = ()  # while an attempt begins: resources that somebody before it waits for
        self._clock = clock
        self._line: dict[str, dict[_Waiter, None]] = {}  # callers in the order of their turns, each first in first out
        self._wanted: Counter[str] = Counter()  # resources, by how many wait for them
        self._fresh: list[_Waiter] = []  # not yet judged
        self._depth = 0
        self._news = 0  # grows with everything that may have made room
        self._trying: _Waiter | None = None
        self._keeper: _Waiter | None = None  # who keeps the timer
        self._alarm = self._armed = self._first_end = math.inf
        self._claims: dict[str, float] = {}  # resource -> when the first in line for it may go
        self._said: dict[str, Wait] = {}  # resource -> what the first in line was told

    @property
    def depth(self) -> int:
        """How many wait."""
        return self._depth

    def rows(self) -> list[QueueRow]:
        """Who waits, in the order of their turns."""
        now = self._clock.monotonic()
        return [
            QueueRow(caller, len(waiters), round(now - next(iter(waiters)).since, 3))
            for caller, waiters in self._line.items()
        ]

    def notify(self) -> None:
        """There may be room: something was given back."""
        self._news += 1
        self._next_turn()

    async def wait(
        self,
        caller: str,
        attempt: Callable[[], Awaitable[T | Wait]],
        max_wait: float,
        *,
        resources: frozenset[str] = SOMETHING,
        predicted: Callable[[float], None] = lambda seconds: None,
    ) -> T:
        """The attempt's result as soon as it has one; it is tried at once if nobody waits for the same.

        `resources` names all that could serve it. An attempt is passed over only while others are before it for each of
        them; it may leave out those in `claimed`. `predicted` is told the wait when it begins. Raises `RateLimited`
        (`queue_full`, or `rate_limit_exceeded` where `max_wait` seconds will not do or are over).
        """
        now = self._clock.monotonic()
        waiter = _Waiter(caller, resources or SOMETHING, now, now + max_wait)
        waiter.predicted = predicted
        if any(name not in self._wanted for name in waiter.resources):
            result = await self._attempt(waiter, attempt, self._wanted.keys())
            if not isinstance(result, Wait):
                return result
            if result.seconds > max_wait or result.seconds == math.inf:
                raise _refusal(result.seconds)
        self._make_room(waiter)
        self._enter(waiter)
        try:
            return await self._stand(waiter, attempt)
        finally:
            self._leave(waiter)

    async def _stand(self, waiter: _Waiter, attempt: Callable[[], Awaitable[T | Wait]]) -> T:
        """In line, until served or refused."""
        while True:
            self._next_turn()
            await self._called(waiter)
            if waiter.refusal is not None:
                raise waiter.refusal
            if self._trying is waiter:
                result = await self._attempt(waiter, attempt, self._claims)
                if not isinstance(result, Wait):
                    self._rotate(waiter)
                    return result
                if result.seconds == math.inf:
                    raise _refusal(result.seconds)
                self._trying = None

    async def _attempt(
        self, waiter: _Waiter, attempt: Callable[[], Awaitable[T | Wait]], claimed: Collection[str]
    ) -> T | Wait:
        waiter.seen = self._news
        self.claimed = frozenset(claimed)
        result = await attempt()
        if isinstance(result, Wait):
            waiter.due = self._clock.monotonic() + max(result.seconds, SOONEST)
            waiter.said = result
        return result

    async def _called(self, waiter: _Waiter) -> None:
        """Sleep until there is something to do; the keeper of the timer until it is time at the latest."""
        if self._keeper is waiter:
            self._armed = self._alarm
            await self._clock.wait_for(waiter.turn, self._alarm - self._clock.monotonic())
        else:
            await waiter.turn.wait()
        waiter.turn.clear()

    def _next_turn(self) -> None:
        """Give the turn to the next who has something to try; if there is nobody, see to the timer."""
        while self._depth and self._trying is None:
            now = self._clock.monotonic()
            self._trying = self._next(now)
            if self._trying is not None:
                self._trying.turn.set()
            elif not self._judge(now) and not self._end(now):
                self._set_timer()
                return

    def _next(self, now: float) -> _Waiter | None:
        """The first in the order of turns with something to try. What those before it wait for is claimed."""
        claims: dict[str, float] = {}
        self._claims, self._said = claims, {}
        self._alarm = soonest = math.inf
        for waiter in self._order():
            if all(name in claims for name in waiter.resources):
                continue
            if waiter.due <= now or waiter.seen != self._news:
                return waiter
            soonest = min(soonest, waiter.due)
            for name in waiter.resources:
                if name not in claims:
                    claims[name], self._said[name] = waiter.due, waiter.said
            if len(claims) == len(self._wanted):
                break
        self._alarm = soonest
        return None

    def _order(self) -> Iterator[_Waiter]:
        """Everybody's first, then everybody's second, and so on."""
        rows = []
        for waiters in self._line.values():
            row = iter(waiters)
            yield next(row)
            rows.append(row)
        while rows:
            again = []
            for row in rows:
                waiter = next(row, None)
                if waiter is not None:
                    yield waiter
                    again.append(row)
            rows = again

    def _judge(self, now: float) -> bool:
        """After a whole round, refuse those who are new and would wait too long; whether there were any."""
        fresh, self._fresh = self._fresh, []
        refused = False
        for waiter, first, rounds in self._foreseen(fresh):
            if first + SURELY * rounds > waiter.until:
                self._refuse(waiter, _refusal(first + rounds - now))
                refused = True
            elif waiter.predicted is not None:
                waiter.predicted(first + rounds - now)
        return refused

    def _end(self, now: float) -> bool:
        """After a whole round, refuse those whose time is over; whether there were any."""
        if now < self._first_end:
            return False
        everybody = list(self._order())
        over = [waiter for waiter in everybody if waiter.until <= now]
        for waiter in over:
            self._refuse(waiter, _refusal(self._begins(waiter) - now))
        self._first_end = min((waiter.until for waiter in everybody if waiter.until > now), default=math.inf)
        return bool(over)

    def _foreseen(self, fresh: Collection[_Waiter]) -> Iterator[tuple[_Waiter, float, float]]:
        """For each: when the first in line may go, and the seconds after that until those before it have gone."""
        wanted, before, found = set(fresh), Counter[str](), []
        for waiter in self._order() if wanted else ():
            if waiter in wanted:
                first = self._begins(waiter)
                rounds = min(self._rounds(name, before[name]) + self._claims[name] - first for name in waiter.resources)
                found.append((waiter, first, rounds))
            before.update(waiter.resources)
        yield from found

    def _rounds(self, name: str, before: int) -> float:
        """Seconds for which so many hold what `name` counts, one round after the other."""
        said = self._said[name]
        return said.pace * (before // said.at_once)

    def _begins(self, waiter: _Waiter) -> float:
        """When it may be its turn at the earliest: not before the first in line for what it could use."""
        return min(self._claims[name] for name in waiter.resources)

    def _set_timer(self) -> None:
        self._alarm = min(self._alarm, self._first_end)
        if self._keeper is None:
            self._keeper = next(reversed(next(reversed(self._line.values()))))  # who will probably stay for long
            self._keeper.turn.set()
        elif self._alarm < self._armed:
            self._keeper.turn.set()

    def _make_room(self, waiter: _Waiter) -> None:
        """In a full queue the last of the caller with the most gives way, unless that is the one who comes."""
        if self._depth < self.size:
            return
        due = waiter.due or min((self._claims.get(name, 0.0) for name in waiter.resources), default=0.0)
        full = RateLimited(
            f"{self._depth} calls wait already (`resilience.queue.size`).",
            code="queue_full",
            retry_after=max(FULL, due - self._clock.monotonic()),
        )
        most = max(self._line.values(), key=len, default={})
        if len(most) <= len(self._line.get(waiter.caller, ())) + 1:
            raise full
        self._refuse(next(each for each in reversed(most) if each is not self._trying), full)

    def _enter(self, waiter: _Waiter) -> None:
        self._line.setdefault(waiter.caller, {})[waiter] = None
        self._wanted.update(waiter.resources)
        self._fresh.append(waiter)
        self._first_end = min(self._first_end, waiter.until)
        self._depth += 1

    def _rotate(self, waiter: _Waiter) -> None:
        """The caller was served, and is last now."""
        self._line[waiter.caller] = self._line.pop(waiter.caller)

    def _refuse(self, waiter: _Waiter, refusal: RateLimited) -> None:
        waiter.refusal = refusal
        self._remove(waiter)
        waiter.turn.set()

    def _leave(self, waiter: _Waiter) -> None:
        """Served, refused or cancelled: the others may have what it stood before."""
        self._remove(waiter)
        self._next_turn()

    def _remove(self, waiter: _Waiter) -> None:
        waiters = self._line.get(waiter.caller, {})
        if waiter not in waiters:
            return
        del waiters[waiter]
        if not waiters:
            del self._line[waiter.caller]
        self._depth -= 1
        if waiter.seen >= 0:  # nobody is behind one who was never first
            self._news += 1
        for name in waiter.resources:
            self._wanted[name] -= 1
            if not self._wanted[name]:
                del self._wanted[name]
        if waiter in self._fresh:
            self._fresh.remove(waiter)
        if self._trying is waiter:
            self._trying = None
        if self._keeper is waiter:
            self._keeper = None
            self._armed = math.inf
        if not self._depth:
            self._first_end = math.inf


def _refusal(seconds: float) -> RateLimited:
    if seconds == math.inf:
        return RateLimited("The call is larger than the limits of every target.", retryable=False)
    return RateLimited(
        f"No target has room for the call within its time; one may in {seconds:.3g} s.", retry_after=seconds
    )
