"""Limits of each provider key for each model: configured ones, and those learned from the provider's headers.

An attempt reserves its request, tokens and concurrency slot together before it is sent, and settles with the tokens
used. A key without limits costs nothing. Learned limits expire, because providers raise limits without notice.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from proxy.core.clock import Clock
from proxy.core.hints import LONGEST
from proxy.core.limit_headers import reported_limits
from proxy.core.model import KEYLESS, Deployment, LimitValues, way
from proxy.core.saved import saved_amount, saved_seconds, saved_text
from proxy.stores.base import CounterStore, Receipt, Row, Ticket, Wait

LEARNED_FOR = 600.0  # seconds after the last answer that reported the limit
MOST_LEARNED = 10_000  # keys of models; the oldest are dropped
MINUTE, DAY = 60.0, 86_400.0
LONGER_THAN_A_MINUTE = 90.0  # seconds; a limit per minute always resets sooner, even if the reset is rounded
SCOPE = "upstream:"  # prefix of the counters' names

WINDOWS: dict[str, float] = {"rpm": MINUTE, "rpd": DAY, "tpm": MINUTE, "tpd": DAY, "concurrency": 0.0}
TOKENS = ("tpm", "tpd")
NONE = LimitValues()
UNLIMITED = Receipt("", ())

_NAMES = {"requests": ("rpm", "rpd"), "tokens": ("tpm", "tpd")}


@dataclass(frozen=True, slots=True)
class Learned:
    """A limit that a provider has reported."""

    limit: int
    until: float


class Limits:
    """Reserves and settles; calls `freed` with route keys when they may have capacity, without any for all."""

    def __init__(self, store: CounterStore, clock: Clock, freed: Callable[..., None] = lambda *ways: None) -> None:
        self._store = store
        self._clock = clock
        self._freed = freed
        self.deployments: Mapping[str, Deployment] = {}  # active ones, by name; calls may hold older ones
        self._learned: OrderedDict[str, dict[str, Learned]] = OrderedDict()  # by route key and limit
        self._rests: OrderedDict[str, float] = OrderedDict()  # route key -> time until which the store is checked
        self._short: OrderedDict[str, float] = OrderedDict()  # route key -> time until which it has no capacity
        self._forgotten: set[str] = set()  # route keys whose cooldowns the store has yet to end

    def apply_to(self, deployment: Deployment) -> bool:
        """Return whether a key of `deployment` has a configured or learned limit, or a cooldown."""
        if self.deployments.get(deployment.name, deployment).limited:
            return True
        if not self._learned and not self._rests:
            return False
        names = [_name(deployment, route.key_id) for route in deployment.routes]
        return any(name in self._learned or name in self._rests for name in names)

    async def reserve(self, deployment: Deployment, key_id: str, tokens: int) -> Receipt | Wait:
        """Reserve capacity for an attempt of at most `tokens`, or return the wait for it."""
        tickets = self.tickets(deployment, key_id, tokens)
        if not tickets:
            return UNLIMITED
        self._wake_forgotten()
        taken = await self._store.take(tickets)
        if isinstance(taken, Wait):
            taken = replace(taken, seconds=self._known_for(taken.seconds, _name(deployment, key_id), tickets))
        self._note(_name(deployment, key_id), taken.seconds if isinstance(taken, Wait) else 0.0)
        return taken

    async def wait(self, deployment: Deployment, key_id: str, tokens: int) -> float:
        """Return the wait in seconds that `reserve` would report now; takes nothing."""
        tickets = self.tickets(deployment, key_id, tokens)
        self._wake_forgotten()
        seconds = await self._store.wait(tickets) if tickets else 0.0
        return self._known_for(seconds, _name(deployment, key_id), tickets)

    def settle(self, receipt: Receipt, usage_tokens: int | None) -> None:
        """Settle an attempt with the tokens it used; with `None` (unknown) the reserved amount counts."""
        if not receipt.tickets:
            return
        if usage_tokens is not None:
            for ticket in receipt.tickets:
                if ticket.name.endswith(TOKENS):
                    self._store.correct(receipt, ticket.name, usage_tokens)
        self._given_back(receipt, unused=False)

    def release(self, receipt: Receipt) -> None:
        """Undo a reservation: nothing was sent."""
        if receipt.tickets:
            self._given_back(receipt, unused=True)

    @property
    def contended(self) -> bool:
        """Return whether any route key was recently out of capacity."""
        return bool(self._short or self._rests)

    def expected(self, deployment: Deployment) -> float:
        """Return the seconds until a key of the deployment may have capacity, as recently observed; 0 if one has."""
        now = self._clock.monotonic()
        keys = [key.id for key in deployment.provider.keys] or [KEYLESS]
        names = [_name(deployment, key) for key in keys]
        return max(0.0, min(max(self._short.get(name, now), self._rests.get(name, now)) for name in names) - now)

    def learn(self, deployment: Deployment, key_id: str, headers: Mapping[str, str], now: float) -> None:
        """Learn limits from an answer's headers (lower-case names); `now` is seconds since the epoch.

        An exhausted limit puts the key into cooldown for this model until one more call fits, at most until the reset.
        """
        cooldown = 0.0
        for unit, limit, reset, seconds in reported_limits(headers, now):
            if limit:
                self._learn(deployment, key_id, unit, limit, reset)
            cooldown = max(cooldown, seconds)
        if cooldown:
            self._wake_forgotten()
            name = _name(deployment, key_id)
            self._rests[name] = max(self._clock.monotonic() + cooldown, self._rests.pop(name, 0.0))
            while len(self._rests) > MOST_LEARNED:
                self._rests.popitem(last=False)
            self._store.rest_until(name + ":rest", cooldown)

    def values(self, deployment: Deployment, key_id: str) -> LimitValues:
        """Return the configured limits: the model's limits per key, each overridden by the key's own."""
        deployment = self.deployments.get(deployment.name, deployment)
        model = deployment.limits
        key = next((each.limits for each in deployment.provider.keys if each.id == key_id), None)
        if key is None or model is None:
            return key or model or NONE
        return LimitValues(**{what: _first(getattr(key, what), getattr(model, what)) for what in WINDOWS})

    def most_tokens(self, deployment: Deployment, key_id: str) -> float:
        """Return the maximum of tokens for one attempt by configured and learned limits."""
        values, learned = self.values(deployment, key_id), self._known(_name(deployment, key_id))
        told = [learned[what].limit for what in TOKENS if what in learned]
        return min([values.tpm or math.inf, values.tpd or math.inf, *told])

    def tickets(self, deployment: Deployment, key_id: str, tokens: int) -> list[Ticket]:
        """Return the tickets of one attempt; empty if the key has no limits."""
        values = self.values(deployment, key_id)
        if values is NONE and not self._learned and not self._rests:
            return []
        name = _name(deployment, key_id)
        learned = self._known(name)
        tickets = []
        for what, seconds in WINDOWS.items():
            limit: int | None = getattr(values, what)
            told = learned.get(what)
            if told is not None and (limit is None or told.limit < limit):
                limit = told.limit
            if limit is not None:
                counts_tokens = what in TOKENS
                tickets.append(Ticket(f"{name}:{what}", limit, seconds, tokens if counts_tokens else 1, counts_tokens))
        if tickets or self._rests_still(name):
            tickets.append(Ticket(name + ":rest", 0, 0.0, 0))
        return tickets

    def reset(self, provider: str | None = None, model: str | None = None, key_id: str | None = None) -> int:
        """End the matching cooldowns (`None` matches all) and return their number. Counters stay."""
        names = [name for name in self._rests if _matches(name, provider, model, key_id)]
        for name in names:
            del self._rests[name]
            self._store.wake(name + ":rest")
        if names:
            self._freed()
        return len(names)

    def forget(self, provider: str, key_id: str) -> None:
        """Drop what was learned of a key that has been replaced. Counters stay."""
        for found in (self._learned, self._rests, self._short):
            for name in [name for name in found if _matches(name, provider, None, key_id)]:
                del found[name]
                self._forgotten.add(name)
        self._freed()

    def export(self, shift: float, *, longer_than: float = 0.0) -> dict[str, Any]:
        """Return learned limits and counters as JSON values, with times shifted by `shift` seconds.

        Windows of at most `longer_than` seconds are left out.
        """
        return {
            "learned": [
                {"name": name, "kind": what, "limit": learned.limit, "until": round(learned.until + shift, 2)}
                for name, found in self._learned.items()
                for what, learned in found.items()
            ],
            "rests": [{"name": name, "until": round(until + shift, 2)} for name, until in self._rests.items()],
            "counts": self._store.export(SCOPE, shift, longer_than=longer_than),
        }

    async def restore(self, values: Mapping[str, Any], shift: float) -> None:
        """Restore what `export` returned, possibly in another process; newer values learned here stay.

        Raises `ValueError`, `TypeError` or `KeyError`, and changes nothing, if `export` cannot have returned it.
        """
        now = self._clock.monotonic()
        learned: dict[str, dict[str, Learned]] = {}
        for row in values["learned"][-MOST_LEARNED:]:
            until = min(saved_seconds(row["until"]) - shift, now + LEARNED_FOR)
            if row["kind"] not in WINDOWS or not (limit := saved_amount(row["limit"])):
                raise ValueError("a learned limit has a kind, and is not 0")
            name = _saved_name(row["name"])
            if until > now:
                learned.setdefault(name, {})[row["kind"]] = Learned(limit, until)
        rests = {
            _saved_name(row["name"]): min(saved_seconds(row["until"]) - shift, now + LONGEST)
            for row in values["rests"][-MOST_LEARNED:]
        }
        counts = values.get("counts", [])  # older files have none
        for row in counts:
            _check_counted(row)
        self._store.restore(counts, shift)
        for name, found in learned.items():
            self._learned.setdefault(name, found)
        for name, until in rests.items():
            if until > now:
                self._rests[name] = max(until, self._rests.get(name, 0.0))
                self._store.rest_until(name + ":rest", until - now)

    async def rows(self, *, unused: bool = False) -> list[dict[str, Any]]:
        """Return a row for every limit in use, for `/admin/limits`; with `unused` for all. `learned`: reported."""
        self._wake_forgotten()
        force = {ticket.name: ticket for each in self.deployments.values() for ticket in self._all_tickets(each)}
        open_to_all = {each.provider.name for each in self.deployments.values() if each.provider.any_model}
        rows = {}
        for row in await self._store.read(SCOPE):
            if row.name in force:
                rows[row.name] = replace(row, limit=force[row.name].limit)
            elif row.rests or not self.deployments or self._unlisted(row.name, open_to_all):
                rows[row.name] = row  # other counters have no limit any more
        if unused:
            for name, ticket in force.items():
                rows.setdefault(name, Row(name, 0, ticket.limit, ticket.seconds, 0.0))
        return [self._row(rows[name]) for name in sorted(rows)]

    def _all_tickets(self, deployment: Deployment) -> Iterable[Ticket]:
        """Return the limits of each of a deployment's keys."""
        for key_id in [key.id for key in deployment.provider.keys] or [KEYLESS]:
            yield from (ticket for ticket in self.tickets(deployment, key_id, 1) if ticket.amount)

    def _unlisted(self, name: str, open_to_all: Collection[str]) -> bool:
        """Return whether a counter belongs to a model that is not in the configuration."""
        deployment = name.removeprefix(SCOPE).rsplit(":", 2)[0]
        return deployment not in self.deployments and deployment.partition("/")[0] in open_to_all

    def _wake_forgotten(self) -> None:
        while self._forgotten:
            self._store.wake(self._forgotten.pop() + ":rest")

    def _given_back(self, receipt: Receipt, *, unused: bool) -> None:
        self._store.give_back(receipt, unused=unused)
        name = receipt.tickets[0].name.rpartition(":")[0]
        self._note(name, 0.0)
        deployment, _, key_id = name.removeprefix(SCOPE).rpartition(":")
        self._freed(way(deployment, key_id))

    def _note(self, name: str, seconds: float) -> None:
        """Record that a route key has capacity, or will have in `seconds`."""
        self._short.pop(name, None)
        if seconds:
            self._short[name] = self._clock.monotonic() + seconds
            while len(self._short) > MOST_LEARNED:
                self._short.popitem(last=False)

    def _row(self, row: Row) -> dict[str, Any]:
        where, key_id, what = row.name.removeprefix(SCOPE).rsplit(":", 2)
        provider, _, model = where.partition("/")
        told = self._known(f"{SCOPE}{where}:{key_id}").get(what)
        return {
            "provider": provider,
            "model": model,
            "key": key_id,
            "kind": what,
            "limit": row.limit,
            "used": row.used,
            "learned": told is not None and told.limit == row.limit,
            "rest_seconds_left": round(row.rests, 3),
        }

    def _known_for(self, seconds: float, name: str, tickets: Iterable[Ticket]) -> float:
        """Return `seconds`, limited to the validity of learned limits if no other limit can take that long."""
        learned = self._known(name)
        told = [each.name.rpartition(":")[2] for each in tickets if each.seconds == DAY]
        if seconds <= LEARNED_FOR or seconds == math.inf or not told or not all(kind in learned for kind in told):
            return seconds
        if name in self._rests:
            return seconds
        return min(seconds, max(learned[kind].until for kind in told) - self._clock.monotonic())

    def _rests_still(self, name: str) -> bool:
        """Return whether a cooldown may still be active."""
        until = self._rests.get(name)
        if until is not None and until <= self._clock.monotonic():
            del self._rests[name]
            return False
        return until is not None

    def _known(self, name: str) -> dict[str, Learned]:
        """Return the learned limits of a route key that have not expired."""
        found = self._learned.get(name)
        if not found:
            return {}
        now = self._clock.monotonic()
        if any(learned.until <= now for learned in found.values()):
            found = {what: learned for what, learned in found.items() if learned.until > now}
            self._learned[name] = found
            if not found:
                del self._learned[name]
        return found

    def _learn(self, deployment: Deployment, key_id: str, what: str, limit: int, reset: float) -> None:
        """Keep a limit that is lower than the configured one, and drop one that the provider has raised."""
        name = _name(deployment, key_id)
        known = dict(self._known(name))
        minute, day = _NAMES[what]
        of_a_day = reset > LONGER_THAN_A_MINUTE or (day in known and known[day].limit == limit)
        here, other = (day, minute) if of_a_day else (minute, day)
        known.pop(here, None)
        if other in known and known[other].limit == limit:
            del known[other]  # the same limit, learned earlier with another window
        configured = getattr(self.values(deployment, key_id), here)
        if configured is None or limit < configured:
            known[here] = Learned(limit, self._clock.monotonic() + LEARNED_FOR)
        self._learned.pop(name, None)
        if known:
            self._learned[name] = known
        while len(self._learned) > MOST_LEARNED:
            self._learned.popitem(last=False)


