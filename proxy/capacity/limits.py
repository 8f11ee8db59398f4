"""Limits of each provider key for each model: configured ones, and those learned from the provider's headers.

An attempt reserves its request, tokens and concurrency slot together before it is sent, and settles with the tokens
used. A key without limits costs nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from msgspec import Struct

from proxy.capacity.kinds import COOLDOWN, DAY, TOKENS, WINDOWS, LimitKind
from proxy.capacity.learned import LEARNED_FOR, Learned, LearnedLimits
from proxy.capacity.store import Charge, CounterKey, CounterStore, Reservation, Row, Wait
from proxy.core.clock import Clock
from proxy.core.hints import LONGEST
from proxy.core.limit_headers import reported_limits
from proxy.core.model import Deployment, LimitValues, RouteKey
from proxy.core.saved import SavedExhaustion, SavedLimits, route_name, route_named
from proxy.core.snapshot import Live

AMPLE = 20  # times the tokens of a call
MAX_ROUTES = 10_000  # route keys with a cooldown or without capacity; the oldest are dropped
UNLIMITED = LimitValues()


class ConfiguredLimits(Struct):
    """The configured limits of one key for one model, with what every attempt reserves under them."""

    deployment: Deployment  # of the configuration in force
    route: RouteKey
    values: LimitValues
    charges: list[Charge]  # of an attempt of one token
    counts_tokens: bool
    most_tokens: float  # in one attempt


class Limits:
    """Reserves and settles; calls `notify` with route keys that may have capacity again, without any for all."""

    def __init__(
        self, store: CounterStore, clock: Clock, live: Live, notify: Callable[..., None] = lambda *routes: None
    ) -> None:
        self._store = store
        self._clock = clock
        self._live = live  # calls may hold older deployments
        self._notify = notify
        self._configured: dict[tuple[str, str], ConfiguredLimits] = {}  # by deployment and key
        self.on_cooldown: Callable[[RouteKey, float], None] | None = None  # for other replicas; 0 seconds: it ended
        self._learned = LearnedLimits()
        self._cooldowns: OrderedDict[RouteKey, float] = OrderedDict()  # time until which the store is asked
        self._exhausted: OrderedDict[RouteKey, float] = OrderedDict()  # time until which there is no capacity

    def apply_to(self, deployment: Deployment) -> bool:
        """Return whether a key of `deployment` has a configured or learned limit, or a cooldown."""
        if self._live.snapshot.deployments.get(deployment.name, deployment).limited:
            return True
        learned = self._learned.routes
        if not learned and not self._cooldowns:
            return False
        return any(route in learned or route in self._cooldowns for route in deployment.routes)

    async def reserve(self, deployment: Deployment, key_id: str, tokens: int) -> Reservation | Wait | None:
        """Reserve capacity for an attempt of at most `tokens`, or return the wait for it; `None` without limits."""
        charges = self.charges(deployment, key_id, tokens)
        if not charges:
            return None
        route = deployment.route(key_id)
        result = await self._store.reserve(charges)
        if isinstance(result, Wait):
            result = replace(result, seconds=self._known_for(result.seconds, route, charges))
        if not isinstance(result, Wait):
            self._note(route, 0.0)
        elif result.seconds != math.inf:  # infinity says something about this call only
            self._note(route, result.seconds)
        return result

    @property
    def shared(self) -> bool:
        """Whether other processes share the limits; if so, every reservation waits for an answer."""
        return self._store.shared

    def counts_tokens(self, configured: ConfiguredLimits) -> bool:
        """Return whether a limit of the key counts tokens, so that an attempt's tokens have to be known."""
        return configured.counts_tokens or any(kind in TOKENS for kind in self._learned_of(configured.route))

    def has_ample(self, configured: ConfiguredLimits, tokens: int) -> bool:
        """Return whether many times `tokens` fit now, so that a rough number is good enough to reserve."""
        return self._store.fits_at_once(self._charges(configured, AMPLE * tokens))

    def reserve_at_once(self, configured: ConfiguredLimits, tokens: int) -> Reservation | None:
        """Reserve capacity if there is some now and the store needs no round trip; `None` for everything else."""
        charges = self._charges(configured, tokens)
        reservation = self._store.reserve_at_once(charges) if charges else None
        if reservation is not None and self._exhausted:
            self._note(configured.route, 0.0)
        return reservation

    async def wait(self, deployment: Deployment, key_id: str, tokens: int) -> float:
        """Return the wait in seconds that `reserve` would report now; takes nothing."""
        charges = self.charges(deployment, key_id, tokens)
        seconds = await self._store.wait(charges) if charges else 0.0
        return self._known_for(seconds, deployment.route(key_id), charges)

    def settle(self, reservation: Reservation, tokens: int | None) -> None:
        """Settle an attempt with the tokens it used; with `None` (unknown) the reserved amount counts."""
        self._store.settle(reservation, tokens)
        self._ended(reservation)

    def release(self, reservation: Reservation) -> None:
        """Undo a reservation: nothing was sent."""
        self._store.release(reservation)
        self._ended(reservation)

    @property
    def contended(self) -> bool:
        """Return whether any route key was recently out of capacity."""
        return bool(self._exhausted or self._cooldowns)

    def expected(self, deployment: Deployment) -> float:
        """Return the seconds until a key of the deployment may have capacity, as recently observed; 0 if one has."""
        now = self._clock.monotonic()
        times = [max(self._exhausted.get(key, now), self._cooldowns.get(key, now)) for key in deployment.routes]
        return max(0.0, min(times) - now)

    def learn(self, deployment: Deployment, key_id: str, headers: Mapping[str, str], now: float) -> None:
        """Learn limits from an answer's headers (lower-case names); `now` is seconds since the epoch.

        An exhausted limit puts the key into cooldown for this model until one more call fits, at most until the reset.
        """
        limits = reported_limits(headers, now)
        if not limits:
            return
        cooldown, route = 0.0, deployment.route(key_id)
        for unit, limit, reset, seconds in limits:
            if limit:
                configured = self.configured(deployment, key_id).values
                self._learned.learn(route, unit, limit, reset, configured, self._clock.monotonic())
            cooldown = max(cooldown, seconds)
        if cooldown:
            self._cool_down(route, cooldown)

    def configured(self, deployment: Deployment, key_id: str) -> ConfiguredLimits:
        """Return the configured limits: the model's limits per key, each overridden by the key's own."""
        name = deployment.name
        deployment = self._live.snapshot.deployments.get(name, deployment)
        known = self._configured.get((name, key_id))
        if known is None or known.deployment is not deployment:
            if len(self._configured) >= MAX_ROUTES:
                self._configured.clear()
            known = self._configured[name, key_id] = _configured(deployment, key_id)
        return known

    def most_tokens(self, configured: ConfiguredLimits) -> float:
        """Return the maximum of tokens for one attempt by configured and learned limits."""
        if not self._learned.routes:
            return configured.most_tokens
        learned = self._learned_of(configured.route)
        return min([configured.most_tokens, *(learned[kind].limit for kind in TOKENS if kind in learned)])

    def charges(self, deployment: Deployment, key_id: str, tokens: int) -> list[Charge]:
        """Return what one attempt reserves; empty if the key has no limits."""
        return self._charges(self.configured(deployment, key_id), tokens)

    def _charges(self, configured: ConfiguredLimits, tokens: int) -> list[Charge]:
        if not self._learned.routes and not self._cooldowns:
            if not configured.counts_tokens:
                return configured.charges  # the same for every attempt
            return [
                Charge(charge.counter, charge.limit, charge.seconds, tokens, True) if charge.estimated else charge
                for charge in configured.charges
            ]
        values, route = configured.values, configured.route
        learned = self._learned_of(route)
        charges = []
        for kind, seconds in WINDOWS.items():
            limit: int | None = getattr(values, kind)
            reported = learned.get(kind)
            if reported is not None and (limit is None or reported.limit < limit):
                limit = reported.limit
            if limit is not None:
                in_tokens = kind in TOKENS
                amount = tokens if in_tokens else 1
                charges.append(Charge(CounterKey(route, kind), limit, seconds, amount, estimated=in_tokens))
        if self._is_cooling(route) or charges:  # first, because it drops a cooldown that is over
            charges.append(Charge(CounterKey(route, COOLDOWN), 0, 0.0, 0))
        return charges

    def reset(self, provider: str | None = None, model: str | None = None, key_id: str | None = None) -> int:
        """End the matching cooldowns (`None` matches all) and return their number. Counters stay."""
        routes = [route for route in self._cooldowns if route.matches(provider, model, key_id)]
        for route in routes:
            self._end_cooldown(route)
        if routes:
            self._notify()
        return len(routes)

    def forget(self, provider: str, key_id: str) -> None:
        """Drop what was learned of a key that has been replaced. Counters stay."""
        self._learned.forget(provider, key_id)
        for route in [route for route in self._cooldowns if route.matches(provider, None, key_id)]:
            self._end_cooldown(route)
        for route in [route for route in self._exhausted if route.matches(provider, None, key_id)]:
            del self._exhausted[route]
        self._notify()

    def export(self, shift: float) -> SavedLimits:
        """Return learned limits and cooldowns to save, with times later by `shift` seconds."""
        cooldowns = [SavedExhaustion(route_name(route), round(at + shift, 2)) for route, at in self._cooldowns.items()]
        return SavedLimits(self._learned.export(shift), cooldowns)

    def restore(self, saved: SavedLimits, shift: float) -> None:
        """Restore what `export` returned, possibly in another process; newer values learned here stay."""
        now = self._clock.monotonic()
        self._learned.restore(saved.learned[-MAX_ROUTES:], shift, now)
        for row in saved.cooldowns[-MAX_ROUTES:]:
            until = min(row.until - shift, now + LONGEST)
            if until > now:
                self._cool_down(route_named(row.name), until - now)

    async def rows(self, *, unused: bool = False) -> list[dict[str, Any]]:
        """Return a row for every limit in use, for `/admin/limits`; with `unused` for all. `learned`: reported."""
        deployments = self._live.snapshot.deployments
        charges = [charge for deployment in deployments.values() for charge in self._all_charges(deployment)]
        active = {charge.counter: charge for charge in charges}
        any_model = {each.provider.name for each in deployments.values() if each.provider.any_model}
        rows = {}
        for row in await self._store.read():
            route = row.counter.owner
            if row.counter in active:
                rows[row.counter] = replace(row, limit=active[row.counter].limit)
            elif not isinstance(route, RouteKey):
                continue
            elif row.cooldown or not deployments or (route.provider in any_model and not self._is_listed(route)):
                rows[row.counter] = row  # other counters have no limit any more
        if unused:
            for counter, charge in active.items():
                rows.setdefault(counter, Row(counter, 0, charge.limit, charge.seconds, 0.0))
        return [self._row(row) for _, row in sorted(rows.items(), key=_order)]

    def _all_charges(self, deployment: Deployment) -> Iterator[Charge]:
        """Yield a charge for each limit of each of a deployment's keys."""
        for route in deployment.routes:
            yield from (charge for charge in self.charges(deployment, route.key_id, 1) if charge.amount)

    def _is_listed(self, route: RouteKey) -> bool:
        """Return whether the configuration contains the model; clients may name others with `any_model`."""
        return f"{route.provider}/{route.model}" in self._live.snapshot.deployments

    def _ended(self, reservation: Reservation) -> None:
        route = reservation.charges[0].counter.owner
        assert isinstance(route, RouteKey)
        if self._exhausted:
            self._note(route, 0.0)
        self._notify(route)

    def _note(self, route: RouteKey, seconds: float) -> None:
        """Record that a route key has capacity, or will have in `seconds`."""
        self._exhausted.pop(route, None)
        if seconds:
            self._exhausted[route] = self._clock.monotonic() + seconds
            while len(self._exhausted) > MAX_ROUTES:
                self._exhausted.popitem(last=False)

    def _row(self, row: Row) -> dict[str, Any]:
        route, kind = row.counter
        assert isinstance(route, RouteKey)
        learned = self._learned_of(route)
        return {
            "provider": route.provider,
            "model": route.model,
            "key": route.key_id,
            "kind": _shown(kind),
            "limit": row.limit,
            "used": row.used,
            "learned": any(known == kind and value.limit == row.limit for known, value in learned.items()),
            "rest_seconds_left": round(row.cooldown, 3),
        }

    def _known_for(self, seconds: float, route: RouteKey, charges: Iterable[Charge]) -> float:
        """Return `seconds`, limited to the validity of learned limits if no other limit can take that long."""
        learned = {str(kind): value for kind, value in self._learned_of(route).items()}
        kinds = [charge.counter.kind for charge in charges if charge.seconds == DAY]
        if seconds <= LEARNED_FOR or seconds == math.inf or not kinds or not all(kind in learned for kind in kinds):
            return seconds
        if route in self._cooldowns:
            return seconds
        return min(seconds, max(learned[kind].until for kind in kinds) - self._clock.monotonic())

    def _learned_of(self, route: RouteKey) -> Mapping[LimitKind, Learned]:
        return self._learned.of(route, self._clock.monotonic()) if self._learned.routes else {}

    def follow_cooldown(self, route: RouteKey, seconds: float) -> None:
        """Take over a cooldown that another process has started in the shared store, or with 0 seconds its end."""
        if not seconds:
            self._cooldowns.pop(route, None)
            return
        until = self._clock.monotonic() + seconds
        self._cooldowns[route] = max(until, self._cooldowns.pop(route, 0.0))
        while len(self._cooldowns) > MAX_ROUTES:
            self._cooldowns.popitem(last=False)

    def _cool_down(self, route: RouteKey, seconds: float) -> None:
        """Start a cooldown; a longer one stays."""
        self.follow_cooldown(route, seconds)
        self._store.start_cooldown(CounterKey(route, COOLDOWN), seconds)
        if self.on_cooldown:
            self.on_cooldown(route, seconds)

    def _end_cooldown(self, route: RouteKey) -> None:
        del self._cooldowns[route]
        self._store.end_cooldown(CounterKey(route, COOLDOWN))
        if self.on_cooldown:
            self.on_cooldown(route, 0.0)

    def _is_cooling(self, route: RouteKey) -> bool:
        """Return whether a cooldown may still be active."""
        until = self._cooldowns.get(route)
        if until is not None and until <= self._clock.monotonic():
            del self._cooldowns[route]
            return False
        return until is not None


