"""The values passed between the steps of routing: the case of one call, and its candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from proxy.core.call import RouterOptions
from proxy.core.model import EMPTY, Kind
from proxy.core.plan import DeploymentHealth, HealthView, Target
from proxy.core.snapshot import Snapshot
from proxy.routing.facts import Facts

RejectionKind = Literal[
    "provider", "key", "kind", "capability", "output", "context", "latency", "cost", "stand_in", "left_out", "surplus"
]

HEALTHY = DeploymentHealth()


@dataclass(frozen=True, slots=True)
class Case:
    """The input of a routing decision: everything that it may depend on."""

    snapshot: Snapshot
    facts: Facts
    options: RouterOptions
    health: HealthView
    providers: frozenset[str]  # of the options, as sets
    exclude: frozenset[str]
    require: frozenset[str]
    kind: Kind = "chat"

    def health_of(self, target: Target) -> DeploymentHealth:
        """Return the health of a target; an unknown target is healthy."""
        return self.health.get(target.deployment.name, HEALTHY)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a deployment cannot serve the call: `kind` is for code, `reason` for people."""

    kind: RejectionKind
    reason: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target under consideration, with its expected cost and latency."""

    target: Target
    cost: int | None = None  # expected nano-dollars
    latency: float | None = None  # seconds, measured if known, else configured
    score: float | None = None
    terms: Mapping[str, float] = field(default_factory=lambda: EMPTY)
    rejection: Rejection | None = None

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.target.deployment.name
