"""Replays recorded calls, in the order of their times, and says what would have become of each.

A call keeps its tokens: those that its answer had at the model that gave it. Targets that did not answer then do not
answer in the replay. Limits and budgets count what the replay sends where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from proxy.capacity.budget_store import BudgetCounter
from proxy.core.errors import ProxyError
from proxy.core.model import Deployment
from proxy.core.money import cost_nusd
from proxy.core.plan import Plan
from proxy.core.principal import UNKNOWN_CALLER, Principal
from proxy.core.snapshot import Snapshot
from proxy.replay.budgets import Spending
from proxy.replay.decide import Decider, NotClassified, PredictorOf, prior_of
from proxy.replay.limits import Limits
from proxy.replay.recorded import Recorded
from proxy.routing.members import listed_tiers

_US = 1_000_000
# codes of calls that no target answered, although nothing but the call and the configuration decided about them
_BY_NEEDS = ("no_candidate_available", "context_length_exceeded")
_DECIDED = ("model_not_found", *_BY_NEEDS)
LIMITS, BUDGET, FAILED = "limits", "budget", "no other target"


@dataclass(frozen=True, slots=True)
class Served:
    """A target that answers a call, with what the answer costs and is expected to be like; `None`: unknown."""

    model: str  # the deployment's name
    cost_nusd: int | None = None
    latency_ms: float | None = None
    success: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call before, as it was recorded, and after, as it is replayed."""

    id: str
    time: int
    route: str
    before: Served | None  # `None`: no target answered
    after: Served | None
    skipped: str | None = None  # why the call cannot be replayed
    refusal: str | None = None  # why no target answers: `limits`, `budget`, or the code of the client's error
    wait_ms: float = 0.0  # in the queue, for capacity
    moved: bool = False


class Replay:
    """Replays calls under one configuration. Use one instance for all calls, the earliest first."""

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        predictor_of: PredictorOf = prior_of,
        spent: Mapping[BudgetCounter, int] | None = None,
    ) -> None:
        """`predictor_of`: what was learned when a call was decided.

        `spent`: what was spent before the first call, in the budgets' windows that contain its time.
        """
        self._snapshot = snapshot
        self._predictor_of = predictor_of
        self._decider = Decider(snapshot, predictor_of)
        self._limits = Limits()
        self._spending = Spending(snapshot.budgets, spent)
        self._limited = [each for each in snapshot.deployments.values() if each.limited]
        self._tiers = listed_tiers(snapshot)
        self._latencies: dict[str, float] = {}  # ms, the newest that a record has, by deployment

    def replay(self, call: Recorded, principal: Principal = UNKNOWN_CALLER) -> Outcome:
        """Return what becomes of a call; `principal` is its caller."""
        row = call.row
        if call.profile is not None:
            call = replace(call, profile=self._predictor_of(call).revise(call.profile))
        before = None if call.served is None else self._before(call, call.served)
        if before is None and row.code not in _DECIDED:
            return self._outcome(call, None, skipped=f"no target answered it: {row.code or row.outcome}")
        if before is None and row.code in _BY_NEEDS and not call.decision:
            return self._outcome(
                call, None, skipped=f"no model could serve it, and its needs are not recorded: {row.code}"
            )
        tokens = call.input_tokens + (0 if call.usage is None else call.usage.output)
        now = row.time / _US
        waits = {each.name: self._limits.wait(each, now, tokens) for each in self._limited}
        try:
            plan = self._decider.plan(
                call,
                principal,
                {name: wait for name, wait in waits.items() if wait > 0},
                lambda deployment: self._spending.room(principal, deployment, now),
            )
        except NotClassified:
            return self._outcome(call, before, skipped="its prompt was not classified")
        except ProxyError as error:
            return self._outcome(call, before, refusal=error.error_code or type(error).__name__)
        return self._sent(call, principal, before, plan, waits, now, tokens)

    def _sent(
        self,
        call: Recorded,
        principal: Principal,
        before: Served | None,
        plan: Plan,
        waits: Mapping[str, float],
        now: float,
        tokens: int,
    ) -> Outcome:
        """Choose the target that answers, as the attempts would: in order, with capacity, within the budgets."""
        patience = call.options.max_wait_seconds
        refusal, best, least = FAILED, None, self._snapshot.queue.max_wait if patience is None else patience
        for target in plan.targets:
            deployment = target.deployment
            if deployment.name in call.failed:
                continue
            if self._spending.refusing(principal, deployment, now, self._cost(call, deployment) or 0) is not None:
                refusal = BUDGET if refusal == FAILED else refusal
                continue
            wait = waits.get(deployment.name, 0.0)
            if wait > least or (best is not None and wait >= least):
                refusal = LIMITS
                continue
            best, least = deployment, wait
            if wait <= 0:
                break
        if best is None:
            return self._outcome(call, before, route=plan.route, refusal=refusal)
        after = self._after(call, best)
        seconds = call.row.ms / 1000
        self._limits.take(best, now + least, tokens, seconds)
        self._spending.add(principal, best, now, after.cost_nusd or 0)
        return self._outcome(call, before, after=after, route=plan.route, wait_ms=round(least * 1000, 1))

    def _outcome(self, call: Recorded, before: Served | None, route: str | None = None, **fields: Any) -> Outcome:
        after = fields.get("after")
        moved = before is not None and after is not None and not self._is_equal(before.model, after.model)
        route = route or call.row.route or str(call.model)
        return Outcome(call.row.id, call.row.time, route, before, **{"after": None, "moved": moved, **fields})

    def _is_equal(self, before: str, after: str) -> bool:
        """Return whether both are the same model, maybe of another provider with which it alternates."""
        if before == after:
            return True
        one, other = self._snapshot.deployments.get(before), self._snapshot.deployments.get(after)
        return one is not None and other is not None and one.twin and other.twin and one.model == other.model

    def _before(self, call: Recorded, name: str) -> Served:
        """Return the target that answered, with what is known of it under the new configuration or in the record."""
        deployment = self._snapshot.deployments.get(name)
        row = call.candidate(name)
        known = row.get("predicted_success") if deployment is None else self._success(call, deployment)
        return Served(name, call.row.cost_nusd, self._latency(call, name, deployment), known)

    def _after(self, call: Recorded, deployment: Deployment) -> Served:
        name = deployment.name
        return Served(
            name, self._cost(call, deployment), self._latency(call, name, deployment), self._success(call, deployment)
        )

    def _cost(self, call: Recorded, deployment: Deployment) -> int | None:
        if call.usage is None or deployment.billed_price is None:
            return None
        return cost_nusd(call.usage, deployment.billed_price, call.row.time)

    def _latency(self, call: Recorded, name: str, deployment: Deployment | None) -> float | None:
        """Return the latency that was known of a deployment when the call was decided, else the newest one before."""
        found = call.candidate(name).get("latency_ms")
        if found is not None:
            self._latencies[name] = float(found)
        elif name not in self._latencies and deployment is not None and deployment.latency is not None:
            return deployment.latency * 1000
        return self._latencies.get(name)

    def _success(self, call: Recorded, deployment: Deployment) -> float | None:
        if call.profile is None:
            return None
        tier = deployment.tier or self._tiers.get(deployment.name)
        return self._predictor_of(call).success(call.profile, deployment, tier)
