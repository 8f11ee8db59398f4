"""The circuit breakers by route key.

No clock in this module; times are arguments, in monotonic seconds. State is kept by name, so it survives a reload. Only
breakers with a failure are listed and saved; those of healthy routes are kept for the next call, and may be dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from proxy.core.breaker import Breaker
from proxy.core.model import RouteKey
from proxy.core.policies import BreakerPolicy
from proxy.core.saved import SavedBreaker

MAX_REASON = 64  # characters
MAX_BREAKERS = 10_000  # `any_model` lets clients name models; the least recently changed are dropped


class Breakers:
    """All breakers: `failed` have counted a failure, `healthy` have not."""

    def __init__(self) -> None:
        self.failed: OrderedDict[RouteKey, Breaker] = OrderedDict()
        self.healthy: dict[RouteKey, Breaker] = {}

    def get(self, route: RouteKey) -> Breaker:
        """Return the breaker of a route key, creating it if necessary."""
        breaker = self.healthy.get(route) or self.failed.get(route)
        if breaker is None:
            if len(self.healthy) >= MAX_BREAKERS:
                self.healthy.clear()
            breaker = self.healthy[route] = Breaker()
        return breaker

    def ready(self, route: RouteKey, policy: BreakerPolicy, now: float) -> bool:
        """Return whether the breaker would admit an attempt now."""
        breaker = self.failed.get(route)
        return breaker is None or breaker.ready(policy, now)

    def list_failed(self, route: RouteKey, breaker: Breaker) -> Breaker:
        """List `breaker`, which is about to change, unless another one is listed; return the listed one."""
        self.healthy.pop(route, None)
        listed = self.failed.setdefault(route, breaker)
        self.failed.move_to_end(route)
        while len(self.failed) > MAX_BREAKERS:
            self.failed.popitem(last=False)
        return listed

    def unlist_new(self, route: RouteKey, breaker: Breaker) -> None:
        """Move a breaker without any state worth keeping back to the healthy ones."""
        if breaker.is_new:
            self.healthy[route] = self.failed.pop(route)

    def follow(self, route: RouteKey, seconds: float, openings: int, reason: str, now: float) -> None:
        """Take over what another process has found of a breaker: open for `seconds`, or with 0 closed."""
        breaker = self.list_failed(route, self.get(route))
        if breaker.follow(seconds, openings, now):
            breaker.reason = reason[:MAX_REASON]
        self.unlist_new(route, breaker)

    def reset(self, provider: str | None, model: str | None, key_id: str | None) -> list[RouteKey]:
        """Close matching breakers (`None` matches all); return the route keys of those with a failure.

        The outcomes of attempts that are running no longer count.
        """
        for route in [route for route in self.healthy if route.matches(provider, model, key_id)]:
            self.healthy.pop(route).reset()
        routes = [route for route in self.failed if route.matches(provider, model, key_id)]
        for route in routes:
            self.failed.pop(route).reset()
        return routes

    def not_closed(self) -> Iterator[tuple[RouteKey, Breaker]]:
        """Yield the breakers that are open or half-open."""
        return ((route, breaker) for route, breaker in self.failed.items() if breaker.state != "closed")

    def rows(self, policy: BreakerPolicy, now: float) -> list[dict[str, Any]]:
        """Return a row for every breaker with a failure, for `/admin/breakers` and metrics."""
        rows = []
        for route, breaker in self.failed.items():
            state = "half-open" if breaker.state == "open" and now >= breaker.open_until else breaker.state
            rows.append(
                {
                    "provider": route.provider,
                    "model": route.model,
                    "key": route.key_id,
                    "state": state,
                    "failures": breaker.failures(policy, now),
                    "reason": breaker.reason,
                    "openings": breaker.openings,
                    "open_seconds_left": round(max(0.0, breaker.open_until - now), 3) if state == "open" else 0.0,
                }
            )
        return rows

    def export(self, shift: float) -> list[SavedBreaker]:
        """Return the breakers to save, with times later by `shift` seconds."""
        return [breaker.export(route, shift) for route, breaker in self.failed.items()]

    def restore(
        self, saved: Iterable[SavedBreaker], shift: float, policy_for: Callable[[str], BreakerPolicy], now: float
    ) -> None:
        """Restore what `export` returned; `policy_for` returns the policy for a reason. Listed breakers stay."""
        for row in saved:
            breaker = Breaker.restored(row, shift, policy_for(row.reason), now)
            self.list_failed(RouteKey(row.provider, row.model, row.key), breaker)
