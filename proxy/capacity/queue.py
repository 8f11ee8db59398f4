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

from proxy.capacity.store import Wait
from proxy.capacity.waiters import COUNTERS, Demand, QueueRow, Resource, Waiter, counter
from proxy.core.clock import Clock
from proxy.core.durations import duration_text
from proxy.core.errors import InvalidRequest, ProxyError, RateLimited
from proxy.core.snapshot import Live

T = TypeVar("T")
Attempt = Callable[[Collection[Resource]], Awaitable[T | Wait]]  # takes the resources that it must leave to others

ANYTHING: frozenset[Resource] = frozenset({"*"})  # the resource that is waited for if the caller names none
QUEUE_FULL_SECONDS = 1.0  # seconds; the minimum of `retry-after` when the queue is full
CERTAIN_SHARE = 0.5  # the share of an estimated wait that is regarded as certain when a call is rejected early
MIN_RECHECK_SECONDS = 0.001  # seconds between two attempts of one waiter without a notification


class FairQueue:
    """A queue for limited resources; at most `resilience.queue.size` calls wait in it."""

    def __init__(self, clock: Clock, live: Live) -> None:
        self._clock = clock
        self._live = live
        self._callers: dict[str, dict[Waiter, None]] = {}  # callers in rotation order, each first in first out
        self._demand = Demand()
        self._fresh: list[Waiter] = []  # waiters whose wait has not been predicted yet
        self.depth = 0  # waiting calls
        self._notifications = 0  # number of notifications of free capacity
        self._newest = [0] * COUNTERS  # the newest notification per counter of resources
        self._general = 0  # the newest notification for all waiters
        self._attempting: Waiter | None = None
        self._timer_keeper: Waiter | None = None  # keeps the timer
        self._alarm = self._armed = self._first_end = math.inf
        self._heads: dict[Resource, Waiter] = {}  # resource -> its first waiter
        self._bars: dict[Resource, int] = {}  # resource -> the smallest size that may not overtake
        self._own: set[tuple[str, Resource]] = set()  # (caller, resource that one of its calls waits for)
        self._ahead: set[Waiter] = set()  # waiters with no other waiter before them

    def rows(self) -> list[QueueRow]:
        """Return one row per waiting caller, in rotation order."""
        now = self._clock.monotonic()
        return [
            QueueRow(caller, len(waiters), round(now - next(iter(waiters)).since, 3))
            for caller, waiters in self._callers.items()
        ]

    def notify(self, *resources: Resource) -> None:
        """Report that one of `resources` may have capacity; without arguments, that any resource may."""
        self._note(resources)
        if self.depth:
            self._next_turn()

    async def wait(
        self,
        caller: str,
        attempt: Attempt[T],
        max_wait: float,
        *,
        resources: Callable[[], frozenset[Resource]] = lambda: ANYTHING,
        size: int = 0,
        predicted: Callable[[float], None] = lambda seconds: None,
    ) -> T:
        """Return the result of `attempt`, which runs at once if no call waits for the same resources.

        `resources` names all resources that can serve the call, `size` is the amount requested from one. The call is
        skipped only while others precede it for each of them; `attempt` must leave out those that it is passed.
        `predicted` is called with the expected wait in seconds. Raises `RateLimited` (`queue_full`, or
        `rate_limit_exceeded` if `max_wait` seconds do not suffice or are over), or `InvalidRequest` for a call that
        exceeds every limit.
        """
        now = self._clock.monotonic()
        waiter = Waiter(caller, size, now, now + max_wait)
        waiter.predicted = predicted
        if self.depth:
            waiter.wait_for(resources())
        claimed = {resource for resource in waiter.resources if resource in self._demand}
        if not claimed or len(claimed) < len(waiter.resources):
            result = await self._attempt(waiter, attempt, claimed)
            if not isinstance(result, Wait):
                return result
            if _at_least(result) > max_wait or result.seconds == math.inf:
                raise _rejection(result.seconds)
            waiter.wait_for(resources() or ANYTHING)
            if claimed:
                waiter.seen = -1  # it may be allowed to overtake them; `_next` decides
        self._displace(waiter)
        self._enter(waiter)
        try:
            return await self._wait_in_line(waiter, attempt)
        finally:
            self._leave(waiter)

    async def _wait_in_line(self, waiter: Waiter, attempt: Attempt[T]) -> T:
        """Wait until served or rejected."""
        while True:
            self._next_turn()
            await self._wait_for_turn(waiter)
            if waiter.error is not None:
                raise waiter.error
            if self._attempting is waiter:
                claimed = {resource for resource in waiter.resources if self._is_claimed(waiter, resource)}
                result = await self._attempt(waiter, attempt, claimed)
                if not isinstance(result, Wait):
                    self._rotate(waiter)
                    return result
                if result.seconds == math.inf or (waiter.due > waiter.until and result.exact and not waiter.behind):
                    raise _rejection(result.seconds)
                self._attempting = None

    async def _attempt(self, waiter: Waiter, attempt: Attempt[T], claimed: Collection[Resource]) -> T | Wait:
        waiter.seen = self._notifications
        waiter.behind = bool(claimed)
        result = await attempt(claimed)
        if isinstance(result, Wait):
            waiter.due = self._clock.monotonic() + max(result.seconds, MIN_RECHECK_SECONDS)
            waiter.wait = result
        return result

    async def _wait_for_turn(self, waiter: Waiter) -> None:
        """Wait until the waiter has to act; the keeper of the timer waits until the alarm at most."""
        if self._timer_keeper is waiter:
            self._armed = self._alarm
            await self._clock.wait_for(waiter.turn, self._alarm - self._clock.monotonic())
        else:
            await waiter.turn.wait()
        waiter.turn.clear()

    def _next_turn(self) -> None:
        """Wake the next waiter that can attempt; if there is none, set the timer."""
        while self.depth and self._attempting is None:
            now = self._clock.monotonic()
            self._attempting = self._next(now)
            if self._attempting is not None:
                self._attempting.turn.set()
            elif not self._reject_too_late(now) and not self._reject_expired(now):
                self._set_timer()
                return

    def _next(self, now: float) -> Waiter | None:
        """Return the first waiter that can attempt; it may not use resources that earlier ones wait for."""
        self._heads, self._bars, self._own, self._ahead = {}, {}, set(), set()
        self._alarm = soonest = math.inf
        closed = 0  # resources for which no waiter may overtake
        for waiter in self._order():
            if all(self._is_claimed(waiter, resource) for resource in waiter.resources):
                self._own.update((waiter.caller, resource) for resource in waiter.resources)
                continue
            if waiter.due <= now or self._was_notified(waiter):
                return waiter
            soonest = min(soonest, waiter.due)
            self._ahead.add(waiter)
            for resource in waiter.resources:
                bar = waiter.size if waiter.wait.portion * self._demand.callers(resource) > 1 else 0
                before = self._bars.get(resource)
                closed += bar == 0 and before != 0
                self._heads.setdefault(resource, waiter)
                self._own.add((waiter.caller, resource))
                self._bars[resource] = bar if before is None else min(bar, before)
            if closed == len(self._demand):
                break
        self._alarm = soonest
        return None

    def _is_claimed(self, waiter: Waiter, resource: Resource) -> bool:
        """Return whether others precede `waiter` for the resource `resource`."""
        bar = self._bars.get(resource)
        return bar is not None and (bar <= waiter.size or (waiter.caller, resource) in self._own)

    def _note(self, resources: Collection[Resource]) -> None:
        self._notifications += 1
        if not resources:
            self._general = self._notifications
        for resource in resources:
            self._newest[counter(resource)] = self._notifications

    def _was_notified(self, waiter: Waiter) -> bool:
        """Return whether the waiter was notified since its last attempt."""
        seen = waiter.seen
        return seen < self._general or any(seen < self._newest[counter] for counter in waiter.counters)

    def _order(self) -> Iterator[Waiter]:
        """Yield the first waiter of each caller, then the second of each, and so on."""
        rows = []
        for waiters in self._callers.values():
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

    def _reject_too_late(self, now: float) -> bool:
        """After a whole round, reject new waiters that would wait too long; return whether there were any."""
        fresh, self._fresh = self._fresh, []
        rejected = False
        for waiter, first, rounds in self._predicted(fresh):
            exact = self._head(waiter).wait.exact
            if (first if exact else now + CERTAIN_SHARE * (first - now)) + CERTAIN_SHARE * rounds > waiter.until:
                self._reject(waiter, _rejection(first + rounds - now))
                rejected = True
            elif waiter.predicted is not None:
                waiter.predicted(first + rounds - now)
        return rejected

    def _reject_expired(self, now: float) -> bool:
        """After a whole round, reject waiters whose time is over; return whether there were any."""
        if now < self._first_end:
            return False
        waiting = list(self._order())
        over = [waiter for waiter in waiting if waiter.until <= now]
        for waiter in over:
            self._reject(waiter, _rejection(self._begins(waiter) - now))
        self._first_end = min((waiter.until for waiter in waiting if waiter.until > now), default=math.inf)
        return bool(over)

    def _predicted(self, fresh: Collection[Waiter]) -> Iterator[tuple[Waiter, float, float]]:
        """Yield each waiter, the time of the first waiter's turn, and the seconds from then to its own turn."""
        wanted, before, predictions = set(fresh), Counter[Resource](), []
        for waiter in self._order() if wanted else ():
            if waiter in wanted:
                first, rounds = self._begins(waiter), 0.0
                if waiter not in self._ahead or waiter.behind:
                    rounds = min(self._rounds(resource, before[resource]) for resource in waiter.resources) - first
                predictions.append((waiter, first, rounds))
            before.update(waiter.resources)
        yield from predictions

    def _rounds(self, resource: Resource, before: int) -> float:
        """Return when `before` waiters will have used the resource `resource`, one round after the other."""
        head = self._heads[resource]
        return head.due + head.wait.pace * (before // head.wait.at_once)

    def _begins(self, waiter: Waiter) -> float:
        """Return the earliest time of the waiter's turn: that of the first waiter for its resources."""
        return self._head(waiter).due

    def _head(self, waiter: Waiter) -> Waiter:
        """Return the waiter with the earliest relevant prediction: itself if no other precedes it."""
        if waiter in self._ahead and not waiter.behind:
            return waiter
        return min((self._heads[resource] for resource in waiter.resources), key=lambda head: head.due)

    def _set_timer(self) -> None:
        self._alarm = min(self._alarm, self._first_end)
        if self._timer_keeper is None:
            self._timer_keeper = next(reversed(next(reversed(self._callers.values()))))  # it will wait for longest
            self._timer_keeper.turn.set()
        elif self._alarm < self._armed:
            self._timer_keeper.turn.set()

    def _displace(self, waiter: Waiter) -> None:
        """In a full queue, reject the last call of the caller with the most calls, or `waiter` if it is that."""
        if self.depth < self._live.snapshot.queue.size:
            return
        heads = [self._heads[resource].due for resource in waiter.resources if resource in self._heads]
        due = waiter.due or min(heads, default=0.0)
        full = RateLimited(
            f"The queue is full: {self.depth} calls are waiting (`resilience.queue.size`); try again later.",
            code="queue_full",
            retry_after=max(QUEUE_FULL_SECONDS, due - self._clock.monotonic()),
        )
        most = max(self._callers.values(), key=len, default={})
        if len(most) <= len(self._callers.get(waiter.caller, ())) + 1:
            raise full
        self._reject(next(last for last in reversed(most) if last is not self._attempting), full)

    def _enter(self, waiter: Waiter) -> None:
        self._callers.setdefault(waiter.caller, {})[waiter] = None
        self._demand.add(waiter)
        self._fresh.append(waiter)
        self._first_end = min(self._first_end, waiter.until)
        self.depth += 1

    def _rotate(self, waiter: Waiter) -> None:
        """Move the served caller to the end; calls that were behind one of its calls may now precede it."""
        self._callers[waiter.caller] = self._callers.pop(waiter.caller)
        if len(self._callers) > 1 and len(self._callers[waiter.caller]) > 1:
            for other in self._order():
                if other.behind:
                    other.seen = -1

    def _reject(self, waiter: Waiter, error: ProxyError) -> None:
        waiter.error = error
        self._remove(waiter)
        waiter.turn.set()

    def _leave(self, waiter: Waiter) -> None:
        """Remove a served, rejected or cancelled waiter; others may use the resources that it claimed."""
        self._remove(waiter)
        self._next_turn()

    def _remove(self, waiter: Waiter) -> None:
        waiters = self._callers.get(waiter.caller, {})
        if waiter not in waiters:
            return
        del waiters[waiter]
        if not waiters:
            del self._callers[waiter.caller]
        self.depth -= 1
        if waiter.seen >= 0:  # no call of another caller is behind one that never attempted
            self._note(waiter.resources)
        else:
            for other in waiters:
                if other.behind:
                    other.seen = -1
        self._demand.remove(waiter)
        if waiter in self._fresh:
            self._fresh.remove(waiter)
        if self._attempting is waiter:
            self._attempting = None
        if self._timer_keeper is waiter:
            self._timer_keeper = None
            self._armed = math.inf
        if not self.depth:
            self._first_end = math.inf


def _at_least(wait: Wait) -> float:
    """Return the seconds that the wait takes at least."""
    return wait.seconds if wait.exact else CERTAIN_SHARE * wait.seconds


def _rejection(seconds: float) -> ProxyError:
    if seconds == math.inf:
        message = "The call exceeds the limits of every target; shorten it or choose another model."
        return InvalidRequest(message, code="no_candidate_available", retryable=False)
    return RateLimited(
        f"All targets are at their limits; capacity is expected in {duration_text(seconds)}.", retry_after=seconds
    )
