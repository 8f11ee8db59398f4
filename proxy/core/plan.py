"""The plan of a call: its targets in order, and the health of the deployments that the order depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec import Struct

from proxy.core.model import EMPTY, Deployment


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment inside a plan, with the parameters that its scenario sets."""

    deployment: Deployment
    overrides: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


class DeploymentHealth(Struct, frozen=True, gc=False):
    """The health of a deployment when the plan is made."""

    available: bool = True
    reason: str = ""  # why it is unavailable
    retry_after: float = 0.0  # seconds until it may be available again
    latency: float | None = None  # seconds, measured over successes
    wait: float = 0.0  # expected seconds until its limits have capacity
    used: int = 0  # number of its last use among all uses of equal models; 0: never


class CostSample(NamedTuple):
    """A decision of `auto` as `routing.cost` counts it."""

    score: float  # of the prompt
    strong: bool  # whether the first target is a strong model
    weak_nusd: int | None = None  # expected cost at the cheapest weak model, and at the cheapest strong one
    strong_nusd: int | None = None
    nusd: int | None = None  # expected cost at the first target


class Warm(NamedTuple):
    """The model whose prompt cache holds a conversation, and the tokens of it."""

    model: str  # the deployment's name
    tokens: int


class Room(NamedTuple):
    """What is left of the hard budgets that the calls of a caller to a provider count in."""

    budget: str  # the name of the one with the least
    nusd: int


HealthView = Mapping[str, DeploymentHealth]  # by deployment name


@dataclass(slots=True)
class Plan:
    """Ordered targets with the rule and the reason. What only some calls need is computed on first use, then kept."""

    route: str  # `tier/low`, `scenario/support`, `openai/gpt-4o`, `auto`, ...
    rule: str  # direct | alias | bare | tier | scenario | auto | mode | default
    reason: str
    targets: tuple[Target, ...]
    decide: Callable[[], Mapping[str, Any]] = field(repr=False, compare=False)  # see `decision`
    count_input: Callable[[], int] = field(repr=False, compare=False, default=lambda: 0)  # see `input_tokens`
    content_fallback: bool = False  # a refusal of content goes to the next target
    features: Callable[[], bytes | None] = field(
        repr=False, compare=False, default=lambda: None
    )  # what the classifier has read from the prompt, in numbers: see `routing/classify/packed.py`
    waited: float = field(compare=False, default=0.0)  # seconds for which the call waited for a classifying model
    sample: CostSample | None = None  # for the calibration of `routing.cost`, if that is set
    propensity: float = 1.0  # the probability with which `auto` chose the first target
    conversation: bytes | None = field(default=None, compare=False)  # of `auto`, to stay with the model of its answers
    family: frozenset[str] = frozenset()  # names of the targets that can use the signatures of an open tool loop
    _decision: Mapping[str, Any] | None = field(init=False, repr=False, compare=False, default=None)
    _input_tokens: int | None = field(init=False, repr=False, compare=False, default=None)

    @property
    def decision(self) -> Mapping[str, Any]:
        """The decision record, as JSON values."""
        if self._decision is None:
            self._decision = self.decide()
        return self._decision

    @property
    def known_input_tokens(self) -> int | None:
        """The estimated tokens of the prompt, if they have been counted."""
        return self._input_tokens

    @property
    def input_tokens(self) -> int:
        """The estimated tokens of the prompt, in one pass over the body."""
        if self._input_tokens is None:
            self._input_tokens = self.count_input()
        return self._input_tokens