def _configured(deployment: Deployment, key_id: str) -> ConfiguredLimits:
    values, route = _values(deployment, key_id), deployment.route(key_id)
    charges = [
        Charge(CounterKey(route, kind), limit, seconds, 1, estimated=kind in TOKENS)
        for kind, seconds in WINDOWS.items()
        if (limit := getattr(values, kind)) is not None
    ]
    if values is not UNLIMITED:
        charges.append(Charge(CounterKey(route, COOLDOWN), 0, 0.0, 0))
    counts_tokens = any(charge.estimated for charge in charges)
    most_tokens = min(values.tpm or math.inf, values.tpd or math.inf)
    return ConfiguredLimits(deployment, route, values, charges, counts_tokens, most_tokens)


def _values(deployment: Deployment, key_id: str) -> LimitValues:
    model = deployment.limits
    key = next((key.limits for key in deployment.provider.keys if key.id == key_id), None)
    if key is None or model is None:
        return key or model or UNLIMITED
    return LimitValues(**{kind: _first(getattr(key, kind), getattr(model, kind)) for kind in WINDOWS})


def _shown(kind: str) -> str:
    """Return the name of a kind in `/admin/limits`."""
    return "rest" if kind == COOLDOWN else kind


def _order(item: tuple[CounterKey, Row]) -> str:
    """Return the sort key of a row: its name in text."""
    route, kind = item[0]
    assert isinstance(route, RouteKey)
    return f"{route_name(route)}:{_shown(kind)}"


def _first(value: int | None, other: int | None) -> int | None:
    return other if value is None else value
