"""The order of candidates: tiers by price, `auto` by score, and equal models of several providers by their last use.

A score adds predicted success, cost and latency with the weights of the mode, and boosts (`boosts.py`). A model whose
predicted success is below that of the needed tier loses a full point per tier, which no mode's weights outweigh; one
above it loses by its price. With `routing.cost`, a model on the wrong side of the threshold loses four points.

Pure functions: the health view supplies the last use of each model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from proxy.core.model import TIERS, Deployment, Mode, Tier
from proxy.routing.boosts import Boosts
from proxy.routing.candidates import Candidate, Query
from proxy.routing.classify.rules import Profile
from proxy.routing.predict import PRIOR, STEP, Predictor, log_odds, sigmoid

_BOOSTS = {"specialty": 0.15, "capability": 0.05, "preference": 0.1, "affinity": 0.7}
WEIGHTS: dict[Mode, dict[str, float]] = {
    "fast": {"quality": 0.2, "cost": 0.15, "latency": 0.65, **_BOOSTS},
    "balanced": {"quality": 0.4, "cost": 0.4, "latency": 0.2, **_BOOSTS},
    "accurate": {"quality": 0.75, "cost": 0.1, "latency": 0.15, **_BOOSTS},
}
_OUTSIDE_SHARE = 4.0  # points, more than all tiers below
_MOST_BELOW = 3.0  # tiers

_COST_SPAN = math.log(10.0)  # prices this far apart use the whole term
_LATENCY_SPAN = math.log(4.0)
_COST_FLOOR = 1_000.0  # nano-dollars; below it prices are the same
_LATENCY_FLOOR = 0.02  # seconds
_UNPRICED: dict[Tier | None, float] = {"low": 0.6, "medium": 0.4, "high": 0.2, None: 0.3}
_UNTIMED = 0.5
_EXACT = 1e-6  # differences of floats
# equal models alternate if their latency is at most that of the fastest, times the ratio, plus the seconds
SLOWER_RATIO = 1.5
SLOWER_SECONDS = 0.1


def cheapest_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Sort by the expected cost of the call."""
    return sorted(candidates, key=price_then_speed)


def price_then_speed(candidate: Candidate) -> tuple[bool, int, bool, float, str]:
    """Return the sort key, which is unique per deployment."""
    cost, latency = candidate.cost, candidate.latency
    return (cost is None, cost or 0, latency is None, latency or 0.0, candidate.name)


