"""Budgets: which ones apply to an attempt, and the money that is reserved from them while it runs.

    reserve   before an attempt: its worst case, in all its budgets or in none
    settle    at its end: the real cost, once
    run       renews the reservations of running attempts

What was spent before the first use of a window comes from the ledger. See `docs/budgets.md` for what is promised.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count
from typing import NamedTuple, Protocol
from weakref import WeakSet, WeakValueDictionary

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
from proxy.core.budgets import BudgetPolicy, BudgetRule, Window, Windows, reset_text, rule_of
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import BudgetExceeded
from proxy.core.model import Deployment
from proxy.core.money import output_ceiling, requested_ceiling, usd
from proxy.core.plan import Plan, Target
from proxy.core.principal import Principal
from proxy.core.snapshot import Live

LEASE_SECONDS = 60.0
RENEW_SECONDS = 20.0
_LOG = logging.getLogger(__name__)
_MARGIN = 64  # tokens that the estimate of a short prompt may be wrong
_NO_POLICY = BudgetPolicy()
_PERIODS = {"day": "a day", "week": "a week", "month": "a month", "total": "in total"}


class PastSpending(Protocol):
    """The ledger's sums."""

    async def spent(self, scope: BudgetScope, id: str, start_us: int, end_us: int | None) -> int:
        """Return the nano-dollars that were spent in a time (microseconds since 1970)."""
        ...


class BudgetRow(NamedTuple):
    """The state of one budget in its current window."""

    rule: BudgetRule
    window: Window
    spending: Spending


class Budgets:
    """The budgets of all scopes, over one store. `id` identifies this process among those that share the store."""

    def __init__(
        self, store: BudgetStore, clock: Clock, live: Live, *, id: str, ledger: PastSpending | None = None
    ) -> None:
        self.refused: Counter[BudgetScope] = Counter()
        self.exceeded: Counter[BudgetScope] = Counter()
        self.overruns: Counter[tuple[str, str]] = Counter()  # by the labels of the deployment
        self._store = store
        self._clock = clock
        self._live = live
        self._id = id
        self._ledger = ledger
        self._numbers = count()
        self._windows = Windows()
        self._running: WeakSet[BudgetReservation] = WeakSet()  # one that leaks is collected, and not renewed
        self._seeding: WeakValueDictionary[BudgetCounter, asyncio.Lock] = WeakValueDictionary()

    def charges(
        self, principal: Principal, deployment: Deployment, policy: BudgetPolicy | None
    ) -> tuple[BudgetCharge, ...]:
        """Return what an attempt charges: the counters of all budgets that apply, in their current windows."""
        found = rules(principal, deployment, policy or _NO_POLICY)
        return self._merged(found) if found else ()

    async def reserve(
        self, charges: tuple[BudgetCharge, ...], deployment: Deployment, nusd: int | None
    ) -> tuple[BudgetReservation, tuple[str, ...]]:
        """Reserve `nusd`, and return the reservation and the names of soft budgets that are exceeded.

        `None` means that the cost has no known bound. Raises `BudgetExceeded`.
        """
        if nusd is None and (hard := next((each for each in charges if each.hard is not None), None)):
            self.refused[hard.counter.scope] += 1
            raise BudgetExceeded(_unbounded(hard.counter, deployment))
        reservation = BudgetReservation(f"{self._id}-{next(self._numbers):x}", charges, nusd or 0)
        try:
            result = await self._reserve(reservation)
        except BaseException:
            self._store.settle(reservation, 0)  # a shared store may have reserved it
            raise
        if isinstance(result, Refused):
            self.refused[result.charge.counter.scope] += 1
            raise self._error(result, reservation.nusd)
        self._running.add(reservation)
        if not result.exceeded:
            return reservation, ()
        self.exceeded.update(each.counter.scope for each in result.exceeded)
        return reservation, tuple([_name(each.counter) for each in result.exceeded])

    def settle(self, reservation: BudgetReservation, nusd: int, deployment: Deployment) -> None:
        """End a reservation with the real cost."""
        self._running.discard(reservation)
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

    async def read(self, found: Iterable[BudgetRule]) -> list[BudgetRow]:
        """Return the state of these budgets in their current windows."""
        now = self._clock.time()
        pairs = [(rule, self._windows.at(rule.period, rule.timezone, now)) for rule in found]
        counters = [_counter(rule, window) for rule, window in pairs]
        rows = list(await self._store.read(counters))
        for number, row in enumerate(rows):
            if row is None:
                rule, window = pairs[number]
                await self._seed(BudgetCharge(counters[number], window.end))
                [rows[number]] = await self._store.read([counters[number]])
        return [BudgetRow(rule, window, row or Spending()) for (rule, window), row in zip(pairs, rows, strict=True)]

    def configured(self) -> list[tuple[BudgetRule, Spending]]:
        """Return the budgets of the configuration with what is known of them now, for metrics."""
        policy, now = self._live.snapshot.budgets, self._clock.time()
        found = [rule for each in (policy.rules.values() if policy else ()) for rule in each]
        windows = [self._windows.at(rule.period, rule.timezone, now) for rule in found]
        return [
            (rule, self._store.peek(_counter(rule, window)) or Spending())
            for rule, window in zip(found, windows, strict=True)
        ]

    async def run(self) -> None:
        """Renew the reservations of running attempts."""
        while True:
            await self._clock.sleep(RENEW_SECONDS)
            try:
                await self.renew()
            except Exception:
                _LOG.exception("reservations of budgets could not be renewed")

    async def renew(self) -> None:
        """Renew the reservations of running attempts now."""
        await self._store.renew(list(self._running), LEASE_SECONDS)

    async def _reserve(self, reservation: BudgetReservation) -> Granted | Refused:
        while True:
            result = await self._store.reserve(reservation, LEASE_SECONDS)
            if not isinstance(result, Unseeded):
                return result
            for charge in result.charges:
                await self._seed(charge)

    async def _seed(self, charge: BudgetCharge) -> None:
        """Set what a counter has spent before; concurrent first uses ask the ledger once."""
        if self._ledger is None:
            await self._store.seed(charge, 0)
            return
        counter = charge.counter
        lock = self._seeding.get(counter)
        if lock is None:
            lock = self._seeding[counter] = asyncio.Lock()
        async with lock:
            if (await self._store.read([counter]))[0] is not None:
                return
            end = None if charge.end is None else charge.end * 1_000_000
            nusd = await self._ledger.spent(counter.scope, counter.id, counter.start * 1_000_000, end)
            await self._store.seed(charge, nusd)

    def _merged(self, found: Sequence[BudgetRule]) -> tuple[BudgetCharge, ...]:
        """Return one charge for each counter, with the lowest limit of each sort."""
        now = self._clock.time()
        merged: dict[BudgetCounter, BudgetCharge] = {}
        for rule in found:
            window = self._windows.at(rule.period, rule.timezone, now)
            counter = _counter(rule, window)
            hard, soft = (rule.nusd, None) if rule.hard else (None, rule.nusd)
            if before := merged.get(counter):
                hard, soft = _lower(before.hard, hard), _lower(before.soft, soft)
            merged[counter] = BudgetCharge(counter, window.end, hard, soft)
        return tuple(merged.values())

    def _error(self, refused: Refused, nusd: int) -> BudgetExceeded:
        charge, spending = refused.charge, refused.spending
        counter = charge.counter
        limit = f"The budget `{_name(counter)}` of {_usd(charge.hard or 0)} USD {_PERIODS[counter.period]}"
        if spending.closed:
            why = "is closed, because an attempt cost more than its bound"
        else:
            why = f"does not allow this call, which may cost {_usd(nusd)} USD"
        state = f"{_usd(spending.spent)} USD are spent and {_usd(spending.reserved)} USD are reserved by running calls"
        resets = reset_text(Window(counter.start, charge.end))
        when = f"It resets at {resets}." if resets else "It does not reset."
        error = BudgetExceeded(f"{limit} {why}: {state}. {when}")
        if charge.end is not None:
            error.retry_after = max(1.0, charge.end - self._clock.time())
        return error


