"""The counter store in Redis: limits that all replicas share, on the clock of Redis.

A step is one script, and so one round trip. Reservations end in the background, in order. What is estimated, the time
until slots and reserved tokens return, is estimated from the reservations of this process.

Slots are leased: this process renews those in use, and those of a killed one are free when their lease ends. The same
renewal restores slots in a Redis that was restarted empty.
"""

from __future__ import annotations

import itertools
import json
import math
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

from proxy.capacity.outstanding import Outstanding, ReservedAmounts
from proxy.capacity.redis.client import StateClient, state_key
from proxy.capacity.redis.scripts import LEASE_SECONDS, SERVER_TIME, scripts
from proxy.capacity.store import Charge, CounterKey, Reservation, Row, Wait
from proxy.core.clock import Clock
from proxy.core.model import RouteKey

RENEW_SECONDS = LEASE_SECONDS / 3
RECHECK_SECONDS = 0.25  # between two notifications of waiting calls, because other replicas free capacity too
RENEWED_AT_ONCE = 200  # slots in one script, so that Redis is never busy for long
MAX_COUNTERS = 10_000  # for which durations are known
MICROSECONDS = 1_000_000
LEASE_MS = int(LEASE_SECONDS * 1000)
_NAMES = state_key("limits", "")


class _Held(NamedTuple):
    """A reservation that has not ended: its charges and the parts of their windows."""

    charges: Sequence[Charge]
    parts: Sequence[int]


