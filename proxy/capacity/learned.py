"""Limits that providers reported in the headers of their answers.

Rule 1: no clock in this module. Time is an argument, in monotonic seconds.
Rule 2: a learned limit is kept only if it is lower than the configured one, and expires `LEARNED_FOR` after the last
answer that reported it, because providers raise limits without notice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from proxy.capacity.kinds import LimitKind
from proxy.core.limit_headers import Unit
from proxy.core.model import LimitValues, RouteKey
from proxy.core.saved import SavedLimit, route_name, route_named

LEARNED_FOR = 600.0  # seconds after the last answer that reported the limit
MAX_ROUTES = 10_000  # route keys; the oldest are dropped
OVER_A_MINUTE = 90.0  # seconds; a limit per minute always resets sooner, even if the reset is rounded

_KINDS: dict[Unit, tuple[LimitKind, LimitKind]] = {"requests": ("rpm", "rpd"), "tokens": ("tpm", "tpd")}


class Learned(NamedTuple):
    """A limit that a provider has reported; `until` is in monotonic seconds."""

    limit: int
    until: float


class LearnedLimits:
    """The learned limits of all route keys; `routes` is for reading, and may contain expired ones."""

    def __init__(self) -> None:
        self.routes: OrderedDict[RouteKey, dict[LimitKind, Learned]] = OrderedDict()

    def of(self, route: RouteKey, now: float) -> Mapping[LimitKind, Learned]:
        """Return the limits of a route key that have not expired."""
        limits = self.routes.get(route)
        if not limits:
            return {}
        if any(learned.until <= now for learned in limits.values()):
            limits = {kind: learned for kind, learned in limits.items() if learned.until > now}
            self.routes[route] = limits
            if not limits:
                del self.routes[route]
        return limits

    def learn(self, route: RouteKey, unit: Unit, limit: int, reset: float, configured: LimitValues, now: float) -> None:
        """Learn a limit of `unit`, which is full again after `reset` seconds."""
        limits = dict(self.of(route, now))
        minute, day = _KINDS[unit]
        per_day = reset > OVER_A_MINUTE or (day in limits and limits[day].limit == limit)
        kind, other = (day, minute) if per_day else (minute, day)
        limits.pop(kind, None)
        if other in limits and limits[other].limit == limit:
            del limits[other]  # the same limit, learned earlier with another window
        own = getattr(configured, kind)
        if own is None or limit < own:
            limits[kind] = Learned(limit, now + LEARNED_FOR)
        self.routes.pop(route, None)
        if limits:
            self.routes[route] = limits
        while len(self.routes) > MAX_ROUTES:
            self.routes.popitem(last=False)

    def forget(self, provider: str, key_id: str) -> None:
        """Drop what was learned with one key."""
        for route in [route for route in self.routes if route.matches(provider, None, key_id)]:
            del self.routes[route]

    def export(self, shift: float) -> list[SavedLimit]:
        """Return the limits to save, with times later by `shift` seconds."""
        return [
            SavedLimit(route_name(route), kind, learned.limit, round(learned.until + shift, 2))
            for route, limits in self.routes.items()
            for kind, learned in limits.items()
        ]

    def restore(self, saved: Iterable[SavedLimit], shift: float, now: float) -> None:
        """Restore what `export` returned; routes that are known keep their limits."""
        restored: dict[RouteKey, dict[LimitKind, Learned]] = {}
        for row in saved:
            route, until = route_named(row.name), min(row.until - shift, now + LEARNED_FOR)
            if until > now:
                restored.setdefault(route, {})[row.kind] = Learned(row.limit, until)
        for route, limits in restored.items():
            self.routes.setdefault(route, limits)
