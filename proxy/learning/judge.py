"""The service of `learning.judge` and `learning.shadow`: a model judges a share of the answers of `auto`.

A call gives its answer to a bounded queue when it has ended; its client never waits. Of some calls, another model of
their plans answers the same request (a shadow call), and both answers are judged. The internal calls have callers and
budgets of their own. Nothing but the scores is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import BudgetExceeded, ProxyError
from proxy.core.learning import JudgePolicy, LearningRules, ShadowPolicy
from proxy.core.model import Deployment
from proxy.core.plan import Plan
from proxy.core.snapshot import Live, Snapshot
from proxy.internal_calls import Caller, InternalCalls, caller_of
from proxy.learning.decisions import Decision
from proxy.learning.failures import Failures
from proxy.learning.labels import JUDGE, JUDGE_WEIGHT, Label
from proxy.observe.exposition import Family
from proxy.observe.live import judgements
from proxy.routing.classify.question import InvalidAnswer
from proxy.routing.explore import draw_of

if TYPE_CHECKING:
    from proxy.learning.rating import Answer

JUDGING, SHADOW = "judge", "shadow"  # names of callers, and kinds in the metric
_FAILURES = ("deadline", "budget", "invalid", "failed")
RESULTS = (
    *((JUDGING, result) for result in ("done", "repaired", "dropped", *_FAILURES)),
    *((SHADOW, result) for result in ("done", *_FAILURES)),
)
MOST = 64  # answers that wait to be judged
LARGEST = 64 * 1024  # bytes of a request that is judged
AT_ONCE = 4  # answers that are judged at the same time,
SHADOWS = 2  # besides those that wait for a shadow call, which holds capacity that clients could use
SHADOW_SECONDS = 30.0  # for the answer of a shadow call
_STREAM = ("stream", "stream_options", "n", "background")  # members of a request that a shadow call does not repeat,
_CLIENT = ("store", "metadata", "user", "safety_identifier", "prompt_cache_key")  # nor what identifies persons
T = TypeVar("T")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is done with the answer of a call."""

    judged: bool
    shadow: str | None  # the model of a shadow call: provider/model


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer to be judged."""

    call: Call
    decision: Decision
    owner: str | None  # whose labels are bounded together
    answer: Answer
    shadow: str | None


def drawn(call: Call, plan: Plan, chosen: Deployment, rules: LearningRules) -> Drawn | None:
    """Return what is done with the answer of the model `chosen`, which the call's id decides; `None` for nothing."""
    judge, shadow = rules.judge, rules.shadow
    if judge is None or len(call.raw) > LARGEST:
        return None
    other = None
    if shadow is not None and draw_of(f"{SHADOW} {call.id}") < shadow.share:
        other = _other_model(call, plan, chosen)
    judged = other is not None or draw_of(f"{JUDGING} {call.id}") < judge.share
    return Drawn(judged, other) if judged else None


def _other_model(call: Call, plan: Plan, chosen: Deployment) -> str | None:
    """Return another model of the plan, which the caller may use as well; of another tier if there is one."""
    if call.hosted or call.body.get("modalities") is not None:
        return None  # it would have effects or costs of another kind
    if chosen.provider.own_key is not None:
        return None  # the user has chosen to pay, and other keys would be used
    deployments = [target.deployment for target in plan.targets]
    others = [each for each in deployments if each.name != chosen.name and each.provider.user_keys != "only"]
    found = [each for each in others if each.tier != chosen.tier] or others
    return found[int(draw_of(f"model {call.id}") * len(found))].name if found else None


