"""A recorded call as replay needs it: the row of the ledger, and what its decision record says, without any text.

The decision record of a call has the requirements of its body, its options, its profile, and the health of the
candidates at that time. That of a call to one named model has less, because nothing was weighed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from proxy.core.call import RouterOptions
from proxy.core.decisions import read_decision
from proxy.core.dialects import DialectName
from proxy.core.ledger import CallRow
from proxy.core.model import EMPTY, MODES, TIERS, Kind
from proxy.core.plan import DeploymentHealth, Warm
from proxy.core.policies import CostTarget
from proxy.core.usage import Usage
from proxy.routing.calibrate import Calibration
from proxy.routing.classify.packed import unpack
from proxy.routing.classify.rules import CUTS, Profile, tier_of
from proxy.routing.classify.trained import HIGH, MEDIUM
from proxy.surfaces.openai.endpoints import PASSED

_UNAVAILABLE = "not available now: "  # how the reason of an unavailable candidate begins: see `routing/record.py`
_KINDS: Mapping[str, Kind] = {endpoint.name: endpoint.kind for endpoint in PASSED}
Candidate = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded call."""

    row: CallRow
    decision: Mapping[str, Any]  # empty if the call was not routed
    served: str | None  # the deployment that answered, by name
    failed: frozenset[str]  # the targets that came before it and did not answer
    usage: Usage | None
    profile: Profile | None  # by the classifier, without what was learned

    @property
    def kind(self) -> Kind:
        """The kind of model that can serve the call."""
        return _KINDS.get(self.row.endpoint, "chat")

    @property
    def constraints(self) -> Mapping[str, Any]:
        """The requirements of the body and the options of the call."""
        return self.decision.get("constraints") or EMPTY

    @property
    def candidates(self) -> Sequence[Candidate]:
        """What was considered: the targets in order, then the rejected ones."""
        return self.decision.get("candidates") or ()

    @property
    def model(self) -> str | None:
        """The requested model."""
        return self.decision.get("model") or self.row.model

    @property
    def ranking(self) -> Mapping[str, Any]:
        """What the scores of `auto` depended on."""
        return self.decision.get("ranking") or EMPTY

    @property
    def input_tokens(self) -> int:
        """The tokens of the prompt: as they were estimated, else as the provider counted them."""
        estimated = self.constraints.get("input_tokens")
        return estimated if isinstance(estimated, int) else self.row.input_tokens or 0

    @property
    def family(self) -> DialectName | None:
        """The family of models whose signatures an open tool loop carried."""
        affinity = self.decision.get("affinity")
        return cast("DialectName | None", affinity.get("family")) if isinstance(affinity, Mapping) else None

    @property
    def options(self) -> RouterOptions:
        """The client's options."""
        constraints = self.constraints
        mode = constraints.get("requested_mode")
        return RouterOptions(
            mode=mode if mode in MODES else None,
            max_cost_usd=constraints.get("max_cost_usd"),
            max_latency_ms=constraints.get("max_latency_ms"),
            max_wait_seconds=constraints.get("max_wait_seconds"),
            require=tuple(constraints.get("require") or ()),
            providers=tuple(constraints.get("providers") or ()),
            exclude=tuple(constraints.get("exclude") or ()),
            key_id=constraints.get("key_id"),
            client_id=constraints.get("client_id"),
            task=constraints.get("task"),
            fallbacks=tuple(constraints.get("fallbacks") or ()),
        )

    @property
    def warm(self) -> Warm | None:
        """The model whose prompt cache held the conversation."""
        warm = self.ranking.get("warm")
        return Warm(str(warm["model"]), int(warm["cached_tokens"])) if warm else None

    def calibration(self, target: CostTarget) -> Calibration | None:
        """Return the calibration in force then, if it was for the same target."""
        state = self.ranking.get("calibration")
        if not state or (state.get("target"), state.get("of")) != (target.share, target.of):
            return None
        return Calibration(
            target, state["threshold"], state.get("inclusive", True), state["version"], state.get("realised")
        )

    def candidate(self, name: str | None) -> Candidate:
        """Return what the record says of a deployment; empty if nothing."""
        return next((each for each in self.candidates if name_of(each) == name), EMPTY)

    def health(self) -> dict[str, DeploymentHealth]:
        """Return the health of the candidates when the call was decided, by name."""
        return {name_of(each): _health(each) for each in self.candidates}


def recorded(row: CallRow) -> Recorded:
    """Return the call of a row of the ledger. A decision record that cannot be read is as none."""
    try:
        decision = {} if row.decision is None else read_decision(row.decision)
    except ValueError:
        decision = {}
    targets = [each for each in decision.get("candidates") or () if each.get("status") != "rejected"]
    served = _served(row, targets)
    names = [name_of(each) for each in targets]
    return Recorded(
        row=row,
        decision=decision,
        served=served,
        failed=frozenset(names[: names.index(served)]) if served in names else frozenset(),
        usage=_usage(row),
        profile=_profile(row, decision.get("profile")),
    )


def name_of(candidate: Candidate) -> str:
    """Return the name of a candidate's deployment."""
    return f"{candidate.get('provider')}/{candidate.get('model')}"


def _served(row: CallRow, targets: Sequence[Candidate]) -> str | None:
    """Return the deployment that answered. A row has the labels of metrics, which may hide a model's id."""
    if row.provider is None:
        return None
    name = f"{row.provider}/{row.upstream_model}"
    if any(name_of(each) == name for each in targets):
        return name
    same = [name_of(each) for each in targets if each.get("model") == row.upstream_model]
    return same[0] if same else name


def _usage(row: CallRow) -> Usage | None:
    if row.input_tokens is None:
        return None
    return Usage(
        input=row.input_tokens,
        output=row.output_tokens or 0,
        cached=min(row.cached_tokens, row.input_tokens),
        reasoning=row.reasoning_tokens,
    )


def _health(candidate: Candidate) -> DeploymentHealth:
    latency, wait = candidate.get("latency_ms"), candidate.get("estimated_wait_ms") or 0
    reason = str(candidate.get("reason") or "")
    available = bool(candidate.get("available", not reason.startswith(_UNAVAILABLE)))
    return DeploymentHealth(
        available=available,
        reason="" if available else reason.removeprefix(_UNAVAILABLE),
        retry_after=0.0 if available else wait / 1000,
        latency=latency / 1000 if latency is not None and candidate.get("measured", True) else None,
    )


def _profile(row: CallRow, profile: Mapping[str, Any] | None) -> Profile | None:
    if profile is None or profile.get("tier") not in TIERS:
        return None
    classifier = str(profile.get("classifier", "rules"))
    try:
        inputs, hashed = ((), ()) if row.features is None else unpack(row.features)
    except ValueError:  # of another release
        inputs, hashed = (), ()
    cuts = CUTS if classifier == "rules" else (MEDIUM, HIGH)
    score, tier = float(profile.get("score") or 0.0), profile["tier"]
    if (before := profile.get("before_learning")) is not None:
        score, tier = float(before), tier_of(float(before), cuts)
    return Profile(
        task=str(profile.get("task")),
        tier=tier,
        score=score,
        features=tuple((str(each["name"]), float(each["weight"])) for each in profile.get("features") or ()),
        confidence=float(profile.get("confidence") or 0.0),
        classifier=classifier,
        needs=tuple(profile.get("needs") or ()),
        cuts=cuts,
        inputs=inputs,
        hashed=hashed,
    )
