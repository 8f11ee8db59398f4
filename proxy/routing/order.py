"""The order of a tier's models: cheapest, then fastest, then by name; unknown last. A pure sort."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.routing.candidates import Candidate


def cheapest_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Sort by what the call would cost."""
    return sorted(candidates, key=price_then_speed)


def price_then_speed(candidate: Candidate) -> tuple[bool, int, bool, float, str]:
    """The sort key, which no two deployments share."""
    cost, latency = candidate.cost, candidate.latency
    return (cost is None, cost or 0, latency is None, latency or 0.0, candidate.name)
