"""Budgets: which ones apply to an attempt, and the money that is reserved from them while it runs.

    reserve   before an attempt: its worst case, in all its budgets or in none
    settle    at its end: the real cost, once
    run       renews the reservations of running attempts

What was spent before the first use of a window comes from the ledger. See `docs/budgets.md` for what is promised.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count
from typing import NamedTuple, Protocol
from weakref import WeakSet, WeakValueDictionary

from proxy.capacity.budget_memory import MemoryBudgets
from proxy.capacity.budget_rules import counter_of, exceeded_error, merged, name_of, rules, unbounded_error
from proxy.capacity.budget_store import (
    BudgetCharge,
    BudgetCounter,
    BudgetReservation,
    BudgetStore,
    Granted,
    Refused,
    Spending,
    Unseeded,
)
from proxy.core.accounts import BudgetScope
from proxy.core.budgets import BudgetPolicy, BudgetRule, Window, Windows
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import StateUnavailable, Unavailable
from proxy.core.log_limit import LogLimit
from proxy.core.model import Deployment
from proxy.core.money import usd
from proxy.core.plan import Room
from proxy.core.principal import UNKNOWN_CALLER, Principal
from proxy.core.snapshot import Live

LEASE_SECONDS = 60.0
RENEW_SECONDS = 20.0
REFRESH_SECONDS = 5.0
PATIENCE_SECONDS = 0.6  # for which calls wait at the start of an outage of the shared store, beside its discovery
CHECK_SECONDS = 0.05
SEEDED_AT_ONCE = 500  # counters, so that leases are renewed in time
FOREVER_US = 9_000_000_000 * 1_000_000  # the end of a window without end, in microseconds
MAX_KNOWN = 10_000  # callers and providers whose charges are remembered
_NO_POLICY = BudgetPolicy()
_LOG = logging.getLogger(__name__)


class PastSpending(Protocol):
    """The ledger's sums."""

    @property
    def is_complete(self) -> bool:
        """Whether the ledger has all that was spent; else more will follow soon."""
        ...

    async def spent(self, scope: str, id: str, start: int, end: int) -> int:
        """Return the nano-dollars that were spent in a time (microseconds since 1970)."""
        ...


class FailOpen(NamedTuple):
    """What happens while a dependency is unavailable.

    `state`: budgets are counted in this process alone; else hard budgets reject calls. `store`: a budget whose past
    spending cannot be read begins with 0; else it rejects calls.
    """

    state: bool = True
    store: bool = True


FAIL_OPEN = FailOpen()


class _Known(NamedTuple):
    """The charges of the attempts of a caller to a provider, from `since` until `until` (seconds since 1970)."""

    policy: BudgetPolicy | None
    since: float
    until: float
    charges: tuple[BudgetCharge, ...]


class BudgetRow(NamedTuple):
    """The state of one budget in its current window."""

    rule: BudgetRule
    window: Window
    spending: Spending


