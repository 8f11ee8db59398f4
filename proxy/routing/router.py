"""The router: the entry point of this package. `Router.route` turns a call into a plan.

A call to one model without routing options is a look-up in a table that is compiled once per snapshot. Other calls go
through three steps: resolve the names, classify the prompt (which may await), plan.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from proxy.core.call import NO_OPTIONS, Call
from proxy.core.dialects import DialectName
from proxy.core.estimate import Count, estimate_input, estimate_tokens
from proxy.core.model import EMPTY, Deployment
from proxy.core.plan import DeploymentHealth, HealthView, Plan, Room, Warm
from proxy.core.snapshot import Snapshot
from proxy.core.work import LARGE
from proxy.routing.agents import check_agent
from proxy.routing.calibrate import EVEN_SCORES, RULE_SCORES, Calibrator
from proxy.routing.candidates import HEALTHY, Conditions, Query, read_query, rooms_of
from proxy.routing.classify.rules import RULES, Classifier, Profile
from proxy.routing.conversation import continues, conversation_key
from proxy.routing.explore import draw_of
from proxy.routing.names import Rule, resolve, route_table
from proxy.routing.permitted import permitted_rule
from proxy.routing.plan import header_text, needs_profile, plan, plan_routes, resolve_names, with_task
from proxy.routing.predict import PRIOR, Predictor

T = TypeVar("T")


class OffLoop(Protocol):
    """Runs `work` on a body of `size` bytes, in a thread if the body is large."""

    def __call__(self, work: Callable[[], T], size: int) -> Awaitable[T]: ...


class HealthSource(Protocol):
    """Knows the health of deployments."""

    def health_of(self, deployment: Deployment) -> DeploymentHealth | None:
        """Return the health of one deployment; `None` if nothing is known of it."""
        ...

    def view(self, snapshot: Snapshot) -> HealthView:
        """Return the health of a snapshot's deployments; values that have been read once stay the same."""
        ...


class Unmeasured:
    """Nothing is known of the health of any deployment."""

    def health_of(self, deployment: Deployment) -> DeploymentHealth | None:
        """Return `None`."""
        return None

    def view(self, snapshot: Snapshot) -> HealthView:
        """Return an empty view."""
        return {}


class LlmClassifier(Protocol):
    """Asks a model for the profiles of prompts (`proxy/classifier.py`)."""

    async def classify(self, call: Call, local: Profile, *, ask: bool = True) -> Profile:
        """Return the profile by the model, or `local`, which this process has made, if the model gives none.

        With `ask=False` the model is not called: a remembered profile counts, or `local`.
        """
        ...


async def _in_place(work: Callable[[], T], size: int) -> T:
    """Run `work` in the event loop, whatever the size of the body."""
    return work()


