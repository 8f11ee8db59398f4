"""Boosts: named terms of a score besides success, cost and latency. Each is 0 to 1, times its weight, but for nudges.

specialty    the model declares the task among its `specialties`
nudge        `routing.nudges` of the task, for the model or its provider: added as it is
capability   the share of the wanted capabilities that the model declares
preference   its position among `router.providers`: the first has the whole weight
affinity     its prompt cache holds the conversation, and it is good enough for the new turn
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxy.core.model import EMPTY, Deployment, Tier
from proxy.routing.candidates import Query
from proxy.routing.classify.rules import Profile

_REASONING_TASKS = ("math", "code", "analysis")


@dataclass(frozen=True, slots=True)
class Boosts:
    """What the boosts of one call depend on, besides the candidates."""

    task: str
    nudges: Mapping[str, float] = field(default_factory=lambda: EMPTY)  # by provider or model, for the task
    wanted: frozenset[str] = frozenset()  # capabilities
    preferred: Sequence[str] = ()  # providers or models
    warm: str | None = None  # the model whose prompt cache holds the conversation

    def values(self, deployment: Deployment, weights: Mapping[str, float], *, adequate: bool) -> tuple[float, ...]:
        """Return the terms of one model in that order; `adequate`: it is not below the tier that the prompt needs."""
        declared, wanted = deployment.capabilities, self.wanted
        return (
            weights["specialty"] if self.task in deployment.specialties else 0.0,
            self._nudge(deployment) if self.nudges else 0.0,
            weights["capability"] * len(wanted & declared) / len(wanted) if declared and wanted else 0.0,
            weights["preference"] * self._preference(deployment) if self.preferred else 0.0,
            weights["affinity"] if adequate and self.warm == deployment.name else 0.0,
        )

    def _nudge(self, deployment: Deployment) -> float:
        nudges = self.nudges
        return nudges.get(deployment.name, nudges.get(deployment.provider.name, 0.0))

    def _preference(self, deployment: Deployment) -> float:
        """Return 1 for what the client names first, towards 0 for what it names last."""
        names, count = (deployment.name, deployment.provider.name), len(self.preferred)
        position = next((at for at, name in enumerate(self.preferred) if name in names), count)
        return 1.0 - position / count


def boosts_of(query: Query, profile: Profile, needed: Tier) -> Boosts:
    """Return the boosts of a call."""
    wanted = query.facts.capabilities.union(profile.needs)
    if needed != "low" and profile.task in _REASONING_TASKS:
        wanted |= {"reasoning"}
    return Boosts(
        task=profile.task,
        nudges=query.snapshot.nudges.get(profile.task, EMPTY),
        wanted=wanted,
        preferred=query.options.providers,
        warm=None if query.conditions.warm is None else query.conditions.warm.model,
    )