class Budgets:
    """The budgets of all scopes, over one store. `id` identifies this process among those that share the store."""

    def __init__(
        self,
        store: BudgetStore,
        clock: Clock,
        live: Live,
        *,
        id: str,
        ledger: PastSpending | None = None,
        fail_open: FailOpen = FAIL_OPEN,
    ) -> None:
        self.refused: Counter[BudgetScope] = Counter()
        self.exceeded: Counter[BudgetScope] = Counter()
        self.overruns: Counter[tuple[str, str]] = Counter()  # by the labels of the deployment
        self._store = store
        self._clock = clock
        self._live = live
        self._id = id
        self._ledger = ledger
        self._fail_open = fail_open
        self._away_since: float | None = None  # the first failure of the shared store in this outage
        self._local: MemoryBudgets | None = None  # while a shared store is unavailable
        self._unsure: dict[BudgetCounter, BudgetCharge] = {}  # to seed again: the ledger may have more
        self._warnings = LogLimit()
        self._numbers = count()
        self._windows = Windows()
        self._known: dict[tuple[object, ...], _Known] = {}  # by caller and provider
        self._running: WeakSet[BudgetReservation] = WeakSet()  # one that leaks is collected, and not renewed
        self._seeding: WeakValueDictionary[BudgetCounter, asyncio.Lock] = WeakValueDictionary()

    def charges(
        self, principal: Principal, deployment: Deployment, policy: BudgetPolicy | None
    ) -> tuple[BudgetCharge, ...]:
        """Return what an attempt charges: the counters of all budgets that apply, in their current windows."""
        key = (principal.user, principal.team, principal.key_id, principal.budgets, deployment.provider.name)
        known = self._known.get(key)
        now = self._clock.time()
        if known is not None and known.policy is policy and known.since <= now < known.until:
            return known.charges
        pairs = self._windows_of(rules(principal, deployment, policy or _NO_POLICY))
        charges = merged(pairs) if pairs else ()
        since = max((window.start for _, window in pairs), default=0)
        until = min((window.end for _, window in pairs if window.end is not None), default=math.inf)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[key] = _Known(policy, since, until, charges)
        return charges

    def room(self, call: Call, deployment: Deployment) -> Room | None:
        """Return what is left of the hard budgets of calls to a provider; `None` if none is known to apply.

        A provider for which users may have own keys has none: those keys count in no budget.
        """
        provider, principal = deployment.provider, call.principal
        if provider.stand_in or (provider.user_keys != "off" and principal.user is not None):
            return None
        least: Room | None = None
        for charge in self.charges(principal, deployment, call.snapshot.budgets):
            spending = None if charge.hard is None else self._store.peek(charge.counter)
            if charge.hard is None or spending is None:
                continue
            left = 0 if spending.closed else max(0, charge.hard - spending.spent - spending.reserved)
            if least is None or left < least.nusd:
                least = Room(name_of(charge.counter), left)
        return least

    async def reserve(
        self, charges: tuple[BudgetCharge, ...], deployment: Deployment, nusd: int | None
    ) -> tuple[BudgetReservation, tuple[str, ...]]:
        """Reserve `nusd`, and return the reservation and the names of soft budgets that are exceeded.

        `None` means that the cost has no known bound. Raises `BudgetExceeded`.
        """
        if nusd is None and (hard := next((each for each in charges if each.hard is not None), None)):
            self.refused[hard.counter.scope] += 1
            raise unbounded_error(hard.counter, deployment)
        reservation = BudgetReservation(f"{self._id}-{next(self._numbers):x}", charges, nusd or 0)
        result = self._store.reserve_at_once(reservation, LEASE_SECONDS)
        if result is None or isinstance(result, Unseeded):
            try:
                result = await self._reserve(reservation)
            except BaseException:
                self._store.settle(reservation, 0)  # a shared store may have reserved it
                raise
        if isinstance(result, Refused):
            self.refused[result.charge.counter.scope] += 1
            raise exceeded_error(result, reservation.nusd, self._clock.time())
        self._running.add(reservation)
        if not result.exceeded:
            return reservation, ()
        self.exceeded.update(each.counter.scope for each in result.exceeded)
        return reservation, tuple([name_of(each.counter) for each in result.exceeded])

    def settle(self, reservation: BudgetReservation, nusd: int, deployment: Deployment) -> None:
        """End a reservation with the real cost."""
        self._running.discard(reservation)
        if reservation.locally:
            if self._local is not None:
                self._local.settle(reservation, nusd)
            self._store.settle(reservation, 0)  # `renew` may have reserved it there meanwhile
            self._store.commit(reservation.charges, nusd)
        else:
            self._store.settle(reservation, nusd)
        if nusd > reservation.nusd and any(each.hard is not None for each in reservation.charges):
            self.overruns[deployment.labels] += 1
            fields = {
                "provider": deployment.labels[0],
                "model": deployment.labels[1],
                "usd": usd(nusd),
                "bound_usd": usd(reservation.nusd),
            }
            _LOG.warning("an attempt cost more than its bound; its hard budgets are closed", extra={"fields": fields})

    async def reserve_probe(self, deployment: Deployment, nusd: int | None) -> BudgetReservation | None:
        """Reserve for a background probe in the budgets of its provider and in total; `None` if there are none."""
        charges = self.charges(UNKNOWN_CALLER, deployment, self._live.snapshot.budgets)
        return (await self.reserve(charges, deployment, nusd))[0] if charges else None

    async def read(self, found: Iterable[BudgetRule]) -> list[BudgetRow]:
        """Return the state of these budgets in their current windows.

        Without the shared store: what the ledger has, and what this process has reserved. Raises `StateUnavailable` if
        the ledger is unavailable too.
        """
        pairs = self._windows_of(found)
        charges = [BudgetCharge(counter_of(rule, window), window.end) for rule, window in pairs]
        try:
            rows = await self._read(charges)
        except StateUnavailable:
            rows = [await self._read_alone(charge) for charge in charges]
        return [BudgetRow(*pair, row) for pair, row in zip(pairs, rows, strict=True)]

    def configured(self) -> list[tuple[BudgetRule, Spending]]:
        """Return the budgets of the configuration with what is known of them now, for metrics."""
        return [(rule, self._store.peek(counter_of(rule, window)) or Spending()) for rule, window in self._configured()]

    async def run(self) -> None:
        """Renew the reservations of running attempts, and read what other processes have spent, until cancelled."""
        last = self._clock.monotonic()
        while True:
            await self._clock.sleep(REFRESH_SECONDS)
            if self._clock.monotonic() - last >= RENEW_SECONDS:
                last = self._clock.monotonic()
                self.renew()
            try:
                await self.refresh()
            except StateUnavailable:
                continue  # this is logged elsewhere
            except Exception as exc:
                if self._warnings.passes(self._clock.monotonic()) is not None:
                    _LOG.warning("budgets could not be read", extra={"fields": {"error": type(exc).__name__}})

    def renew(self) -> None:
        """Renew the reservations of running attempts now."""
        running = list(self._running)
        self._store.renew(running, LEASE_SECONDS)
        if self._local is not None:
            self._local.renew([each for each in running if each.locally], LEASE_SECONDS)

    async def refresh(self) -> None:
        """Read the budgets of the configuration for metrics; seed again the counters that lack the ledger.

        A shared counter is seeded twice: if Redis has lost it, what others had spent last was not in the ledger yet.
        """
        for counter in list(self._unsure)[:SEEDED_AT_ONCE]:
            charge = self._unsure.pop(counter)
            try:
                await self._seed(charge, again=True)
            except BaseException:
                self._unsure[counter] = charge
                raise
        await self._read([BudgetCharge(counter_of(rule, window), window.end) for rule, window in self._configured()])

    async def _read(self, charges: Sequence[BudgetCharge]) -> list[Spending]:
        """Return what has been spent and reserved of counters, after their first use."""
        rows = list(await self._store.read([charge.counter for charge in charges]))
        for number, row in enumerate(rows):
            if row is None:
                await self._seed(charges[number])
                [rows[number]] = await self._store.read([charges[number].counter])
        return [row or Spending() for row in rows]

    async def _read_alone(self, charge: BudgetCharge) -> Spending:
        """Return what is known of a counter without the shared store."""
        if (local := self._local.peek(charge.counter) if self._local else None) is not None:
            return local
        seen, spent = self._store.peek(charge.counter), await self._spent(charge)
        if spent is None and seen is None:
            raise StateUnavailable
        return Spending(max(seen.spent if seen else 0, spent or 0), 0, seen is not None and seen.closed)

    async def _reserve(self, reservation: BudgetReservation) -> Granted | Refused:
        """Reserve in the shared store; without it in this process, unless a hard budget must then refuse."""
        try:
            result = await self._patiently(reservation)
        except StateUnavailable:
            if not self._fail_open.state and any(each.hard is not None for each in reservation.charges):
                raise
            if self._local is None:
                self._local = MemoryBudgets(self._clock)
            result = await self._reserve_in(self._local, reservation)
            reservation.locally = True
        else:
            self._local = None
        return result

    async def _patiently(self, reservation: BudgetReservation) -> Granted | Refused:
        """Reserve in the shared store. In the first second of an outage, wait for its end: most are that short."""
        while True:
            try:
                result = await self._reserve_in(self._store, reservation)
            except StateUnavailable:
                now = self._clock.monotonic()
                if self._away_since is None:
                    self._away_since = now
                if now - self._away_since >= PATIENCE_SECONDS:
                    raise
                await self._clock.sleep(CHECK_SECONDS)
            else:
                self._away_since = None
                return result

    async def _reserve_in(self, store: BudgetStore, reservation: BudgetReservation) -> Granted | Refused:
        while True:
            result = await store.reserve(reservation, LEASE_SECONDS)
            if not isinstance(result, Unseeded):
                return result
            for charge in result.charges:
                if store is self._store:
                    await self._seed(charge)
                else:
                    seen = self._store.peek(charge.counter)
                    await store.seed(charge, max(seen.spent if seen else 0, await self._spent(charge) or 0))

    async def _seed(self, charge: BudgetCharge, *, again: bool = False) -> None:
        """Set what a counter has spent before; concurrent first uses ask the ledger once."""
        if self._ledger is None:
            await self._store.seed(charge, 0)
            return
        counter = charge.counter
        lock = self._seeding.get(counter)
        if lock is None:
            lock = self._seeding[counter] = asyncio.Lock()
        async with lock:
            if not again and (await self._store.read([counter]))[0] is not None:
                return
            is_complete = self._ledger.is_complete
            nusd = await self._spent(charge)
            if nusd is None or not is_complete or (self._store.shared and not again):
                self._unsure[counter] = charge
            await self._store.seed(charge, nusd or 0, again=again)

    async def _spent(self, charge: BudgetCharge) -> int | None:
        """Return what the ledger has for a counter; `None` if it does not answer and calls go on without it."""
        if self._ledger is None:
            return 0
        counter = charge.counter
        end = FOREVER_US if charge.end is None else charge.end * 1_000_000
        try:
            if not (self._ledger.is_complete or self._fail_open.store):
                raise Unavailable("The records of ended processes are not in the store yet.")
            return await self._ledger.spent(counter.scope, counter.id, counter.start * 1_000_000, end)
        except Exception as exc:
            if not self._fail_open.store:
                message = "Past spending cannot be read from the store; try again in a few seconds."
                raise Unavailable(message, code="overloaded", retry_after=2.0) from exc
            if self._warnings.passes(self._clock.monotonic()) is not None:
                fields = {"budget": name_of(counter), "error": type(exc).__name__}
                _LOG.warning("past spending cannot be read; a budget begins with 0", extra={"fields": fields})
            return None

    def _configured(self) -> list[tuple[BudgetRule, Window]]:
        policy = self._live.snapshot.budgets
        return self._windows_of(rule for each in (policy.rules.values() if policy else ()) for rule in each)

    def _windows_of(self, found: Iterable[BudgetRule]) -> list[tuple[BudgetRule, Window]]:
        now = self._clock.time()
        return [(rule, self._windows.at(rule.period, rule.timezone, now)) for rule in found]
