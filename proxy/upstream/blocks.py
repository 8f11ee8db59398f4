"""Why a deployment is unavailable, and when it may be available again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from proxy.core.model import RouteKey
from proxy.core.policies import BreakerPolicy
from proxy.upstream.breakers import Breakers
from proxy.upstream.cooldowns import Cooldown, Cooldowns
from proxy.upstream.lease import SLOW

_CAUSES = {"rate_limited": "the provider's rate limit", "key_rejected": "the provider rejected the key"}


@dataclass(frozen=True, slots=True)
class Block:
    """The reason why a deployment is unavailable; `rate_limited`, `key_rejected`: all its keys are in cooldown."""

    reason: str
    retry_after: float
    message: str
    slow: bool = False  # the breaker is open because of slow answers


def block_of(
    routes: Iterable[RouteKey], breakers: Breakers, cooldowns: Cooldowns, policy: BreakerPolicy, now: float
) -> Block | None:
    """Return why none of the route keys can be used, or `None` if one can."""
    active: list[Cooldown] = []
    waits, slow = [], False
    for route in routes:
        if cooldown := cooldowns.of(route, now):
            active.append(cooldown)
            continue
        breaker = breakers.failed.get(route)
        if breaker is None or breaker.ready(policy, now):
            return None
        waits.append(max(0.0, breaker.open_until - now))
        slow |= breaker.reason == SLOW
    if waits:
        return Block("circuit_open", min(waits), "its circuit breaker is open", slow)
    if not active:
        return Block("no_key", 0.0, "it has no such key")
    soonest = min(active, key=lambda cooldown: cooldown.until)
    cause = _CAUSES.get(soonest.reason, "they failed")
    return Block(soonest.reason.value, soonest.until - now, f"all its keys are in cooldown: {cause}")