class RedisCounters:
    """A `CounterStore` over Redis. Requests raise `StateUnavailable` while Redis is unavailable."""

    shared = True

    def __init__(
        self,
        client: StateClient,
        clock: Clock,
        *,
        time: str = SERVER_TIME,
    ) -> None:
        """`time` is the statement of the scripts that sets the time."""
        self._client = client
        self._clock = clock
        self.on_freed: list[Callable[[], None]] = []  # called while calls wait: other replicas may free capacity
        self._scripts = scripts(time)
        self._process = secrets.token_hex(8)
        self._ids = itertools.count(1)
        self._held: dict[str, _Held] = {}
        self._outstanding: dict[CounterKey, Outstanding] = {}
        self._refused = False  # since the last notification
        client.on_recovery.append(self.renew)

    def holds(self, reservation: Reservation) -> bool:
        """Return whether the reservation was made here and has not ended."""
        return reservation.id in self._held

    async def reserve(self, charges: Sequence[Charge]) -> Reservation | Wait:
        """Reserve all charges, or return how long to wait; see `CounterStore`."""
        number = f"{self._process}-{next(self._ids)}"
        abandoned = partial(self._abandoned, number, charges)
        answer = await self._client.call(
            self._scripts.reserve, _keys(charges), _arguments(number, charges), on_abandoned=abandoned
        )
        if not answer[0]:
            self._refused = True
            return self._longest(charges, answer) or Wait(0.0)
        self._hold(number, charges, answer)
        return Reservation(number, tuple(charges), tuple(answer[1::2]))

    def fits_at_once(self, charges: Sequence[Charge]) -> bool:
        """Return `False`: it would take a round trip."""
        return False

    def reserve_at_once(self, charges: Sequence[Charge]) -> Reservation | None:
        """Return `None`: it would take a round trip."""
        return None

    def settle(self, reservation: Reservation, amount: int | None) -> None:
        """End a reservation in the background; only the first call has an effect."""
        self._end(reservation.id, amount, unused=False)

    def release(self, reservation: Reservation) -> None:
        """Undo a reservation in the background; only the first call has an effect."""
        self._end(reservation.id, 0, unused=True)

    async def wait(self, charges: Sequence[Charge]) -> float:
        """Return the seconds until `reserve` can succeed."""
        answer = await self._client.call(self._scripts.reserve, _keys(charges), _arguments("", charges))
        wait = self._longest(charges, answer)
        return wait.seconds if wait else 0.0

    def start_cooldown(self, counter: CounterKey, seconds: float) -> None:
        """Start a cooldown in the background; not while Redis is unavailable, because it would start too late."""
        if not self._client.available:
            return
        length = math.ceil(seconds * MICROSECONDS)
        self._client.post(self._scripts.cool_down, [_name("c", counter)], [length])

    def end_cooldown(self, counter: CounterKey) -> None:
        """End a cooldown in the background."""
        self._client.post(self._scripts.end_cooldown, [_name("c", counter)])

    async def read(self) -> Sequence[Row]:
        """Return the rows of `/admin/limits`. Takes several round trips, because Redis may have many keys."""
        rows: dict[CounterKey, Row] = {}
        cursor = b"0"
        while True:
            cursor, *found = await self._client.call(self._scripts.read, [], [cursor, _NAMES, len(_NAMES)])
            for name, used, limit, span, cooldown in found:
                if used or cooldown:
                    _add(rows, name, used, limit, span, cooldown)
            if cursor == b"0":
                return [rows[key] for key in sorted(rows)]

    async def run(self) -> None:
        """Renew slots, and notify waiting calls, until cancelled."""
        renewed = self._clock.monotonic()
        while True:
            await self._clock.sleep(RECHECK_SECONDS)
            if self._refused:
                self._refused = False
                for notify in self.on_freed:
                    notify()
            if self._clock.monotonic() - renewed >= RENEW_SECONDS:
                renewed = self._clock.monotonic()
                self.renew()

    def renew(self) -> None:
        """Renew the leases of all slots in use."""
        if not self._client.available:
            return  # an outage ends with a renewal
        slots = [
            (_key(charge), number, charge.amount)
            for number, held in self._held.items()
            for charge in held.charges
            if charge.amount and not charge.seconds
        ]
        for start in range(0, len(slots), RENEWED_AT_ONCE):
            some = slots[start : start + RENEWED_AT_ONCE]
            arguments = [value for _, number, amount in some for value in (number, amount)]
            self._client.post(self._scripts.renew, [key for key, _, _ in some], ["", LEASE_MS, *arguments])

    def _hold(self, number: str, charges: Sequence[Charge], answer: Sequence[int]) -> None:
        self._held[number] = _Held(charges, answer[2::2])
        now = self._clock.monotonic()
        for charge in charges:
            if charge.amount and (charge.estimated or not charge.seconds):
                outstanding = self._outstanding.get(charge.counter)
                if outstanding is None:
                    outstanding = self._new_outstanding(charge)
                outstanding.add(number, charge.amount, now)

    def _new_outstanding(self, charge: Charge) -> Outstanding:
        if len(self._outstanding) >= MAX_COUNTERS:
            self._outstanding = {key: each for key, each in self._outstanding.items() if each.any}
        new = self._outstanding[charge.counter] = ReservedAmounts() if charge.seconds else Outstanding()
        return new

    def _abandoned(self, number: str, charges: Sequence[Charge], answer: Sequence[int]) -> None:
        """Undo a reservation whose call was cancelled before the answer arrived."""
        if answer[0]:
            self._hold(number, charges, answer)
            self._end(number, 0, unused=True)

    def _end(self, number: str, amount: int | None, *, unused: bool) -> None:
        held = self._held.pop(number, None)
        if held is None:
            return
        now = self._clock.monotonic()
        keys: list[str] = []
        arguments: list[str | int] = [number]
        for charge, part in zip(held.charges, held.parts, strict=True):
            if not charge.amount:
                continue
            change = 0
            if not charge.seconds:
                self._outstanding[charge.counter].remove(number, now, unused=unused)
                change = charge.amount
            elif charge.estimated:
                real = charge.amount if amount is None else amount
                reserved = self._outstanding[charge.counter]
                if isinstance(reserved, ReservedAmounts):
                    reserved.settle(number, real, now, unused=unused)
                change = real - charge.amount
            elif unused:
                change = -charge.amount
            if change:
                keys.append(_key(charge))
                arguments += (_span(charge), part, change)
        if keys:
            self._client.post(self._scripts.settle, keys, arguments)

    def _longest(self, charges: Sequence[Charge], answer: Sequence[int]) -> Wait | None:
        """Return the longest of the charges' waits, or `None` if all fit."""
        longest: Wait | None = None
        rows = zip(answer[1::3], answer[2::3], answer[3::3], strict=True)
        for charge, (cooldown, wait, used) in zip(charges, rows, strict=True):
            one = self._wait(charge, cooldown / MICROSECONDS, wait, used)
            if one is not None and one.seconds > (longest.seconds if longest else 0.0):
                longest = replace(one, charge=charge, used=used)
        return longest

    def _wait(self, charge: Charge, cooldown: float, wait: int, used: int) -> Wait | None:
        """Return the wait for one charge, as `MemoryCounters` would."""
        if wait < 0:
            return Wait(math.inf)
        if wait and not charge.seconds:
            seconds, usual = self._until_slots(charge, used)
            if seconds > cooldown:
                return Wait(seconds, usual, max(charge.limit, 1), exact=False)
        elif wait and wait / MICROSECONDS > cooldown:
            return self._until_amount(charge, wait / MICROSECONDS, used, cooldown)
        return Wait(cooldown) if cooldown > 0 else None

    def _until_slots(self, charge: Charge, used: int) -> tuple[float, float]:
        """Estimate the seconds until slots are free; return also the usual duration."""
        outstanding = self._outstanding.get(charge.counter) or Outstanding()
        seconds = outstanding.when(used + charge.amount - charge.limit, self._clock.monotonic())
        if seconds == math.inf:  # other replicas hold them
            seconds = outstanding.expected / max(used, 1)
        return seconds, outstanding.usual

    def _until_amount(self, charge: Charge, exact: float, used: int, cooldown: float) -> Wait:
        """Return the wait for a window, or for the return of enough reserved tokens if that is shorter."""
        portion = charge.amount / charge.limit if charge.amount > 1 else 0.0
        reserved = self._outstanding.get(charge.counter)
        if isinstance(reserved, ReservedAmounts):
            now = self._clock.monotonic()
            short = used + charge.amount - charge.limit
            estimate = max(reserved.until(short, now, since=now - charge.seconds), cooldown)
            if estimate < exact:
                at_once = charge.limit // charge.amount
                return Wait(estimate, reserved.usual, at_once, exact=False, portion=portion)
        return Wait(exact, portion=portion)