class Judge:
    """One instance for each process; also a background service. `keep` gets the labels."""

    def __init__(
        self,
        calls: InternalCalls,
        live: Live,
        clock: Clock,
        keep: Callable[[Sequence[Label]], None],
        degraded: Callable[[], bool] = lambda: False,
    ) -> None:
        """`degraded`: the counters of budgets are those of this process alone, instead of those of all replicas."""
        self.results: Counter[tuple[str, str]] = Counter(dict.fromkeys(RESULTS, 0))
        self._keep = keep
        self._calls = calls
        self._live = live
        self._clock = clock
        self._degraded = degraded
        self._waiting: asyncio.Queue[Sample] = asyncio.Queue(MOST)
        self._shadows: asyncio.Queue[Sample] = asyncio.Queue(MOST)  # those with a shadow call
        self._callers: dict[str, Caller] = {}  # of the newest configuration, by model

    def put(self, sample: Sample) -> None:
        """Take an answer, unless too many are waiting."""
        try:
            (self._waiting if sample.shadow is None else self._shadows).put_nowait(sample)
        except asyncio.QueueFull:
            self._count(JUDGING, "dropped")

    def families(self) -> list[Family]:
        """Return the metric of the results."""
        return [judgements(self.results)]

    async def run(self) -> None:
        """Judge until cancelled."""
        failures = Failures(self._clock)
        async with asyncio.TaskGroup() as tasks:
            for waiting, workers in ((self._waiting, AT_ONCE), (self._shadows, SHADOWS)):
                for _ in range(workers):
                    tasks.create_task(self._work(waiting, failures))

    async def _work(self, waiting: asyncio.Queue[Sample], failures: Failures) -> None:
        while True:
            sample = await waiting.get()
            try:
                await self.judge(sample)
            except Exception as exc:
                if failures.is_new(exc):
                    _LOG.exception("an answer could not be judged", extra={"fields": {"id": sample.call.id}})

    async def judge(self, sample: Sample) -> None:
        """Judge an answer, and that of the shadow call, if there is one."""
        snapshot, decision = self._live.snapshot, sample.decision
        rules = snapshot.learning
        if rules is None or rules.judge is None:
            return  # it was switched off meanwhile
        answers = {decision.chosen: sample.answer}
        if sample.shadow is not None and rules.shadow is not None:
            answer = await self._shadow(sample.call, sample.shadow, snapshot, rules.shadow)
            if answer is not None:
                answers[sample.shadow] = answer
        labels = []
        for model, answer in answers.items():
            score = await self._score(sample.call, answer, snapshot, rules.judge)
            if score is not None:
                propensity = decision.propensity if model == decision.chosen else 1.0
                now = int(self._clock.time() * 1e6)
                features, weight = decision.features, JUDGE_WEIGHT
                labels.append(Label(decision.id, model, JUDGE, now, sample.owner, score, weight, propensity, features))
        if labels:
            self._keep(labels)

    async def _score(self, call: Call, answer: Answer, snapshot: Snapshot, policy: JudgePolicy) -> float | None:
        from proxy.learning.judging import question, read_verdict  # only here: most processes judge nothing

        caller = self._caller(snapshot, JUDGING, policy.model, policy.budget, wait=policy.deadline)

        async def ask(deadline: asyncio.Timeout) -> tuple[float, bool]:
            return await self._calls.answer(
                call,
                caller,
                lambda structured: question(policy.model, call.body, answer, structured=structured),
                read_verdict,
                deadline,
            )

        found = await self._within(JUDGING, policy, policy.deadline, ask)
        if found is None:
            return None
        score, repaired = found
        self._count(JUDGING, "repaired" if repaired else "done")
        return score

    async def _shadow(self, call: Call, model: str, snapshot: Snapshot, policy: ShadowPolicy) -> Answer | None:
        """Return the answer of another model to the same request. It never waits for capacity."""
        from proxy.learning.reading import answer_of

        caller = self._caller(snapshot, SHADOW, model, policy.budget, wait=0.0)
        body = {name: value for name, value in call.body.items() if name not in (*_STREAM, *_CLIENT)}
        body["model"] = model

        async def ask(deadline: asyncio.Timeout) -> bytes:
            return await self._calls.whole(call, caller, body, deadline)

        found = await self._within(SHADOW, policy, SHADOW_SECONDS, ask)
        answer = None if found is None else answer_of(found)
        if found is not None:
            self._count(SHADOW, "invalid" if answer is None else "done")
        return answer

    async def _within(
        self,
        kind: str,
        policy: JudgePolicy | ShadowPolicy,
        seconds: float,
        ask: Callable[[asyncio.Timeout], Awaitable[T]],
    ) -> T | None:
        """Return what `ask` returns; `None` after a failure, which is counted."""
        if policy.budget is not None and self._degraded():  # each replica would spend a whole budget
            self._count(kind, "budget")
            return None
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                return await ask(deadline)
        except TimeoutError:
            self._count(kind, "deadline")
        except BudgetExceeded:
            self._count(kind, "budget")
        except InvalidAnswer:
            self._count(kind, "invalid")
        except ProxyError:
            self._count(kind, "failed")
        return None

    def _caller(self, snapshot: Snapshot, name: str, model: str, budget: int | None, *, wait: float) -> Caller:
        key = f"{name} {model}"
        caller = self._callers.get(key)
        if caller is None or caller.snapshot is not snapshot:
            self._callers = {each: kept for each, kept in self._callers.items() if kept.snapshot is snapshot}
            caller = self._callers[key] = caller_of(snapshot, name, name, model, budget=budget, wait=wait)
        return caller

    def _count(self, kind: str, result: str) -> None:
        self.results[kind, result] += 1