def rules(principal: Principal, deployment: Deployment, policy: BudgetPolicy) -> list[BudgetRule]:
    """Return the budgets that an attempt counts in: those of the configuration, and those of the principal."""
    configured = policy.rules
    found = [rule_of(scope, id, budget) for scope, id, budget in principal.budgets]
    if configured:
        owners: tuple[tuple[BudgetScope, str | None], ...] = (
            ("total", ""),
            ("provider", deployment.provider.name),
            ("team", principal.team),
            ("user", principal.user),
            ("key", principal.key_id),
        )
        for scope, id in owners:
            if id is not None and (more := configured.get((scope, id))):
                found += more
    user = principal.user
    if policy.user is not None and user is not None and not any(rule.scope == "user" for rule in found):
        found.append(rule_of("user", user, policy.user))
    return found


def limited(target: Target, call: Call, plan: Plan, charges: Sequence[BudgetCharge]) -> Target:
    """Return the target with a limit of the answer's tokens, if a hard budget needs one and the request has none.

    The limit leaves space for the prompt in the context window, because providers reject requests that exceed it.
    """
    if call.endpoint != "chat" or all(each.hard is None for each in charges):
        return target
    body, deployment = call.body, target.deployment
    if requested_ceiling(body) or requested_ceiling(target.overrides):
        return target
    ceiling, window = output_ceiling(deployment), deployment.context_window
    if window is not None and window - len(call.raw) < ceiling:
        prompt = min(len(call.raw), plan.input_tokens + plan.input_tokens // 4 + _MARGIN)
        ceiling = max(1, min(ceiling, window - prompt))
    name = "max_completion_tokens" if body.get("max_tokens") is None else "max_tokens"
    return replace(target, overrides={**target.overrides, name: ceiling})


def _counter(rule: BudgetRule, window: Window) -> BudgetCounter:
    return BudgetCounter(rule.scope, rule.id, rule.period, window.start)


def _name(counter: BudgetCounter) -> str:
    return f"{counter.scope}/{counter.id}" if counter.id else counter.scope


def _lower(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _usd(nusd: int) -> str:
    """Return dollars for a message: at least cents, and no more digits than needed."""
    text = f"{usd(nusd):.9f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"{whole}.{cents.ljust(2, '0')}"


def _unbounded(counter: BudgetCounter, deployment: Deployment) -> str:
    missing = "price" if deployment.billed_price is None else "max_output"
    hint = "`price` (0 if it is free)" if missing == "price" else "`max_output`, or send `max_completion_tokens`"
    return (
        f"The budget `{_name(counter)}` allows only models whose cost has a bound, and `{deployment.name}` has no "
        f"`{missing}`; configure its {hint}."
    )
