"""A compiled configuration: immutable, and replaced as a whole by a reload. `Live` holds the one in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.core.agents import Agents
from proxy.core.auth import AuthPolicy
from proxy.core.budgets import BudgetPolicy
from proxy.core.failures import RULES, FailureClass, FailureRule
from proxy.core.learning import LearningRules
from proxy.core.model import EMPTY, Deployment, Mode, Provider, Tier
from proxy.core.policies import (
    BreakerPolicy,
    CostTarget,
    DeadlinePolicy,
    HedgePolicy,
    LlmClassifierPolicy,
    ProbePolicy,
    QueuePolicy,
    RetryPolicy,
    SlowPolicy,
)


@dataclass(frozen=True, slots=True)
class ScenarioEntry:
    """One line of a scenario: a model reference, already in priority order."""

    model: str  # a deployment's name
    overrides: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A compiled configuration. A call keeps the one with which it began."""

    version: str  # a digest of the configuration without secrets
    providers: Mapping[str, Provider]
    deployments: Mapping[str, Deployment]  # by name, in the file's order; the usable ones only
    left_out: Mapping[str, str]  # provider name -> reason why it is left out
    known: frozenset[str]  # every deployment name in the file, also of providers left out
    aliases: Mapping[str, str]
    tiers: Mapping[Tier, tuple[str, ...] | None]  # None: derived from the deployments' `tier`
    scenarios: Mapping[str, tuple[ScenarioEntry, ...]]
    default_route: str | None
    mode: Mode
    weights: Mapping[str, float]
    breaker: BreakerPolicy
    retry: RetryPolicy
    deadline: DeadlinePolicy
    classifier: Literal["rules", "model"] = "rules"
    llm_classifier: LlmClassifierPolicy | None = None  # the model that is asked first
    quality: float | None = None  # the least predicted success of the model that `auto` chooses
    cost: CostTarget | None = None  # the share of `auto` that strong models get; `None`: as prompts need
    nudges: Mapping[str, Mapping[str, float]] = field(
        default_factory=lambda: EMPTY
    )  # task -> provider or model -> term of its score
    thinking: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # a tier's `reasoning_effort`
    queue: QueuePolicy = QueuePolicy()
    failures: Mapping[FailureClass, FailureRule] = field(default_factory=lambda: RULES)
    slow: SlowPolicy = SlowPolicy()
    hedge: HedgePolicy = HedgePolicy()
    probes: ProbePolicy = ProbePolicy()
    mid_stream: Literal["terminate", "continue"] = "terminate"
    content_fallback: frozenset[str] = frozenset()  # scenarios in which a refusal of content goes to the next target
    catalogue: Mapping[str, Mapping[str, Deployment]] = field(
        default_factory=lambda: EMPTY
    )  # provider name -> model id -> what is known of it; for the models that `any_model` allows
    max_in_flight: int = 10_000  # calls of this process at the same time
    access_log: bool = True
    keep_records: float | None = None  # seconds for which the store keeps calls and attempts; `None`: for ever
    keep_dialogs: float | None = None  # the same of responses and conversations
    learning: LearningRules | None = None  # `None`: off
    store_prompts: bool = False  # those that are classified, with their profiles
    request_log: Literal["none", "jsonl", "csv"] = "none"
    daily_log: bool = False
    testing: bool = False  # failures may be simulated
    auth: AuthPolicy = field(default=AuthPolicy(), repr=False)
    budgets: BudgetPolicy | None = None  # `None`: there is none
    agents: Agents = field(default_factory=lambda: EMPTY, repr=False)  # of the file and of the store


class Live:
    """The configuration in force. A reload replaces `snapshot`, so read it each time, where it is used."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.error: str | None = None  # why the newest configuration file was rejected
