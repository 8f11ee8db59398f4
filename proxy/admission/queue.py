"""The queue for calls that wait for capacity: bounded, and fair between callers.

The queue serves callers in rotation, and the calls of one caller in order of arrival. A call does not attempt while an
earlier one waits for all resources that the call could use, so small calls never starve a large one. Exception: a call
for more than its caller's even share of a limit does not block smaller calls of other callers, so it never starves
them.

A call that cannot be served in time is rejected at once, with the time at which capacity is expected.

The queue has no task of its own. One waiter at a time makes its attempt, and one of the others keeps the timer. A
waiter that leaves, for any reason, wakes the next one.

    enter --(nothing in the way)--> attempt --> done
       \\--> line --(notified, or the predicted time, and first)--> attempt --> done | line again
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

SOMETHING = frozenset({"*"})  # the resource that is waited for if the caller names none
FULL = 1.0  # seconds; the minimum of `retry-after` when the queue is full
SURELY = 0.5  # the share of an estimated wait that is regarded as certain when a call is rejected early
SOONEST = 0.001  # seconds between two attempts of one waiter without a notification


class FairQueue:
    """A queue for limited resources; at most `size` calls wait in it."""

    def __init__(self, clock: Clock, size: int) -> None:
        self.size = size
        self.claimed: Collection[str] = ()  # resources that the current attempt must leave to others
        self._clock = clock
        self._line: dict[str, dict[Waiter, None]] = {}  # callers in rotation order, each first in first out
        self._wanted = Wanted()
        self._fresh: list[Waiter] = []  # waiters whose wait has not been predicted yet
        self._depth = 0
        self._news = 0  # grows with every notification of free capacity
        self._newest = [0] * COUNTERS  # the newest notification per counter of resources
        self._general = 0  # the newest notification for all waiters
        self._trying: Waiter | None = None
        self._keeper: Waiter | None = None  # keeps the timer
        self._alarm = self._armed = self._first_end = math.inf
        self._heads: dict[str, Waiter] = {}  # resource -> its first waiter
        self._bars: dict[str, int] = {}  # resource -> the smallest size that may not overtake
        self._own: set[tuple[str, str]] = set()  # (caller, resource that one of its calls waits for)
        self._ahead: set[Waiter] = set()  # waiters with no other waiter before them

    @property
    def depth(self) -> int:
        """The number of waiting calls."""
        return self._depth

    def rows(self) -> list[QueueRow]:
        """Return one row per waiting caller, in rotation order."""
        now = self._clock.monotonic()
        return [
            QueueRow(caller, len(waiters), round(now - next(iter(waiters)).since, 3))
            for caller, waiters in self._line.items()
        ]

    def notify(self, *resources: str) -> None:
        """Report that one of `resources` may have capacity; without arguments, that any resource may."""
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
        """Return the result of `attempt`, which runs at once if no call waits for the same resources.

        `resources` names all resources that can serve the call, `size` is the amount requested from one. The call is
        skipped only while others precede it for each of them; its attempt leaves out those in `claimed`. `predicted`
        is called with the expected wait in seconds. Raises `RateLimited` (`queue_full`, or `rate_limit_exceeded` if
        `max_wait` seconds do not suffice or are over), or `InvalidRequest` for a call that exceeds every limit.
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
                waiter.seen = -1  # it may be allowed to overtake them; `_next` decides
        self._make_room(waiter)
        self._enter(waiter)
        try:
            return await self._stand(waiter, attempt)
        finally:
            self._leave(waiter)

    async def _stand(self, waiter: Waiter, attempt: Callable[[], Awaitable[T | Wait]]) -> T:
        """Wait until served or rejected."""
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
        """Wait until the waiter has to act; the keeper of the timer waits until the alarm at most."""
        if self._keeper is waiter:
            self._armed = self._alarm
            await self._clock.wait_for(waiter.turn, self._alarm - self._clock.monotonic())
        else:
            await waiter.turn.wait()
        waiter.turn.clear()

    def _next_turn(self) -> None:
        """Wake the next waiter that can attempt; if there is none, set the timer."""
        while self._depth and self._trying is None:
            now = self._clock.monotonic()
            self._trying = self._next(now)
            if self._trying is not None:
                self._trying.turn.set()
            elif not self._judge(now) and not self._end(now):
                self._set_timer()
                return

    def _next(self, now: float) -> Waiter | None:
        """Return the first waiter that can attempt; resources that earlier ones wait for are barred to it."""
        self._heads, self._bars, self._own, self._ahead = {}, {}, set(), set()
        self._alarm = soonest = math.inf
        closed = 0  # resources for which no waiter may overtake
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
        """Return whether others precede `waiter` for the resource `name`."""
        bar = self._bars.get(name)
        return bar is not None and (bar <= waiter.size or (waiter.caller, name) in self._own)

    def _note(self, resources: Collection[str]) -> None:
        self._news += 1
        if not resources:
            self._general = self._news
        for name in resources:
            self._newest[counter(name)] = self._news

    def _concerned(self, waiter: Waiter) -> bool:
        """Return whether the waiter was notified since its last attempt."""
        seen = waiter.seen
        return seen < self._general or any(seen < self._newest[counter] for counter in waiter.counters)

    def _order(self) -> Iterator[Waiter]:
        """Yield the first waiter of each caller, then the second of each, and so on."""
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
        """After a whole round, reject new waiters that would wait too long; return whether there were any."""
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
        """After a whole round, reject waiters whose time is over; return whether there were any."""
        if now < self._first_end:
            return False
        waiting = list(self._order())
        over = [waiter for waiter in waiting if waiter.until <= now]
        for waiter in over:
            self._refuse(waiter, _refusal(self._begins(waiter) - now))
        self._first_end = min((waiter.until for waiter in waiting if waiter.until > now), default=math.inf)
        return bool(over)

    def _foreseen(self, fresh: Collection[Waiter]) -> Iterator[tuple[Waiter, float, float]]:
        """Yield each waiter, the time of the first waiter's turn, and the seconds from then to its own turn."""
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
        """Return when `before` waiters will have used the resource `name`, one round after the other."""
        head = self._heads[name]
        return head.due + head.said.pace * (before // head.said.at_once)

    def _begins(self, waiter: Waiter) -> float:
        """Return the earliest time of the waiter's turn: that of the first waiter for its resources."""
        return self._head(waiter).due

    def _head(self, waiter: Waiter) -> Waiter:
        """Return the waiter with the earliest relevant prediction: itself if no other precedes it."""
        if waiter in self._ahead and not waiter.behind:
            return waiter
        return min((self._heads[name] for name in waiter.resources), key=lambda head: head.due)

    def _set_timer(self) -> None:
        self._alarm = min(self._alarm, self._first_end)
        if self._keeper is None:
            self._keeper = next(reversed(next(reversed(self._line.values()))))  # it will probably wait for long
            self._keeper.turn.set()
        elif self._alarm < self._armed:
            self._keeper.turn.set()

    def _make_room(self, waiter: Waiter) -> None:
        """In a full queue, reject the last call of the caller with the most calls, or `waiter` if it is that."""
        if self._depth < self.size:
            return
        heads = [self._heads[name].due for name in waiter.resources if name in self._heads]
        due = waiter.due or min(heads, default=0.0)
        full = RateLimited(
            f"The queue is full: {self._depth} calls are waiting (`resilience.queue.size`); try again later.",
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
        """Move the served caller to the end; calls that were behind one of its calls may now precede it."""
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
        """Remove a served, rejected or cancelled waiter; others may use the resources that it barred."""
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
        if waiter.seen >= 0:  # no call of another caller is behind one that never attempted
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
    """Return the seconds that the wait takes at least."""
    return wait.seconds if wait.exact else SURELY * wait.seconds


def _refusal(seconds: float) -> ProxyError:
    if seconds == math.inf:
        message = "The call exceeds the limits of every target; shorten it or choose another model."
        return InvalidRequest(message, code="no_candidate_available", retryable=False)
    return RateLimited(
        f"All targets are at their limits; capacity is expected in {duration_text(seconds)}.", retry_after=seconds
    )
