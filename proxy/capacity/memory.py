"""The counter store in process memory: the default, and the reference for shared stores.

No method awaits between reading and writing, so each of them is atomic. Only this store has to be saved across a
restart (`export`, `restore`): a shared one survives it.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from proxy.capacity.kinds import WINDOWS
from proxy.capacity.outstanding import ReservedAmounts, SlotCounter
from proxy.capacity.store import Charge, CounterKey, Reservation, Row, Wait
from proxy.core.clock import Clock
from proxy.core.saved import SavedWindow, owner_name, owner_named
from proxy.core.window import Window

MAX_COUNTERS = 100_000  # beyond it the least recently used are dropped, in use or not
MAX_SAVED = 5000  # the most recently used windows; each takes at most about 3 KB in the file
FIRST_SWEEP = 1024  # counters before the first search for idle ones


# What one charge of a reservation has taken: from which counter, the stamp of the window, the amount, and, only for an
# estimated amount, where it is reserved.
_Part = tuple[Window | SlotCounter, int, int, ReservedAmounts | None]


class MemoryCounters:
    """A `CounterStore` in memory. Idle counters are dropped when new ones are added."""

    shared = False

    def __init__(self, clock: Clock, *, most: int = MAX_COUNTERS) -> None:
        self._clock = clock
        self._most = most
        self._counters: OrderedDict[CounterKey, Window | SlotCounter] = OrderedDict()  # least recently used first
        self._reserved: dict[CounterKey, ReservedAmounts] = {}  # amounts of windows that will be corrected
        self._cooldowns: dict[CounterKey, float] = {}
        self._last_cooldown_end = 0.0  # when all cooldowns are over
        self._parts: dict[str, list[_Part]] = {}  # by reservation, until its end
        self._ids = itertools.count(1)
        self._sweep_at = min(FIRST_SWEEP, most)

    async def reserve(self, charges: Sequence[Charge]) -> Reservation | Wait:
        """Reserve all charges, or return how long to wait; see `CounterStore`."""
        return self._reserve(charges)

    def fits_at_once(self, charges: Sequence[Charge]) -> bool:
        """Return whether all charges fit in counters that exist."""
        return self._fitting(charges, self._clock.monotonic()) is not None

    def reserve_at_once(self, charges: Sequence[Charge]) -> Reservation | None:
        """Reserve all charges; `None` if one does not fit."""
        result = self._reserve(charges)
        return result if isinstance(result, Reservation) else None

    def _reserve(self, charges: Sequence[Charge]) -> Reservation | Wait:
        now = self._clock.monotonic()
        counters = self._fitting(charges, now)
        if counters is None and (wait := self._longest(charges, now)):
            return wait
        number, used, touch = str(next(self._ids)), [], self._counters.move_to_end
        parts = self._parts[number] = []
        existing = None if counters is None else iter(counters)
        for charge in charges:
            key, _, _, amount, estimated = charge
            if not amount:
                used.append(0)
                continue
            counter = self._counter(charge, now) if existing is None else next(existing)
            touch(key)
            if isinstance(counter, SlotCounter):
                counter.add(number, amount, now)
                parts.append((counter, 0, amount, None))
            else:
                reserved = self._reserve_amount(charge, number, now) if estimated else None
                parts.append((counter, counter.take(amount, now), amount, reserved))
            used.append(counter.total)
        return Reservation(number, tuple(charges), tuple(used))

    def settle(self, reservation: Reservation, amount: int | None) -> None:
        """End a reservation; only the first call has an effect."""
        now, number = self._clock.monotonic(), reservation.id
        for counter, stamp, taken, reserved in self._parts.pop(number, ()):
            if isinstance(counter, SlotCounter):
                counter.remove(number, now, unused=False)
            elif reserved is not None:
                real = taken if amount is None else amount
                if real != taken:
                    counter.correct(stamp, real - taken, now)
                reserved.settle(number, real, now, unused=False)

    def release(self, reservation: Reservation) -> None:
        """Undo a reservation; only the first call has an effect."""
        now, number = self._clock.monotonic(), reservation.id
        for counter, stamp, taken, reserved in self._parts.pop(number, ()):
            if isinstance(counter, SlotCounter):
                counter.remove(number, now, unused=True)
            else:
                counter.correct(stamp, -taken, now)
            if reserved is not None:
                reserved.settle(number, 0, now, unused=True)

    async def wait(self, charges: Sequence[Charge]) -> float:
        """Return the seconds until `reserve` can succeed."""
        wait = self._longest(charges, self._clock.monotonic())
        return wait.seconds if wait else 0.0

    def start_cooldown(self, counter: CounterKey, seconds: float) -> None:
        """Start a cooldown, which outlives its counter."""
        now = self._clock.monotonic()
        if len(self._cooldowns) >= self._sweep_at:
            self._sweep(now)
        self._cooldowns[counter] = max(now + seconds, self._cooldowns.get(counter, 0.0))
        self._last_cooldown_end = max(self._last_cooldown_end, now + seconds)

    def end_cooldown(self, counter: CounterKey) -> None:
        """End the cooldown of `counter`, whatever its length."""
        self._cooldowns.pop(counter, None)

    async def read(self) -> Sequence[Row]:
        """Return the rows of `/admin/limits`; visits every counter."""
        now = self._clock.monotonic()
        keys = {key for key, counter in self._counters.items() if counter.used(now)}
        keys |= {key for key, until in self._cooldowns.items() if until > now}
        return [self._row(key, now) for key in sorted(keys)]

    def export(self, shift: float, *, longer_than: float = 0.0) -> list[SavedWindow]:
        """Return the windows of more than `longer_than` seconds to save, least recently used first.

        `shift` is wall-clock time minus monotonic time, in seconds. Slots are left out: they end with the process.
        """
        now = self._clock.monotonic()
        saved: list[SavedWindow] = []
        for key, counter in reversed(self._counters.items()):
            if isinstance(counter, SlotCounter) or counter.seconds <= longer_than:
                continue
            owner = owner_name(key.owner)
            if owner is not None and (window := counter.export(f"{owner}:{key.kind}", shift, now)):
                saved.append(window)
                if len(saved) >= MAX_SAVED:
                    break
        return saved[::-1]

    def restore(self, saved: Sequence[SavedWindow], shift: float) -> None:
        """Count what `export` returned, possibly in another process, as if it had been reserved here.

        Existing counters stay. Raises `ValueError`, and changes nothing, if `export` cannot have returned it.
        """
        now = self._clock.monotonic()
        windows = {_key(window): Window.restored(window, shift, now) for window in saved[-MAX_SAVED:]}
        for key, window in windows.items():
            if window.used(now):
                self._counters.setdefault(key, window)

    def _row(self, key: CounterKey, now: float) -> Row:
        cooldown = max(0.0, self._cooldowns.get(key, 0.0) - now)
        counter = self._counters.get(key)
        if counter is None:
            return Row(key, 0, None, 0.0, cooldown)
        return Row(key, counter.used(now), counter.limit, counter.seconds, cooldown)

    def _reserve_amount(self, charge: Charge, reservation: str, now: float) -> ReservedAmounts:
        """Record that an amount will be replaced by the real one."""
        reserved = self._reserved.get(charge.counter)
        if reserved is None:
            reserved = self._reserved[charge.counter] = ReservedAmounts()
        reserved.add(reservation, charge.amount, now)
        return reserved

    def _fitting(self, charges: Iterable[Charge], now: float) -> list[Window | SlotCounter] | None:
        """Return the counters of the charges, except those of nothing, if all charges fit in counters that exist.

        `None`: `_longest` decides.
        """
        if self._cooldowns:
            if now < self._last_cooldown_end:
                return None
            self._cooldowns.clear()
        get, found = self._counters.get, []
        for key, limit, seconds, amount, _ in charges:
            if amount:
                counter = get(key)
                if counter is None or counter.seconds != seconds:
                    return None
                counter.limit = limit
                if not counter.fits(amount, now):
                    return None
                found.append(counter)
        return found

    def _longest(self, charges: Iterable[Charge], now: float) -> Wait | None:
        """Return the longest of the charges' waits, or `None` if all fit."""
        longest: tuple[Wait, Charge] | None = None
        for charge in charges:
            wait = self._when(charge, now)
            if wait is not None and wait.seconds > (longest[0].seconds if longest else 0.0):
                longest = wait, charge
        if longest is None:
            return None
        wait, charge = longest
        counter = self._counters.get(charge.counter)
        return replace(wait, charge=charge, used=counter.used(now) if counter else 0)

    def _when(self, charge: Charge, now: float) -> Wait | None:
        """Return the wait for this charge, or `None` if it fits."""
        cooldown = 0.0
        if self._cooldowns and charge.counter in self._cooldowns:
            cooldown = self._cooldowns[charge.counter] - now
        if charge.amount > charge.limit:
            return Wait(math.inf)
        counter = self._counters.get(charge.counter) if charge.amount else None
        if counter is not None and counter.seconds == charge.seconds:
            counter.limit = charge.limit
            if isinstance(counter, SlotCounter):
                seconds = counter.until(charge.amount, now)
                if seconds > cooldown:
                    return Wait(seconds, counter.usual, max(counter.limit, 1), exact=False)
            elif (seconds := counter.when(charge.amount, now)) > cooldown:
                return self._of_window(charge, counter, max(seconds, cooldown), max(cooldown, 0.0), now)
        return Wait(cooldown) if cooldown > 0 else None

    def _of_window(self, charge: Charge, window: Window, exact: float, cooldown: float, now: float) -> Wait:
        """Return the wait for the window, or for the return of enough reserved tokens if that is shorter."""
        portion = charge.amount / charge.limit if charge.amount > 1 else 0.0
        reserved = self._reserved.get(charge.counter)
        if reserved is not None:
            short = window.used(now) + charge.amount - window.limit
            estimate = max(reserved.until(short, now, since=now - window.seconds), cooldown)
            if estimate < exact:
                at_once = charge.limit // charge.amount
                return Wait(estimate, reserved.usual, at_once, exact=False, portion=portion)
        return Wait(exact, portion=portion)

    def _counter(self, charge: Charge, now: float) -> Window | SlotCounter:
        """Return the counter of the charge. A new one replaces one of another window length."""
        known = self._counters.get(charge.counter)
        if known is not None and known.seconds == charge.seconds:
            return known
        if len(self._counters) >= self._sweep_at:
            self._sweep(now)
        counter = Window(charge.seconds, charge.limit) if charge.seconds else SlotCounter(charge.limit)
        self._counters[charge.counter] = counter
        return counter

    def _sweep(self, now: float) -> None:
        """Drop idle counters. The next sweep is due when as many were added, which keeps the amortised cost low."""
        for key in [key for key, counter in self._counters.items() if not counter.used(now)]:
            del self._counters[key]
            self._reserved.pop(key, None)
        for key in [key for key, until in self._cooldowns.items() if until <= now]:
            del self._cooldowns[key]
        while len(self._counters) >= self._most:
            key, _ = self._counters.popitem(last=False)
            self._reserved.pop(key, None)
        while len(self._cooldowns) >= self._most:
            del self._cooldowns[next(iter(self._cooldowns))]
        live = max(len(self._counters), len(self._cooldowns))
        self._sweep_at = min(max(FIRST_SWEEP, 2 * live), self._most)


def _key(window: SavedWindow) -> CounterKey:
    name, _, kind = window.name.rpartition(":")
    if (kind, window.seconds) not in WINDOWS.items():
        raise ValueError("the window of a limit has another length")
    return CounterKey(owner_named(name), kind)
