"""The order of a tier's models: cheapest, then fastest, then by name; unknown last. Equal ones alternate.

Pure functions: the health view supplies the last use of each model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proxy.routing.candidates import Candidate, Case

MUCH_SLOWER = 1.5  # times the latency of the fastest equal model, and
A_MOMENT = 0.1  # this many seconds more: slower models do not alternate


def cheapest_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Sort by the expected cost of the call."""
    return sorted(candidates, key=price_then_speed)


def price_then_speed(candidate: Candidate) -> tuple[bool, int, bool, float, str]:
    """Return the sort key, which is unique per deployment."""
    cost, latency = candidate.cost, candidate.latency
    return (cost is None, cost or 0, latency is None, latency or 0.0, candidate.name)


def spread(case: Case, line: Sequence[Candidate]) -> list[Candidate]:
    """Order equal models of several providers by their last use, within their positions."""
    order = list(line)
    for places in _equal(line):
        turns = sorted(places, key=lambda place: (case.health_of(line[place].target).used, place))
        for place, source in zip(places, turns, strict=True):
            order[place] = line[source]
    return order


def equal_to_first(line: Sequence[Candidate]) -> int:
    """Return how many models alternate with the first, including itself."""
    return next((len(places) for places in _equal(line) if places[0] == 0), 1)


def _equal(line: Sequence[Candidate]) -> list[list[int]]:
    """Return the positions of each group of equal models: same model id and cost, similar latency."""
    groups: dict[tuple[str, int | None], list[int]] = {}
    for place, candidate in enumerate(line):
        deployment = candidate.target.deployment
        if deployment.twin:
            groups.setdefault((deployment.model, candidate.cost), []).append(place)
    return [found for places in groups.values() if len(found := _as_fast(line, places)) > 1]


def _as_fast(line: Sequence[Candidate], places: Sequence[int]) -> list[int]:
    known = [latency for place in places if (latency := line[place].latency) is not None]
    limit = min(known, default=0.0) * MUCH_SLOWER + A_MOMENT
    return [place for place in places if (line[place].latency or 0.0) <= limit]