def alternate(query: Query, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Order equal models of several providers by their last use, within the positions that they have together."""
    order = list(candidates)
    for positions in _equal_models(candidates):
        by_use = sorted(positions, key=lambda position: (query.health_of(candidates[position].target).used, position))
        for position, source in zip(positions, by_use, strict=True):
            order[position] = candidates[source]
    return order


def equal_to_first(candidates: Sequence[Candidate]) -> int:
    """Return how many models alternate with the first, including itself."""
    return next((len(positions) for positions in _equal_models(candidates) if positions[0] == 0), 1)


def _equal_models(candidates: Sequence[Candidate]) -> list[list[int]]:
    """Return the positions of each group of equal models: same model id and cost, similar latency."""
    groups: dict[tuple[str, int | None], list[int]] = {}
    for position, candidate in enumerate(candidates):
        deployment = candidate.target.deployment
        if deployment.twin:
            groups.setdefault((deployment.model, candidate.cost), []).append(position)
    groups_as_fast = (_as_fast(candidates, positions) for positions in groups.values())
    return [positions for positions in groups_as_fast if len(positions) > 1]


def _as_fast(candidates: Sequence[Candidate], positions: Sequence[int]) -> list[int]:
    """Return the positions of the models that are about as fast as the fastest; unknown latency counts as fast."""
    known = [latency for position in positions if (latency := candidates[position].latency) is not None]
    limit = min(known, default=0.0) * SLOWER_RATIO + SLOWER_SECONDS
    return [position for position in positions if (candidates[position].latency or 0.0) <= limit]


def needed_tier(tier: Tier, mode: Mode) -> Tier:
    """Return the tier for a prompt; the mode `accurate` raises it by one."""
    return TIERS[min(TIERS.index(tier) + 1, len(TIERS) - 1)] if mode == "accurate" else tier


def weights_of(mode: Mode, overrides: Mapping[str, float]) -> dict[str, float]:
    """Return the mode's weights, overridden by those of the configuration."""
    return {name: overrides.get(name, weight) for name, weight in WEIGHTS[mode].items()}


@dataclass(frozen=True, slots=True)
class Criteria:
    """What the scores of one call depend on, besides the candidates."""

    profile: Profile
    needed: Tier
    weights: Mapping[str, float]
    listed: Mapping[str, Tier]  # the tiers of models that declare none
    boosts: Boosts
    predictor: Predictor = PRIOR
    quality: float | None = None  # the least success, instead of that of the needed tier
    outside: frozenset[str] = frozenset()  # models that the target of `routing.cost` excludes for this prompt

    def tier_of(self, deployment: Deployment) -> Tier | None:
        """Return the tier of a model."""
        return deployment.tier or self.listed.get(deployment.name)

    def required(self) -> float:
        """Return the log-odds of the success that the prompt needs."""
        if self.quality is not None:
            return log_odds(self.quality)
        return log_odds(self.predictor.required(self.profile, self.needed))

    def below(self, success: float, required: float) -> float:
        """Return by how many tiers a predicted success is below the required log-odds; half a tier is tolerated.

        A `quality` that the operator has set tolerates nothing.
        """
        missing = (required - log_odds(success)) / STEP
        tiers = math.ceil(missing - _EXACT) if self.quality is not None else math.floor(missing + 0.5)
        return max(0.0, min(_MOST_BELOW, float(tiers)))


def rank(candidates: Sequence[Candidate], criteria: Criteria) -> list[Candidate]:
    """Score all candidates, best first."""
    weights, profile, boosts, outside = criteria.weights, criteria.profile, criteria.boosts, criteria.outside
    by_quality, by_cost, by_latency = weights["quality"], weights["cost"], weights["latency"]
    required = criteria.required()
    enough = sigmoid(required)  # a success that is not below, without its log-odds
    costs = _scale([candidate.cost for candidate in candidates], _COST_FLOOR, _COST_SPAN)
    latencies = _scale([candidate.latency for candidate in candidates], _LATENCY_FLOOR, _LATENCY_SPAN)
    success_of = criteria.predictor.success
    scored = []
    for candidate, cost, latency in zip(candidates, costs, latencies, strict=True):
        deployment = candidate.target.deployment
        tier = deployment.tier or criteria.listed.get(deployment.name)
        success = success_of(profile, deployment, tier)
        below = 0.0 if success >= enough else criteria.below(success, required)
        values = (
            by_quality * success,
            by_cost * (_UNPRICED[tier] if cost is None else cost),
            by_latency * (_UNTIMED if latency is None else latency),
            0.0 - below,  # a full point for each tier
            -_OUTSIDE_SHARE if deployment.name in outside else 0.0,
            *boosts.values(deployment, weights, adequate=not below),
        )
        scored.append(
            Candidate(
                candidate.target,
                cost=candidate.cost,
                latency=candidate.latency,
                success=success,
                score=round(sum(values), 4),
                values=values,
            )
        )
    return sorted(scored, key=lambda candidate: (-(candidate.score or 0.0), price_then_speed(candidate)))


def _scale(values: Sequence[float | None], floor: float, span: float) -> list[float | None]:
    """Return 1 for the least, towards 0 for the most, by ratio; unknown stays unknown."""
    logs = [None if value is None else math.log(max(0.0, value) + floor) for value in values]
    known = [value for value in logs if value is not None]
    if not known:
        return [None for _ in values]
    least, width = min(known), max(max(known) - min(known), span)
    return [None if value is None else 1.0 - (value - least) / width for value in logs]
