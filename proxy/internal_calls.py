"""Calls that Signalbox makes itself: to classify a prompt, to judge an answer, to compare models.

They are ordinary calls to upstreams, with limits, breakers and the ledger, but not of a client: each kind has a caller
of its own, with a budget per day. The caller's name is its key, its `client_id` and the suffix of its ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, TypeVar

from proxy.arrival import run_off_loop
from proxy.core.accounts import Budget
from proxy.core.call import Call, RouterOptions
from proxy.core.clock import Clock
from proxy.core.errors import ProxyError, Unavailable
from proxy.core.json_text import compact, object_of
from proxy.core.ledger import Ledger
from proxy.core.model import Deployment
from proxy.core.plan import DeploymentHealth, Plan
from proxy.core.principal import Identified, Principal
from proxy.core.record import Outcome, Record, Timings
from proxy.core.snapshot import Snapshot
from proxy.core.usage import Usage
from proxy.routing.classify.question import InvalidAnswer, repair
from proxy.routing.names import resolve
from proxy.surfaces.openai.chat import read_chat
from proxy.upstream.executor import Executor

Plans = Callable[[Call], Awaitable[Plan]]
CountAttempt = Callable[[Deployment, str, Usage | None, int | None], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """By which caller a model is asked, under one configuration."""

    name: str
    endpoint: str  # in the ledger
    model: str  # a model or a route
    snapshot: Snapshot
    principal: Principal
    structured: bool  # its models accept a JSON schema
    wait: float  # seconds for which a call may wait for capacity


def caller_of(snapshot: Snapshot, name: str, endpoint: str, model: str, *, budget: int | None, wait: float) -> Caller:
    """Return a caller with a budget per day, unless no model of it has a price: what these cost is unknown.

    If one has a price, the budget refuses those without.
    """
    try:
        deployments = [target.deployment for target in resolve(snapshot, model).members.targets]
    except ProxyError:
        deployments = []  # a call will fail
    budgets: tuple[tuple[Any, str, Budget], ...] = ()
    unpriced = [each.billed_price is None for each in deployments]
    if budget is not None and not (unpriced and all(unpriced)):
        budgets = (("key", name, Budget(budget, "day")),)
    structured = all("json_schema" in (each.capabilities or ("json_schema",)) for each in deployments)
    return Caller(name, endpoint, model, snapshot, Identified(name, key_id=name, budgets=budgets), structured, wait)


class InternalCalls:
    """Makes them. One instance serves a process."""

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
        self._plan = plan
        self._health = health
        self._executor = executor
        self._clock = clock
        self._count_attempt = count_attempt
        self._ledger = ledger  # `None`: calls are not recorded
        self._numbers = count(1)
        self._refusing: set[str] = set()  # models that have refused a JSON schema

    async def answer(
        self,
        call: Call,
        caller: Caller,
        question: Callable[[bool], Mapping[str, Any]],
        read: Callable[[str], T],
        deadline: asyncio.Timeout,
    ) -> tuple[T, bool]:
        """Ask about a client's call, and once more if the answer is invalid or the schema is refused.

        `question` returns the body, with or without the schema. Return what `read` returns, and whether it was asked
        twice. Raises `ProxyError`, or `InvalidAnswer` for the second answer.
        """
        structured = caller.structured and caller.model not in self._refusing
        body, refused = question(structured), False
        try:
            text = text_of(await self.whole(call, caller, body, deadline))
            return read(text), False
        except InvalidAnswer as problem:
            body = repair(body, text, str(problem))
        except ProxyError as error:
            if not structured or error.http_status != 400:
                raise
            body, refused = question(False), True
        answer = await self.whole(call, caller, body, deadline)
        if refused:  # for its schema, because without it the question is answered
            self._refusing.add(caller.model)
        return read(text_of(answer)), True

    async def whole(self, call: Call, caller: Caller, body: Mapping[str, Any], deadline: asyncio.Timeout) -> bytes:
        """Make one call that belongs to a client's call, and return the body of its answer. Raises `ProxyError`."""
        clock = self._clock
        id = f"{call.id}-{caller.name}-{next(self._numbers)}"
        raw = compact(body)
        read = await run_off_loop(lambda: _read(raw, id, call.id, caller), len(raw))
        record = Record(id, call.id, Timings(clock.monotonic()), int(clock.time() * 1e6))
        record.principal, record.call = caller.principal, replace(read, endpoint=caller.endpoint)
        try:
            record.plan = plan = await self._plan(read)
            if not any(self._is_available(each.deployment) for each in plan.targets):
                raise Unavailable(f"No model for the {caller.name} is available now.", code="no_candidate_available")
            relay = await self._executor.run(read, plan, record)
            try:
                answer = await relay.whole()
            finally:
                await relay.aclose()
            record.status = relay.status
            return answer
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


def _read(raw: bytes, id: str, request_id: str, caller: Caller) -> Call:
    read = read_chat(raw, {}, id=id, request_id=request_id, snapshot=caller.snapshot, principal=caller.principal)
    return replace(read, options=RouterOptions(client_id=caller.name, max_wait_seconds=caller.wait))


def text_of(body: bytes) -> str:
    """Return the text of a chat completion; empty if it has none."""
    found: Any = object_of(body)
    for step in ("choices", 0, "message", "content"):
        try:
            found = found[step]
        except (TypeError, KeyError, IndexError):
            return ""
    return found if isinstance(found, str) else ""
