"""`auto` and the modes: filter, rank, boost, and keep to the target of `routing.cost`.

`Ranking` says how, for the decision record and for the calibration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from proxy.core.model import TIERS, Mode, Tier
from proxy.core.plan import CostSample
from proxy.routing.boosts import boosts_of
from proxy.routing.candidates import Candidate, Query
from proxy.routing.classify.rules import Profile
from proxy.routing.explore import explore
from proxy.routing.members import listed_tiers
from proxy.routing.rank import Criteria, alternate, needed_tier, rank, weights_of


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the candidates of `auto` were ranked."""

    needed: Tier
    weights: Mapping[str, float]
    strong: frozenset[str] = frozenset()  # the models that `routing.cost` counts as strong
    sample: CostSample | None = None  # with `routing.cost`; `strong` is set when the targets are in order
    propensity: float = 1.0
    explored: bool = False  # exploration put the first model there


def rank_auto(
    query: Query, profile: Profile, mode: Mode, candidates: Sequence[Candidate]
) -> tuple[list[Candidate], Ranking]:
    """Return the candidates, best first, and how they were ranked."""
    snapshot, conditions = query.snapshot, query.conditions
    needed = needed_tier(profile.tier, mode)
    weights = weights_of(mode, snapshot.weights)
    criteria = Criteria(
        profile=profile,
        needed=needed,
        weights=weights,
        listed=listed_tiers(snapshot),
        boosts=boosts_of(query, profile, needed),
        predictor=conditions.predictor,
        quality=snapshot.quality,
    )
    ranking = Ranking(needed, weights)
    if conditions.calibration is not None and candidates:
        criteria, ranking = _within_share(query, criteria, ranking, candidates)
    ranked = rank(candidates, criteria)
    ordered, propensity = explore(query, ranked)
    explored = ordered[:1] != ranked[:1]
    return alternate(query, ordered), replace(ranking, propensity=propensity, explored=explored)


def note_of(query: Query, profile: Profile, mode: Mode, ranking: Ranking, count: int) -> str:
    """Return the reason for the first candidate in a few words."""
    calibration = query.conditions.calibration
    if calibration is not None:
        strong = calibration.needs_strong(profile.score)
        side = f"{'at least' if strong else 'below'} the threshold {calibration.threshold:.3f} of routing.cost"
        best = "drawn by exploration, of" if ranking.explored else "best of"
        return f"{mode} mode, task {profile.task}, score {profile.score:.3f} is {side}: {best} {count}"
    need = f"needs tier {ranking.needed}"
    if query.snapshot.quality is not None:
        need = f"needs a success of {query.snapshot.quality:g}"
    best = "drawn by exploration, of" if ranking.explored else "best score of"
    return f"{mode} mode, task {profile.task}, {need}: {best} {count}"


def _within_share(
    query: Query, criteria: Criteria, ranking: Ranking, candidates: Sequence[Candidate]
) -> tuple[Criteria, Ranking]:
    """Apply the target of `routing.cost`: put the models on the other side of the threshold outside.

    The model whose prompt cache holds the conversation stays inside, if the prompt needs no stronger one.
    """
    calibration, warm = query.conditions.calibration, query.conditions.warm
    assert calibration is not None
    strong = strongest(criteria, candidates)
    weak = [candidate for candidate in candidates if candidate.name not in strong]
    score, needed, outside = criteria.profile.score, ranking.needed, frozenset[str]()
    if calibration.needs_strong(score):
        outside = frozenset(candidate.name for candidate in weak)
    elif weak:
        outside = strong - ({warm.model} if warm is not None else set())
        highest = max(_rank_of(criteria.tier_of(candidate.target.deployment)) for candidate in weak)
        needed = TIERS[min(TIERS.index(needed), max(highest, 0))]
    sample = CostSample(score, False, _cheapest(weak), _cheapest([one for one in candidates if one.name in strong]))
    return replace(criteria, needed=needed, outside=outside), replace(
        ranking, needed=needed, strong=strong, sample=sample
    )


def strongest(criteria: Criteria, candidates: Sequence[Candidate]) -> frozenset[str]:
    """Return the names of the strong models: those of the highest tier; without tiers, those of the best quality."""
    tiers = {each.name: _rank_of(criteria.tier_of(each.target.deployment)) for each in candidates}
    highest = max(tiers.values())
    if highest >= 0:
        return frozenset(name for name, tier in tiers.items() if tier == highest)
    qualities = {each.name: each.target.deployment.quality or 0.0 for each in candidates}
    best = max(qualities.values())
    return frozenset(name for name, quality in qualities.items() if quality == best)


def _rank_of(tier: Tier | None) -> int:
    return -1 if tier is None else TIERS.index(tier)


def _cheapest(candidates: Sequence[Candidate]) -> int | None:
    return min((candidate.cost for candidate in candidates if candidate.cost is not None), default=None)
