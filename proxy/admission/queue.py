"""Waiting for room: bounded, fair to every caller, and only where it is of use.

Callers take turns; within a caller, who came first goes first. Nobody is tried while somebody before them still waits
for all that they could use, so that small wishes never starve a large one. A wish for more than its caller's even share
of a limit has no such right: smaller ones of other callers pass it, so that it never starves them either.

A wait that cannot end in time is refused at once, with the time at which it would have ended.

There is no task of the queue's own. One waiter at a time acts: it tries its attempt when its turn has come, and one of
the others keeps the timer. Whoever leaves, for whatever reason, wakes the next.

    enter --(nothing in the way)--> attempt --> done
       \\--> line --(notify, or the predicted time, and it is our turn)--> attempt --> done | line again
                \\--(time over, displaced)--> RateLimited
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import TypeVar

from proxy.admission.line import COUNTERS, QueueRow, Waiter, Wanted, counter
from proxy.core.clock import Clock
from proxy.core.durations import duration_text
from proxy.core.errors import InvalidRequest, ProxyError, RateLimited
from proxy.stores.base import Wait

T = TypeVar("T")

SOMETHING = frozenset({"*"})  # what is waited for, where the caller does not say
FULL = 1.0  # seconds, at least, after which one who found the queue full may come again
SURELY = 0.5  # of an estimate: who is refused for that much of it would most likely have waited in vain
SOONEST = 0.001  # seconds between two attempts of one waiter that nothing new has caused


class FairQueue:
    """The line before something scarce; at most `size` wait in it."""

    def __init__(self, clock: Clock, size: int) -> None:
        self.size = size
        self.claimed: Collection[str] = ()  # while an attempt begins: those of its resources that others are to have
        self._clock = clock
        self._line: dict[str, dict[Waiter, None]] = {}  # callers in the order of their turns, each first in first out
        self._wanted = Wanted()
        self._fresh: list[Waiter] = []  # not yet judged
        self._depth = 0
        self._news = 0  # grows with everything that may have made room
        self._newest = [0] * COUNTERS  # the newest news, by the counters of resources
        self._general = 0  # the newest that concerns everybody
        self._trying: Waiter | None = None
        self._keeper: Waiter | None = None  # who keeps the timer
        self._alarm = self._armed = self._first_end = math.inf
        self._heads: dict[str, Waiter] = {}  # resource -> the first in line for it
        self._bars: dict[str, int] = {}  # resource -> the least size that others may not pass with
        self._own: set[tuple[str, str]] = set()  # callers, with the resources that a call of theirs waits for
        self._ahead: set[Waiter] = set()  # who waits only for what its own attempt was told

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

    def notify(self, *resources: str) -> None:
        """There may be room for those who wait for one of `resources`; without a name, for everybody."""
        self._note(resources)
        self._next_turn()

    async def wait(
        self,
        caller: str,
        attempt: Callable[[], Awaitable[T | Wait]],
        max_wait: float,
        *,
        resources: Callable[[], frozenset[str]] = lambda: SOMETHING,
        size: int = 0,
        predicted: Callable[[float], None] = lambda seconds: None,
    ) -> T:
        """The attempt's result as soon as it has one; it is tried at once if nobody waits for the same.

        `resources` names all that could serve it, `size` says how much of it is wished for. An attempt is passed over
        only while others are before it for each of them; it leaves out those in `claimed`. `predicted` is told the wait
        when it begins. Raises `RateLimited` (`queue_full`, or `rate_limit_exceeded` where `max_wait` seconds will not
        do or are over), or `InvalidRequest` for what no time will make fit.
        """
        now = self._clock.monotonic()
        waiter = Waiter(caller, size, now, now + max_wait)
        waiter.predicted = predicted
        if self._depth:
            waiter.name(resources())
        taken = {name for name in waiter.resources if name in self._wanted}
        if not taken or len(taken) < len(waiter.resources):
            result = await self._attempt(waiter, attempt, taken)
            if not isinstance(result, Wait):
                return result
            if _at_least(result) > max_wait or result.seconds == math.inf:
                raise _refusal(result.seconds)
            waiter.name(resources() or SOMETHING)
            if taken:
                waiter.seen = -1  # it may pass those who wait for that: the order of turns will tell
        self._make_room(waiter)
        self._enter(waiter)
        try:
            return await self._stand(waiter, attempt)
        finally:
            self._leave(waiter)

    async def _stand(self, waiter: Waiter, attempt: Callable[[], Awaitable[T | Wait]]) -> T:
        """In line, until served or refused."""
        while True:
            self._next_turn()
            await self._called(waiter)
            if waiter.refusal is not None:
                raise waiter.refusal
            if self._trying is waiter:
                claimed = {name for name in waiter.resources if self._barred(waiter, name)}
                result = await self._attempt(waiter, attempt, claimed)
                if not isinstance(result, Wait):
                    self._rotate(waiter)
                    return result
                if result.seconds == math.inf or (waiter.due > waiter.until and result.exact and not waiter.behind):
                    raise _refusal(result.seconds)
                self._trying = None

    async def _attempt(
        self, waiter: Waiter, attempt: Callable[[], Awaitable[T | Wait]], claimed: Collection[str]
    ) -> T | Wait:
        waiter.seen = self._news
        self.claimed = claimed
        waiter.behind = bool(claimed)
        result = await attempt()
        if isinstance(result, Wait):
            waiter.due = self._clock.monotonic() + max(result.seconds, SOONEST)
            waiter.said = result
        return result

    async def _called(self, waiter: Waiter) -> None:
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

    def _next(self, now: float) -> Waiter | None:
        """The first in the order of turns with something to try; what those before it wait for is not for it."""
        self._heads, self._bars, self._own, self._ahead = {}, {}, set(), set()
        self._alarm = soonest = math.inf
        closed = 0  # resources that nobody may pass to
        for waiter in self._order():
            if all(self._barred(waiter, name) for name in waiter.resources):
                self._own.update((waiter.caller, name) for name in waiter.resources)
                continue
            if waiter.due <= now or self._concerned(waiter):
                return waiter
            soonest = min(soonest, waiter.due)
            self._ahead.add(waiter)
            for name in waiter.resources:
                bar = waiter.size if waiter.said.portion * self._wanted.callers(name) > 1 else 0
                before = self._bars.get(name)
                closed += bar == 0 and before != 0
                self._heads.setdefault(name, waiter)
                self._own.add((waiter.caller, name))
                self._bars[name] = bar if before is None else min(bar, before)
            if closed == len(self._wanted):
                break
        self._alarm = soonest
        return None

    def _barred(self, waiter: Waiter, name: str) -> bool:
        """Whether others are before it for a resource."""
        bar = self._bars.get(name)
        return bar is not None and (bar <= waiter.size or (waiter.caller, name) in self._own)

    def _note(self, resources: Collection[str]) -> None:
        self._news += 1
        if not resources:
            self._general = self._news
        for name in resources:
            self._newest[counter(name)] = self._news

    def _concerned(self, waiter: Waiter) -> bool:
        """Whether there are news for a waiter since its last attempt."""
        seen = waiter.seen
        return seen < self._general or any(seen < self._newest[counter] for counter in waiter.counters)

    def _order(self) -> Iterator[Waiter]:
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
            exact = self._head(waiter).said.exact
            if (first if exact else now + SURELY * (first - now)) + SURELY * rounds > waiter.until:
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

    def _foreseen(self, fresh: Collection[Waiter]) -> Iterator[tuple[Waiter, float, float]]:
        """For each: when the first in line may go, and the seconds after that until those before it have gone."""
        wanted, before, found = set(fresh), Counter[str](), []
        for waiter in self._order() if wanted else ():
            if waiter in wanted:
                first, rounds = self._begins(waiter), 0.0
                if waiter not in self._ahead or waiter.behind:
                    rounds = min(self._rounds(each, before[each]) for each in waiter.resources) - first
                found.append((waiter, first, rounds))
            before.update(waiter.resources)
        yield from found

    def _rounds(self, name: str, before: int) -> float:
        """When so many will have held what `name` counts, one round after the other."""
        head = self._heads[name]
        return head.due + head.said.pace * (before // head.said.at_once)

    def _begins(self, waiter: Waiter) -> float:
        """When it may be its turn at the earliest: not before the first in line for what it could use."""
        return self._head(waiter).due

    def _head(self, waiter: Waiter) -> Waiter:
        """Whose prediction is the earliest that concerns it: its own, where nobody is before it."""
        if waiter in self._ahead and not waiter.behind:
            return waiter
        return min((self._heads[name] for name in waiter.resources), key=lambda head: head.due)

    def _set_timer(self) -> None:
        self._alarm = min(self._alarm, self._first_end)
        if self._keeper is None:
            self._keeper = next(reversed(next(reversed(self._line.values()))))  # who will probably stay for long
            self._keeper.turn.set()
        elif self._alarm < self._armed:
            self._keeper.turn.set()

    def _make_room(self, waiter: Waiter) -> None:
        """In a full queue the last of the caller with the most gives way, unless that is the one who comes."""
        if self._depth < self.size:
            return
        heads = [self._heads[name].due for name in waiter.resources if name in self._heads]
        due = waiter.due or min(heads, default=0.0)
        full = RateLimited(
            f"{self._depth} calls wait already (`resilience.queue.size`).",
            code="queue_full",
            retry_after=max(FULL, due - self._clock.monotonic()),
        )
        most = max(self._line.values(), key=len, default={})
        if len(most) <= len(self._line.get(waiter.caller, ())) + 1:
            raise full
        self._refuse(next(each for each in reversed(most) if each is not self._trying), full)

    def _enter(self, waiter: Waiter) -> None:
        self._line.setdefault(waiter.caller, {})[waiter] = None
        self._wanted.add(waiter)
        self._fresh.append(waiter)
        self._first_end = min(self._first_end, waiter.until)
        self._depth += 1

    def _rotate(self, waiter: Waiter) -> None:
        """The caller was served, and is last now; whoever was behind one of its calls may stand before it."""
        self._line[waiter.caller] = self._line.pop(waiter.caller)
        if len(self._line) > 1 and len(self._line[waiter.caller]) > 1:
            for each in self._order():
                if each.behind:
                    each.seen = -1

    def _refuse(self, waiter: Waiter, refusal: ProxyError) -> None:
        waiter.refusal = refusal
        self._remove(waiter)
        waiter.turn.set()

    def _leave(self, waiter: Waiter) -> None:
        """Served, refused or cancelled: the others may have what it stood before."""
        self._remove(waiter)
        self._next_turn()

    def _remove(self, waiter: Waiter) -> None:
        waiters = self._line.get(waiter.caller, {})
        if waiter not in waiters:
            return
        del waiters[waiter]
        if not waiters:
            del self._line[waiter.caller]
        self._depth -= 1
        if waiter.seen >= 0:  # nobody else's call is behind one that was never first
            self._note(waiter.resources)
        else:
            for each in waiters:
                if each.behind:
                    each.seen = -1
        self._wanted.remove(waiter)
        if waiter in self._fresh:
            self._fresh.remove(waiter)
        if self._trying is waiter:
            self._trying = None
        if self._keeper is waiter:
            self._keeper = None
            self._armed = math.inf
        if not self._depth:
            self._first_end = math.inf


def _at_least(wait: Wait) -> float:
    """Seconds for which it will surely last."""
    return wait.seconds if wait.exact else SURELY * wait.seconds


def _refusal(seconds: float) -> ProxyError:
    if seconds == math.inf:
        message = "The call is larger than the limits of every target; send less, or name another model."
        return InvalidRequest(message, code="no_candidate_available", retryable=False)
    return RateLimited(
        f"All targets are at their limits; capacity is expected in {duration_text(seconds)}.", retry_after=seconds
    )
