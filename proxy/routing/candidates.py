"""The values that the steps of routing hand on: one call as the router weighs it, and its candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from proxy.core.types import EMPTY, DeploymentHealth, HealthView, Kind, RouterOptions, Snapshot, Target
from proxy.routing.facts import Facts

RejectionKind = Literal[
    "provider", "key", "kind", "capability", "output", "context", "latency", "cost", "stand_in", "left_out", "surplus"
]

HEALTHY = DeploymentHealth()


@dataclass(frozen=True, slots=True)
class Case:
    """One call as the router weighs it: everything that a decision may depend on."""

    snapshot: Snapshot
    facts: Facts
    options: RouterOptions
    health: HealthView
    providers: frozenset[str]  # of the options, as sets
    exclude: frozenset[str]
    require: frozenset[str]
    kind: Kind = "chat"

    def health_of(self, target: Target) -> DeploymentHealth:
        """The health of a target; one that nothing is known of is well."""
        return self.health.get(target.deployment.name, HEALTHY)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a deployment may not take the call; `kind` is what decides, `reason` what people read."""

    kind: RejectionKind
    reason: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target under consideration, with what it would cost and how fast it would be."""

    target: Target
    cost: int | None = None  # nano-dollars, as expected
    latency: float | None = None  # seconds, measured or else configured
    score: float | None = None
    terms: Mapping[str, float] = field(default_factory=lambda: EMPTY)
    rejection: Rejection | None = None

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.target.deployment.name
