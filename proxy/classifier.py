"""The classifier of `routing.classifier.kind: llm`: asks a model for the profile of a prompt.

Its calls are internal calls (`internal_calls.py`) by the caller `classifier`, with `routing.classifier.budget`.
Whenever there is no valid answer in time, the local profile stays, with the reason. After repeated failures no call
waits for the model for a while.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import replace

from proxy.arrival import run_off_loop
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import BudgetExceeded, ProxyError
from proxy.core.policies import LlmClassifierPolicy
from proxy.core.snapshot import Snapshot
from proxy.internal_calls import Caller, InternalCalls, caller_of
from proxy.observe.exposition import Family
from proxy.observe.live import classifications
from proxy.routing.classify.prompt import Prompt, read_prompt
from proxy.routing.classify.question import Answer, InvalidAnswer, digest, profiled, question, read_answer
from proxy.routing.classify.rules import Profile

LABEL = "classifier"  # the key, the caller and the `client_id` of its calls
ENDPOINT = "classify"  # of its calls in the ledger
FAILURES = 3  # in a row, after which the model is not asked
PAUSE_SECONDS = 10.0
MAX_FAILING = 1_000  # tenants whose failures are counted
_MODEL = ""  # as the cause of failures
NOT_ASKED = "POST /v1/route asks no model, and remembers no answer for this prompt"
RESULTS = ("asked", "cached", "repaired", "deadline", "budget", "invalid", "failed", "paused")


class AskingClassifier:
    """Implements `proxy.routing.router.LlmClassifier`. One instance serves all calls of a process."""

    def __init__(
        self,
        *,
        calls: InternalCalls,
        clock: Clock,
    ) -> None:
        self.results: Counter[str] = Counter(dict.fromkeys(RESULTS, 0))
        self._calls = calls
        self._clock = clock
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()  # by digest, the least recently used first
        self._answers_of = ""  # the model of these answers
        self._caller: Caller | None = None  # of the newest configuration
        self._failures: Counter[str] = Counter()  # in a row, of the model, or of the prompts of a tenant
        self._paused_until: dict[str, float] = {}

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
        tenant, paused_until = call.principal.tenant, self._paused_until
        if self._clock.monotonic() < max(paused_until.get(_MODEL, 0.0), paused_until.get(tenant, 0.0)):
            self.results["paused"] += 1
            return "paused after failures"
        deadline = asyncio.timeout(policy.deadline)
        try:
            async with deadline:
                answer, repaired = await self._calls.answer(
                    call,
                    self._caller_of(call.snapshot, policy),
                    lambda structured: question(policy.model, prompt, structured=structured),
                    read_answer,
                    deadline,
                )
        except TimeoutError:
            return self._failed(_MODEL, "deadline", "deadline")
        except BudgetExceeded:
            return self._failed(_MODEL, "budget", "its budget is used up")
        except InvalidAnswer:
            return self._failed(tenant, "invalid", "invalid answer")
        except ProxyError as error:
            return self._failed(tenant if error.http_status == 400 else _MODEL, "failed", "its model has failed")
        self.results["repaired" if repaired else "asked"] += 1
        for cause in (_MODEL, tenant):
            self._failures.pop(cause, None)
            self._paused_until.pop(cause, None)
        return answer

    def _failed(self, cause: str, result: str, reason: str) -> str:
        """Count a failure, and return the reason. A tenant's prompts that have no answer pause no other tenant."""
        self.results[result] += 1
        if len(self._failures) >= MAX_FAILING:
            self._failures.clear()
            self._paused_until.clear()
        self._failures[cause] += 1
        if self._failures[cause] >= FAILURES:
            self._paused_until[cause] = self._clock.monotonic() + PAUSE_SECONDS
        return reason

    def _caller_of(self, snapshot: Snapshot, policy: LlmClassifierPolicy) -> Caller:
        if self._caller is None or self._caller.snapshot is not snapshot:
            self._caller = caller_of(
                snapshot, LABEL, ENDPOINT, policy.model, budget=policy.budget, wait=policy.deadline
            )
        return self._caller

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
