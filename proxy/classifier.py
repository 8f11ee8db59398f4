"""The classifier of `routing.classifier.kind: llm`: asks a model for the profile of a prompt.

Its calls are ordinary calls to the upstream, with limits, breakers and the ledger, by a caller of their own: the key
`classifier`, with `routing.classifier.budget` as its budget. Their ids are that of the client's call with a suffix.
Whenever there is no valid answer in time, the local profile stays, with the reason. After repeated failures no call
waits for the model for a while.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from proxy.arrival import run_off_loop
from proxy.core.accounts import Budget
from proxy.core.call import Call, RouterOptions
from proxy.core.clock import Clock
from proxy.core.errors import BudgetExceeded, ProxyError, Unavailable
from proxy.core.json_text import compact, object_of
from proxy.core.ledger import Ledger
from proxy.core.model import Deployment
from proxy.core.plan import DeploymentHealth, Plan
from proxy.core.policies import LlmClassifierPolicy
from proxy.core.principal import Identified, Principal
from proxy.core.record import Outcome, Record
from proxy.core.snapshot import Snapshot
from proxy.core.usage import Usage
from proxy.observe.exposition import Family
from proxy.observe.live import classifications
from proxy.routing.classify.prompt import Prompt, read_prompt
from proxy.routing.classify.question import Answer, InvalidAnswer, digest, profiled, question, read_answer, repair
from proxy.routing.classify.rules import Profile
from proxy.routing.names import resolve
from proxy.surfaces.openai.chat import read_chat
from proxy.upstream.executor import Executor

LABEL = "classifier"  # the key, the caller and the `client_id` of its calls
ENDPOINT = "classify"  # of its calls in the ledger
FAILURES = 3  # in a row, after which the model is not asked
PAUSE_SECONDS = 10.0
NOT_ASKED = "POST /v1/route asks no model, and remembers no answer for this prompt"
RESULTS = ("asked", "cached", "repaired", "deadline", "budget", "invalid", "failed", "paused")

Plans = Callable[[Call], Awaitable[Plan]]
CountAttempt = Callable[[Deployment, str, Usage | None, int | None], None]


@dataclass(frozen=True, slots=True)
class _Target:
    """What is asked under one configuration: as which caller, and whether its models take a schema."""

    snapshot: Snapshot
    policy: LlmClassifierPolicy
    principal: Principal
    structured: bool


class AskingClassifier:
    """Implements `proxy.routing.router.LlmClassifier`. One instance serves all calls of a process."""

    def __init__(
        self,
        *,
        plan: Plans,
        health: Callable[[Deployment], DeploymentHealth | None],
        executor: Executor,
        clock: Clock,
        count_attempt: CountAttempt,
        ledger: Ledger | None = None,
    ) -> None:
        self.results: Counter[str] = Counter(dict.fromkeys(RESULTS, 0))
        self._plan = plan
        self._health = health
        self._executor = executor
        self._clock = clock
        self._count_attempt = count_attempt
        self._ledger = ledger  # `None`: calls are not recorded
        self._numbers = count(1)
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()  # by digest, the least recently used first
        self._answers_of = ""  # the model of these answers
        self._target: _Target | None = None  # of the newest configuration
        self._refusing: set[str] = set()  # models that have refused the schema
        self._failures = 0  # in a row
        self._paused_until = 0.0

    async def classify(self, call: Call, local: Profile, *, ask: bool = True) -> Profile:
        """Return the profile by the model, or `local` with the reason why there is none.

        With `ask=False` only a remembered answer counts: no call is made.
        """
        policy = call.snapshot.llm_classifier
        if policy is None or call.principal.key_id == LABEL:
            return local
        prompt = await run_off_loop(lambda: read_prompt(call.body), len(call.raw))
        if not prompt.text.strip():
            return replace(local, fallback="no text")
        key = digest(call.principal.tenant, prompt)
        answer = self._remembered(policy, key)
        if answer is None:
            if not ask:
                return replace(local, fallback=NOT_ASKED)
            began = self._clock.monotonic()
            result = await self._asked(call, prompt, policy)
            local = replace(local, waited=self._clock.monotonic() - began)
            if isinstance(result, str):
                return replace(local, fallback=result)
            answer = result
            self._remember(policy, key, answer)
        return profiled(call, prompt, local, answer, policy.model)

    def families(self) -> list[Family]:
        """Return the metric of its results."""
        return [classifications(self.results)]

    async def _asked(self, call: Call, prompt: Prompt, policy: LlmClassifierPolicy) -> Answer | str:
        """Return the model's answer, or why there is none."""
        if self._clock.monotonic() < self._paused_until:
            self.results["paused"] += 1
            return "paused after failures"
        deadline = asyncio.timeout(policy.deadline)
        try:
            async with deadline:
                answer, result = await self._answer(call, prompt, self._target_of(call.snapshot, policy), deadline)
        except TimeoutError:
            return self._failed("deadline", "deadline")
        except BudgetExceeded:
            return self._failed("budget", "its budget is used up")
        except InvalidAnswer:
            return self._failed("invalid", "invalid answer")
        except ProxyError:
            return self._failed("failed", "its model has failed")
        self.results[result] += 1
        self._failures = 0
        return answer

    def _failed(self, result: str, reason: str) -> str:
        """Count a failure, and return the reason."""
        self.results[result] += 1
        self._failures += 1
        if self._failures >= FAILURES:
            self._paused_until = self._clock.monotonic() + PAUSE_SECONDS
        return reason

    async def _answer(
        self, call: Call, prompt: Prompt, target: _Target, deadline: asyncio.Timeout
    ) -> tuple[Answer, str]:
        """Ask, and once more if the answer is invalid or the schema is refused.

        Raises `ProxyError`, or `InvalidAnswer` for the second answer.
        """
        model = target.policy.model
        structured = target.structured and model not in self._refusing
        body = question(model, prompt, structured=structured)
        try:
            text = await self._ask(call, body, target, deadline)
            return read_answer(text), "asked"
        except InvalidAnswer as problem:
            body = repair(body, text, str(problem))
        except ProxyError as error:
            if not structured or error.http_status != 400:
                raise
            self._refusing.add(model)
            body = question(model, prompt, structured=False)
        return read_answer(await self._ask(call, body, target, deadline)), "repaired"

    async def _ask(self, call: Call, body: Mapping[str, Any], target: _Target, deadline: asyncio.Timeout) -> str:
        """Make one call, and return the text of its answer. Raises `ProxyError`."""
        clock = self._clock
        id = f"{call.id}-{LABEL}-{next(self._numbers)}"
        read = read_chat(
            compact(body), {}, id=id, request_id=call.id, snapshot=call.snapshot, principal=target.principal
        )
        read = replace(read, options=RouterOptions(client_id=LABEL, max_wait_seconds=target.policy.deadline))
        record = Record(id, call.id, clock.monotonic(), int(clock.time() * 1e6))
        record.principal, record.call = target.principal, replace(read, endpoint=ENDPOINT)
        try:
            record.plan = plan = await self._plan(read)
            if not any(self._is_available(each.deployment) for each in plan.targets):
                raise Unavailable("No model that classifies prompts is available now.", code="no_candidate_available")
            relay = await self._executor.run(read, plan, record)
            try:
                body_bytes = await relay.whole()
            finally:
                await relay.aclose()
            record.status = relay.status
            return _text_of(body_bytes)
        except ProxyError as error:
            record.end(Outcome.ERROR, status=error.http_status, code=error.error_code)
            raise
        except asyncio.CancelledError:
            if deadline.expired():
                record.end(Outcome.ERROR, status=504, code="deadline_exceeded")
            else:
                record.end(Outcome.CLIENT_CLOSED, status=499, code=Outcome.CLIENT_CLOSED.value)
            raise
        finally:
            self._settle(record)

    def _is_available(self, deployment: Deployment) -> bool:
        health = self._health(deployment)
        return health is None or health.available

    def _settle(self, record: Record) -> None:
        """Count and record a call, unless nothing was sent."""
        for attempt in record.attempts:
            self._count_attempt(attempt.deployment, attempt.outcome, attempt.usage, attempt.cost_nusd)
        if self._ledger is not None and record.attempts:
            self._ledger.close(record)

    def _target_of(self, snapshot: Snapshot, policy: LlmClassifierPolicy) -> _Target:
        if self._target is None or self._target.snapshot is not snapshot:
            self._target = _target(snapshot, policy)
        return self._target

    def _remembered(self, policy: LlmClassifierPolicy, key: bytes) -> Answer | None:
        if self._answers_of != policy.model:
            self._answers.clear()
            self._answers_of = policy.model
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
            self.results["cached"] += 1
        return answer

    def _remember(self, policy: LlmClassifierPolicy, key: bytes, answer: Answer) -> None:
        self._answers[key] = answer
        while len(self._answers) > policy.cache:
            self._answers.popitem(last=False)


def _target(snapshot: Snapshot, policy: LlmClassifierPolicy) -> _Target:
    """Return what a configuration asks. The budget covers models with a price; what others cost is unknown."""
    try:
        deployments = [target.deployment for target in resolve(snapshot, policy.model).members.targets]
    except ProxyError:
        deployments = []  # a call will fail
    budgets: tuple[tuple[Any, str, Budget], ...] = ()
    if policy.budget is not None and all(each.billed_price is not None for each in deployments):
        budgets = (("key", LABEL, Budget(policy.budget, "day")),)
    structured = all("json_schema" in (each.capabilities or ("json_schema",)) for each in deployments)
    return _Target(snapshot, policy, Identified(LABEL, key_id=LABEL, budgets=budgets), structured)


def _text_of(body: bytes) -> str:
    """Return the text of a chat completion; empty if it has none."""
    found: Any = object_of(body)
    for step in ("choices", 0, "message", "content"):
        try:
            found = found[step]
        except (TypeError, KeyError, IndexError):
            return ""
    return found if isinstance(found, str) else ""
