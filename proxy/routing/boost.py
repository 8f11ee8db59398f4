"""The score bonus for models whose specialty is the prompt's task."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.routing.candidates import Candidate
from proxy.routing.rank import best_first, rescored


def boost(candidates: Sequence[Candidate], task: str, weight: float) -> list[Candidate]:
    """Add the bonus to every specialist's score and sort again."""
    return best_first(
        rescored(each, {**each.terms, "specialty": weight if task in each.target.deployment.specialties else 0.0})
        for each in candidates
    )