@lru_cache(4 * MAX_COUNTERS)
def _name(form: str, counter: CounterKey) -> str:
    """Return the key of a counter's window (`w`), slots (`s`) or cooldown (`c`)."""
    parts = ["route" if isinstance(counter.owner, RouteKey) else "other", *counter.owner, counter.kind]
    return f"{_NAMES}{form}:{json.dumps(parts, separators=(',', ':'))}"


def _key(charge: Charge) -> str:
    return _name("w" if charge.seconds else "s", charge.counter)


def _keys(charges: Iterable[Charge]) -> list[str]:
    return [key for charge in charges for key in (_key(charge), _name("c", charge.counter))]


def _arguments(number: str, charges: Iterable[Charge]) -> list[str | int]:
    arguments: list[str | int] = [number, LEASE_MS]
    for charge in charges:
        arguments += (charge.limit, _span(charge), charge.amount)
    return arguments


def _span(charge: Charge) -> int:
    """Return the length of the window in microseconds."""
    return round(charge.seconds * MICROSECONDS)


def _add(rows: dict[CounterKey, Row], name: bytes, used: int, limit: int, span: int, cooldown: int) -> None:
    """Add what one key shows to the row of its counter."""
    owned_by, *owner, kind = json.loads(name[2:])
    key = CounterKey(RouteKey(*owner) if owned_by == "route" else tuple(owner), kind)
    before = rows.get(key) or Row(key, 0, None, 0.0, 0.0)
    seconds = cooldown / MICROSECONDS
    if name.startswith(b"c"):
        rows[key] = Row(key, before.used, before.limit, before.seconds, seconds)
    else:
        rows[key] = Row(key, used, None if limit < 0 else limit, span / MICROSECONDS, before.cooldown)
