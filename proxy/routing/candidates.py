"""The input of a routing decision (`Query`), and the candidates that the steps of routing pass on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from proxy.core.call import Call, RouterOptions
from proxy.core.errors import InvalidRequest
from proxy.core.estimate import Count, estimate_tokens
from proxy.core.model import CAPABILITIES, EMPTY, TASKS, Deployment, Kind
from proxy.core.plan import DeploymentHealth, HealthView, Room, Target, Warm
from proxy.core.principal import UNKNOWN_CALLER, Principal
from proxy.core.snapshot import Snapshot
from proxy.routing.calibrate import Calibration
from proxy.routing.facts import Facts
from proxy.routing.members import Missing, find
from proxy.routing.names import Rule, shown
from proxy.routing.predict import PRIOR, Predictor

RejectionKind = Literal[
    "provider",
    "key",
    "kind",
    "capability",
    "output",
    "context",
    "latency",
    "cost",
    "stand_in",
    "unavailable",
    "capacity",
    "budget",
    "left_out",
    "surplus",
]

HEALTHY = DeploymentHealth()
TERMS = (
    *("quality", "cost", "latency", "tier", "share"),
    *("specialty", "nudge", "capability", "preference", "affinity"),
)
_TIER, _SHARE = TERMS.index("tier"), TERMS.index("share")
MAX_FALLBACKS = 16


@dataclass(frozen=True, slots=True)
class Conditions:
    """What `auto` depends on besides the call, its configuration and the health of deployments."""

    predictor: Predictor = PRIOR
    calibration: Calibration | None = None  # with `routing.cost`
    warm: Warm | None = None  # the model whose prompt cache holds the conversation
    rooms: Mapping[str, Room] = field(default_factory=lambda: EMPTY)  # by provider, where hard budgets apply
    explore: float = 0.0  # the share of calls for which another adequate model may come first
    draw: float = 0.0  # of the call, 0 to 1, for exploration


CALM = Conditions()


@dataclass(frozen=True, slots=True)
class Query:
    """Everything on which a routing decision may depend."""

    snapshot: Snapshot
    facts: Facts
    options: RouterOptions
    health: HealthView
    providers: frozenset[str]  # of the options, as sets
    exclude: frozenset[str]
    require: frozenset[str]
    kind: Kind = "chat"
    principal: Principal = UNKNOWN_CALLER
    conditions: Conditions = CALM

    @property
    def patience(self) -> float:
        """The seconds that the call may wait for capacity."""
        wait = self.options.max_wait_seconds
        return self.snapshot.queue.max_wait if wait is None else wait

    def health_of(self, target: Target) -> DeploymentHealth:
        """Return the health of a target; an unknown target is healthy."""
        return self.health.get(target.deployment.name, HEALTHY)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a deployment cannot serve the call: `kind` is for code, `reason` for people."""

    kind: RejectionKind
    reason: str


class Candidate(NamedTuple):
    """A target under consideration, with its expected cost and latency."""

    target: Target
    cost: int | None = None  # expected nano-dollars
    latency: float | None = None  # seconds, measured if known, else configured
    success: float | None = None  # predicted, 0 to 1; of ranked candidates only
    score: float | None = None
    values: tuple[float, ...] = ()  # of `TERMS`, of ranked candidates
    rejection: Rejection | None = None

    @property
    def is_adequate(self) -> bool:
        """Whether a ranked candidate is neither below the need of the prompt nor outside the target of its cost."""
        return not self.values or not (self.values[_TIER] or self.values[_SHARE])

    @property
    def terms(self) -> dict[str, float]:
        """The terms of the score by name; empty without ranking."""
        return {name: round(value, 4) if value else 0.0 for name, value in zip(TERMS, self.values, strict=False)}

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.target.deployment.name


def read_query(call: Call, health: HealthView, count: Count = estimate_tokens, conditions: Conditions = CALM) -> Query:
    """Return the query of a call. Raises `InvalidRequest` for an option with an unknown name."""
    options, snapshot = call.options, call.snapshot
    if options.task is not None and options.task not in TASKS:
        raise InvalidRequest(
            f"`router.task` must be one of {', '.join(TASKS)}, not {shown(options.task)}.", param="router.task"
        )
    if len(options.fallbacks) > MAX_FALLBACKS:
        raise InvalidRequest(f"`router.fallbacks` takes at most {MAX_FALLBACKS} names.", param="router.fallbacks")
    _check_capabilities(snapshot, options.require)
    return Query(
        snapshot=snapshot,
        kind=call.kind,
        facts=Facts(call.body, count, soft_limit=call.native is not None),
        options=options,
        health=health,
        providers=_known_names(snapshot, options.providers, "router.providers"),
        exclude=_known_names(snapshot, options.exclude, "router.exclude"),
        require=frozenset(options.require),
        principal=call.principal,
        conditions=conditions,
    )


def _check_capabilities(snapshot: Snapshot, required: Iterable[str]) -> None:
    """Raise `InvalidRequest` for unknown capabilities, which every model without declared ones would satisfy."""
    for word in required:
        if word not in CAPABILITIES and not any(
            word in (deployment.capabilities or ()) for deployment in snapshot.deployments.values()
        ):
            known = ", ".join(CAPABILITIES)
            message = f"`router.require` names {shown(word)}, which is none of {known}, and no model declares it."
            raise InvalidRequest(message, param="router.require")


def _known_names(snapshot: Snapshot, names: Iterable[str], param: str) -> frozenset[str]:
    """Return the names of providers or models as a set. Raises `InvalidRequest` for unknown names."""
    distinct = frozenset(names)
    for name in sorted(distinct):
        provider = name.partition("/")[0]
        if provider not in snapshot.providers and provider not in snapshot.left_out:
            raise InvalidRequest(f"`{param}` names {shown(name)}, and there is no such provider.", param=param)
        if name != provider and not _is_model(snapshot, name):
            raise InvalidRequest(f"`{param}` names {shown(name)}, and there is no such model.", param=param)
    return distinct


def _is_model(snapshot: Snapshot, name: str) -> bool:
    """Return whether the configuration contains the model or lets clients name it."""
    return name in snapshot.known or not isinstance(find(snapshot, name), Missing)


def rooms_of(rules: Iterable[Rule], room: Callable[[Deployment], Room | None]) -> dict[str, Room]:
    """Return what is left of hard budgets for the models of `auto`, by provider; `room` is that of one deployment."""
    deployments = {
        target.deployment.provider.name: target.deployment
        for rule in rules
        if rule.form == "auto"
        for target in rule.members.targets
    }
    rooms = {name: room(deployment) for name, deployment in deployments.items()}
    return {name: left for name, left in rooms.items() if left is not None}
