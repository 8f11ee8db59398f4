"""What a background probe may be useful for: cooldowns of keys, and breakers that are not closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from proxy.core.policies import BreakerPolicy
from proxy.upstream.breakers import Breakers
from proxy.upstream.cooldowns import Cooldowns


class ProbeCandidate(NamedTuple):
    """A cooldown, or a breaker that is not closed. A `model` of `None` means all models."""

    provider: str
    key_id: str
    model: str | None
    cooldown: bool  # else a breaker
    reason: str  # a `FailureKind`, `slow`, or empty if unknown
    until: float
    length: float  # the whole time in seconds


def probe_candidates(
    breakers: Breakers, cooldowns: Cooldowns, policy_for: Callable[[str], BreakerPolicy], now: float
) -> list[ProbeCandidate]:
    """Return active cooldowns, and breakers that are not closed; `policy_for` returns the policy for a reason."""
    candidates = [
        ProbeCandidate(*key, True, cooldown.reason, cooldown.until, cooldown.seconds)
        for key, cooldown in cooldowns.entries.items()
        if cooldown.until > now
    ]
    for (provider, model, key_id), breaker in breakers.not_closed():
        reason, length = breaker.reason, breaker.open_seconds(policy_for(breaker.reason))
        candidates.append(ProbeCandidate(provider, key_id, model, False, reason, breaker.open_until, length))
    return candidates
