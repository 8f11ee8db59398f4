"""The plan of a call: its targets in order, and the health of the deployments that the order depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.model import EMPTY, Deployment


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment inside a plan, with the parameters that its scenario sets."""

    deployment: Deployment
    overrides: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class DeploymentHealth:
    """The health of a deployment when the plan is made."""

    available: bool = True
    reason: str = ""  # why it is unavailable
    retry_after: float = 0.0  # seconds until it may be available again
    latency: float | None = None  # seconds, measured over successes
    wait: float = 0.0  # expected seconds until its limits have capacity
    used: int = 0  # number of its last use among all uses of equal models; 0: never


HealthView = Mapping[str, DeploymentHealth]  # by deployment name


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered targets with the rule and the reason; `decision` is the decision record, as JSON values."""

    route: str  # `tier/low`, `scenario/support`, `openai/gpt-4o`, `auto`, ...
    rule: str  # direct | alias | bare | tier | scenario | auto | mode | default
    reason: str
    targets: tuple[Target, ...]
    decision: Mapping[str, Any] = field(repr=False)
    input_tokens: int = 0  # as estimated
    content_fallback: bool = False  # a refusal of content goes to the next target
