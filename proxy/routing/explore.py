"""Exploration: now and then another adequate model comes first, so that its success becomes known.

The draw is a hash of the call's id, so that a plan can be computed again. The propensity, the probability with which
the first model was chosen, belongs to the decision record: learning from the outcomes needs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from proxy.routing.candidates import Candidate, Query

_RANGE = 1 << 64


def draw_of(call_id: str) -> float:
    """Return the number from 0 to 1 that belongs to a call."""
    return int.from_bytes(hashlib.blake2b(call_id.encode("utf-8", "replace"), digest_size=8).digest(), "big") / _RANGE


def explore(query: Query, ranked: Sequence[Candidate]) -> tuple[list[Candidate], float]:
    """Return the candidates, in a share of the draws with a random adequate one first, and the first's propensity.

    Candidates that are below the need of the prompt, or unavailable now, are not explored.
    """
    share, draw = query.conditions.explore, query.conditions.draw
    if share <= 0.0:
        return list(ranked), 1.0
    available = [candidate for candidate in ranked if query.health_of(candidate.target).available]
    adequate = [candidate for candidate in available if candidate.is_adequate]
    if len(adequate) < 2 or adequate[0] is not available[0]:
        return list(ranked), 1.0
    each, best = share / len(adequate), available[0]
    chosen = adequate[min(int(draw / each), len(adequate) - 1)] if draw < share else best
    rest = [candidate for candidate in ranked if candidate is not chosen]
    return [chosen, *rest], round(each + (1.0 - share if chosen is best else 0.0), 6)
