"""Decides recorded calls again, under another configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from proxy.core.call import Call
from proxy.core.model import EMPTY, Deployment
from proxy.core.plan import DeploymentHealth, Plan, Room
from proxy.core.principal import UNKNOWN_CALLER, Principal
from proxy.core.snapshot import Snapshot
from proxy.replay.recorded import Recorded
from proxy.routing.calibrate import Calibration, Calibrator
from proxy.routing.candidates import Conditions, read_query, rooms_of
from proxy.routing.classify.rules import Profile
from proxy.routing.explore import draw_of
from proxy.routing.facts import Facts
from proxy.routing.names import route_table
from proxy.routing.plan import needs_profile, plan_routes, resolve_names
from proxy.routing.predict import PRIOR, Predictor
from proxy.routing.router import shipped_scores

PredictorOf = Callable[[Recorded], Predictor]


class RecordedFacts(Facts):
    """The requirements of a body as its decision record has them."""

    def __init__(self, call: Recorded) -> None:
        super().__init__(EMPTY)
        constraints = call.constraints
        self.__dict__.update(
            input_tokens=call.input_tokens,
            max_tokens=constraints.get("max_tokens"),
            capabilities=frozenset(constraints.get("capabilities") or ()),
        )
        self._choices = int(constraints.get("choices") or 1)

    @property
    def choices(self) -> int:
        """The number of answers."""
        return self._choices

    @property
    def sets_effort(self) -> bool:
        """Unknown: it changes no target."""
        return False


class NotClassified(Exception):
    """The call was not classified, and under the new configuration its route depends on the prompt."""


def prior_of(call: Recorded) -> Predictor:
    """Return the prior predictor, for every call."""
    return PRIOR


class Decider:
    """Plans recorded calls under one configuration."""

    def __init__(self, snapshot: Snapshot, predictor_of: PredictorOf = prior_of) -> None:
        self.snapshot = snapshot
        self._predictor_of = predictor_of
        self._calibrator = Calibrator()
        self._table = dict(route_table(snapshot))

    def plan(
        self,
        recorded: Recorded,
        principal: Principal = UNKNOWN_CALLER,
        waits: Mapping[str, float] = EMPTY,
        room: Callable[[Deployment], Room | None] = lambda deployment: None,
    ) -> Plan:
        """Return the plan of a call. Raises `ProxyError` if no target can serve it, or `NotClassified`.

        What was learned has revised the profile of the call already.
        `waits`: the seconds until the limits of deployments have capacity, by name. `room`: what is left of the hard
        budgets that a deployment's calls count in.
        """
        call = _call(recorded, self.snapshot, principal)
        query = replace(read_query(call, _health(recorded, waits)), facts=RecordedFacts(recorded))
        rules = resolve_names(call, self._table)
        if not needs_profile(rules):
            return plan_routes(call, query, rules, None)
        if recorded.profile is None:
            raise NotClassified
        conditions = Conditions(
            predictor=self._predictor_of(recorded),
            calibration=self._calibration(recorded, recorded.profile),
            warm=recorded.warm,
            rooms=rooms_of(rules, room),
            explore=self.snapshot.learning.explore if self.snapshot.learning is not None else 0.0,
            draw=draw_of(call.id),
        )
        plan = plan_routes(call, replace(query, conditions=conditions), rules, recorded.profile)
        if plan.sample is not None:
            self._calibrator.note(plan.sample)
        return plan

    def _calibration(self, recorded: Recorded, profile: Profile) -> Calibration | None:
        """Return the calibration of `routing.cost`: that of the record for the same target, else one of the replay."""
        target = self.snapshot.cost
        if target is None:
            return None
        own = self._calibrator.current(target, profile.classifier, shipped_scores(profile.classifier))
        return recorded.calibration(target) or own


def _call(recorded: Recorded, snapshot: Snapshot, principal: Principal) -> Call:
    row = recorded.row
    return Call(
        id=row.id,
        request_id=row.request_id,
        endpoint=row.endpoint,
        raw=b"",
        body=EMPTY,
        model=recorded.model or "",
        stream=row.stream,
        usage_asked=False,
        options=recorded.options,
        headers=EMPTY,
        snapshot=snapshot,
        kind=recorded.kind,
        principal=principal,
        family=recorded.family,
    )


def _health(recorded: Recorded, waits: Mapping[str, float]) -> dict[str, DeploymentHealth]:
    """Return the health at the time of the call, with the waits of the replay."""
    health = recorded.health()
    for name, wait in waits.items():
        before = health.get(name, DeploymentHealth())
        health[name] = DeploymentHealth(before.available, before.reason, before.retry_after, before.latency, wait)
    return health