class Router:
    """Plans calls; one instance serves all of them."""

    def __init__(
        self,
        health: HealthSource,
        *,
        classifier: Classifier | None = None,
        count: Count = estimate_tokens,
        off_loop: OffLoop = _in_place,
        family_in_memory: Callable[[Call], DialectName | None] = lambda call: None,
        warm: Callable[[bytes], Warm | None] = lambda conversation: None,
        room: Callable[[Call, Deployment], Room | None] = lambda call, deployment: None,
    ) -> None:
        """`family_in_memory`: the family that signed the open tool loop of a client that returns no signatures.

        `warm`: the model whose prompt cache holds a conversation. `room`: what is left of hard budgets.
        """
        self._health = health
        self._classifier = classifier  # `None`: that of the configuration
        self._count = count
        self._off_loop = off_loop
        self._family_in_memory = family_in_memory
        self._warm = warm
        self._room = room
        self.predictor: Predictor = PRIOR  # a service replaces it as a whole when it has learned a better one
        self.llm: LlmClassifier | None = None  # for configurations with `Snapshot.llm_classifier`
        self.note: Callable[[Call, Profile], None] | None = None  # takes what is stored of profiles
        self.calibration = Calibrator()
        self.explore: Callable[[Call], float] = lambda call: 0.0  # the share of exploration that a call allows
        self._snapshot: Snapshot | None = None  # the one of `_table`
        self._table: dict[str, Rule] = {}

    async def route(self, call: Call, *, ask: bool = True) -> Plan:
        """Return the plan of a call. Raises `ProxyError` if no target can serve it.

        With `ask=False` no model is called for the profile of the prompt.
        """
        if call.snapshot is not self._snapshot:
            self._table, self._snapshot = route_table(call.snapshot), call.snapshot
        rule = self._table.get(call.model)
        if rule is None and call.agent is not None:
            rule = self._of_agent(call)
        size = len(call.raw)
        if rule is not None and rule.form == "single" and size <= LARGE and call.options is NO_OPTIONS:
            if call.principal.models:
                permitted_rule(replace(rule, asked=call.model), call.principal)
            return _plan_direct(call, rule, self._health.health_of(rule.members.targets[0].deployment), self._count)
        if call.family is None and call.kind == "chat" and size <= LARGE:
            family = self._family_in_memory(call)
            call = call if family is None else replace(call, family=family)
        query = read_query(call, self._health.view(call.snapshot), self._count)
        rules = resolve_names(call, self._table)
        if not needs_profile(rules):
            return await self._off_loop(partial(_planned, call, query, rules, None), size)
        profile = await self._classify(call, ask=ask)
        conversation = conversation_key(call)
        conditions = self._conditions(call, rules, profile, conversation)
        plan = await self._off_loop(
            partial(_planned, call, replace(query, conditions=conditions), rules, profile), size
        )
        plan.conversation, plan.waited = conversation, profile.waited
        if plan.sample is not None:
            self.calibration.note(plan.sample)
        return plan

    def _conditions(
        self, call: Call, rules: Sequence[Rule], profile: Profile, conversation: bytes | None
    ) -> Conditions:
        """Return what `auto` depends on besides the call, as it is now."""
        snapshot, target = call.snapshot, call.snapshot.cost
        calibration = None
        if target is not None:
            kind = snapshot.classifier if snapshot.llm_classifier is None else "llm"
            calibration = self.calibration.current(target, kind, shipped_scores(profile.classifier))
        share = self.explore(call)
        return Conditions(
            predictor=self.predictor,
            calibration=calibration,
            warm=self._warm(conversation) if conversation is not None and continues(call) else None,
            rooms=rooms_of(rules, partial(self._room, call))
            if snapshot.budgets is not None or call.principal.budgets
            else EMPTY,
            explore=share,
            draw=draw_of(call.id) if share > 0.0 else 0.0,
        )

    def _of_agent(self, call: Call) -> Rule | None:
        """Resolve the agent of a call once per snapshot; `None` where `resolve_names` has to do it."""
        if call.agent is None or call.agent.own_model or call.principal.models:
            return None
        rule = self._table[call.model] = resolve(call.snapshot, call.model)
        return rule

    async def _classify(self, call: Call, *, ask: bool) -> Profile:
        """Classify the prompt of a call; where the configuration names a model for this, by asking it."""
        classifier = self._classifier or _classifier_of(call.snapshot)
        profile = with_task(await self._off_loop(lambda: classifier.classify(call), len(call.raw)), call)
        if call.snapshot.llm_classifier is not None:
            asked = self.llm.classify(call, profile, ask=ask) if self.llm is not None else None
            profile = replace(profile, fallback="no model is asked here") if asked is None else await asked
        if self.note is not None:
            self.note(call, profile)
        return self.predictor.revise(profile)


def _plan_direct(call: Call, rule: Rule, health: DeploymentHealth | None, count: Count) -> Plan:
    """Return the same plan as `plan` does, for a call to one model without routing options, without reading the body.

    `health` is that of the model.
    """
    if rule.agent or call.agent is not None:
        check_agent(call, rule)
    targets, available = rule.members.targets, health is None or health.available
    return Plan(
        route=rule.route,
        rule=rule.rule,
        reason=header_text(rule.note if available else f"{rule.note}; no target is available now"),
        targets=targets,
        decide=lambda: plan(call, {targets[0].deployment.name: health or HEALTHY}, count=count).decision,
        count_input=lambda: estimate_input(call.body, count),
    )


def _planned(call: Call, query: Query, rules: Sequence[Rule], profile: Profile | None) -> Plan:
    """Plan a call; the tokens of a large body are counted here, so that the event loop never does."""
    planned = plan_routes(call, query, rules, profile)
    if len(call.raw) > LARGE:
        planned.count_input()
    return planned


def shipped_scores(classifier: str) -> Sequence[float]:
    """Return evenly spaced quantiles of the scores of a classifier, from the data that it was tuned on."""
    if classifier.startswith("model "):
        from proxy.routing.classify.trained import load

        return load().quantiles
    return RULE_SCORES if classifier == "rules" else EVEN_SCORES


def _classifier_of(snapshot: Snapshot) -> Classifier:
    """Return the classifier of a configuration; the trained one is imported when it is first used."""
    if snapshot.classifier == "rules":
        return RULES
    from proxy.routing.classify.trained import TRAINED

    return TRAINED