def limited_key(name: str) -> tuple[str, str]:
    """Return (provider, key id) of a route key."""
    where, _, key_id = name.removeprefix(SCOPE).rpartition(":")
    return where.partition("/")[0], key_id


def _name(deployment: Deployment, key_id: str) -> str:
    return f"{SCOPE}{deployment.provider.name}/{deployment.model}:{key_id}"


def _matches(name: str, provider: str | None, model: str | None, key_id: str | None) -> bool:
    where, _, key = name.removeprefix(SCOPE).rpartition(":")
    own_provider, _, own_model = where.partition("/")
    wanted = ((provider, own_provider), (model, own_model), (key_id, key))
    return all(want is None or want == have for want, have in wanted)


def _saved_name(value: Any) -> str:
    name = saved_text(value, 1000)
    where, colon, key_id = name.removeprefix(SCOPE).rpartition(":")
    if not name.startswith(SCOPE) or not colon or not key_id or "/" not in where:
        raise ValueError("a name of ours begins otherwise")
    return name


def _check_counted(row: Mapping[str, Any]) -> None:
    name, _, kind = saved_text(row["name"], 1000).rpartition(":")
    if WINDOWS.get(kind) != row["seconds"]:
        raise ValueError("a window of ours has another length")
    _saved_name(name)


def _first(value: int | None, other: int | None) -> int | None:
    return other if value is None else value
