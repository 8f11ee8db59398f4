"""An executor with scripted upstreams, one host for each provider, and what those can answer."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from proxy.capacity.budget_memory import MemoryBudgets
from proxy.capacity.budgets import Budgets
from proxy.capacity.limits import Limits
from proxy.capacity.memory import MemoryCounters
from proxy.capacity.queue import FairQueue
from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.failures import RULES, FailureClass, FailureKind, FailureRule, UpstreamFailure
from proxy.core.model import Deployment
from proxy.core.plan import Plan
from proxy.core.policies import BreakerPolicy, QueuePolicy
from proxy.core.record import Record
from proxy.core.retry_budget import RetryBudget
from proxy.core.slow import SlowCalls
from proxy.core.snapshot import Live, Snapshot
from proxy.dialects.table import Dialects
from proxy.surfaces.openai.errors import error_event
from proxy.upstream.attempts import Attempts
from proxy.upstream.executor import Executor
from proxy.upstream.health import Health
from proxy.upstream.hedge import Hedge
from proxy.upstream.own_keys import KeySource, OwnKeys
from proxy.upstream.pulse import Pulse
from proxy.upstream.relay import Relay
from proxy.upstream.secrets import Cleaners
from proxy.upstream.simulate import Simulator
from proxy.upstream.slots import Slots
from tests.support.calls import deployment, live, provider, record, snapshot
from tests.support.fakes import Answer, FakeClock, Script, ScriptedTransport

BODY = b'{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":2,"completion_tokens":1}}'
OK = Answer([BODY[:30], BODY[30:]], headers={"content-type": "application/json"})
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
STREAMED = Answer([ROLE, TEXT, STOP, DONE])
CUT = UpstreamFailure(FailureKind.CONNECT, "the upstream closed the connection")


def refusal(status: int, message: str = "no", **fields: Any) -> Answer:
    headers = {name.replace("_", "-"): value for name, value in fields.pop("headers", {}).items()}
    return Answer([json.dumps({"error": {"message": message, **fields}}).encode()], status, headers)


E500, E503 = refusal(500), refusal(503)
E400, E401, E404, E429 = refusal(400), refusal(401), refusal(404), refusal(429)
TOO_LONG = refusal(400, code="context_length_exceeded")
FILTERED = refusal(400, code="content_filter")
FILTERED_IN_200 = Answer([b'{"error":{"message":"blocked by policy","code":"content_filter"}}'])
FIREWALL = Answer([b"<html>Attention Required!</html>"], 403, {"content-type": "text/html"})
TOO_LARGE = refusal(
    429,
    "Request too large for m in organization o on tokens per min (TPM): Limit 30000, Requested 40000.",
    type="tokens",
    code="rate_limit_exceeded",
    headers={"retry_after": "5"},
)
EMPTY, HTML, HALF = Answer([]), Answer([b"<html>"]), Answer([BODY[:20], CUT])
CHOICELESS = Answer([b'{"choices":[]}'])
ERROR_IN_200 = Answer([b'{"error":{"message":"busy","code":503}}'])


@dataclass
class Bench:
    """An executor with its scripted upstreams."""

    clock: FakeClock
    transport: ScriptedTransport
    health: Health
    executor: Executor
    limits: Limits
    queue: FairQueue
    slow: SlowCalls
    slots: Slots
    budget: RetryBudget
    attempts: Attempts
    live: Live
    budgets: Budgets

    async def run(self, of: Call, planned: Plan, made: Record | None = None) -> tuple[bytes | ProxyError, Record]:
        """What the client gets, or the error."""
        made = made or record(of, started=self.clock.now)
        try:
            relay = await self.executor.run(of, planned, made)
            async with aclosing(relay):
                return await read(relay), made
        except ProxyError as error:
            return error, made


@asynccontextmanager
async def running(b: Bench, of: Call, planned: Plan, made: Record) -> AsyncIterator[Reply]:
    """A client that takes the answer piece by piece, and that leaves at the end of the block."""
    relay = await b.executor.run(of, planned, made)
    async with aclosing(relay):
        reply = Reply(relay)
        async with aclosing(reply.chunks):
            yield reply


class Reply:
    """An answer as a client sees it; `chunks` may be closed at any piece."""

    def __init__(self, relay: Relay) -> None:
        self.status = relay.status
        self.headers = relay.headers
        self.stream = relay.stream
        self.chunks = self._chunks(relay)
        self.aclose = self.chunks.aclose

    async def _chunks(self, relay: Relay) -> AsyncGenerator[bytes, None]:
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

        def write(data: bytes) -> bool:
            pieces.put_nowait(data)
            return False

        async def run() -> None:
            try:
                await relay.run(write, pieces.join)
            finally:
                pieces.put_nowait(None)

        task = asyncio.create_task(run())  # noqa: TID251, a generator cannot hold a task group
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
                pieces.task_done()
            await task
        finally:
            task.cancel()
            await asyncio.wait([task])


async def read(relay: Relay) -> bytes:
    """What the client gets of an answer. Raises `ProxyError`."""
    pieces: list[bytes] = []

    def write(data: bytes) -> bool:
        pieces.append(data)
        return True

    async def drain() -> None:
        raise AssertionError("this client is never full")

    try:
        await relay.run(write, drain)
    except ProxyError as error:
        if not relay.headers["content-type"].startswith("text/event-stream"):
            raise
        pieces.append(error_event(error))
    return b"".join(pieces)


def bench(
    script: Mapping[str, Script],
    policy: BreakerPolicy | None = None,
    *,
    clock: FakeClock | None = None,
    budget: RetryBudget | None = None,
    rules: Mapping[FailureClass, FailureRule] = RULES,
    rng: random.Random | None = None,
    pulse: Pulse | None = None,
    own: KeySource | None = None,
) -> Bench:
    clock = clock or FakeClock()
    transport = ScriptedTransport(clock, script)
    config = live(breaker=policy or BreakerPolicy(), failures=rules, queue=QueuePolicy(size=1000))
    queue = FairQueue(clock, config)
    health = Health(clock, config, notify=queue.notify)
    limits = Limits(MemoryCounters(clock), clock, config, notify=queue.notify)
    slots = Slots(health, limits, queue, clock)
    budgets = Budgets(MemoryBudgets(clock), clock, config, id="p1")
    slow, budget = SlowCalls(), budget or RetryBudget(config)
    attempts = Attempts(
        transports={"openai": transport, "anthropic": transport, "gemini": transport},
        dialects=Dialects(clock),
        slots=slots,
        simulator=Simulator(clock, random.Random(1)),
        slow=slow,
        pulse=pulse or Pulse(clock),
        cleaners=Cleaners(),
        budgets=budgets,
        clock=clock,
    )
    executor = Executor(
        attempts=attempts,
        health=health,
        slots=slots,
        budget=budget,
        hedge=Hedge(attempts, slots, slow=slow, budget=budget, clock=clock),
        clock=clock,
        rng=rng or random.Random(1),
        own_keys=OwnKeys(own, health, clock) if own else None,
    )
    return Bench(clock, transport, health, executor, limits, queue, slow, slots, budget, attempts, config, budgets)


def target(name: str, *keys: str, **fields: Any) -> Deployment:
    return deployment("m", provider(name, *keys), **fields)


A, B, C = target("a"), target("b"), target("c")


def on(*deployments: Deployment, **policies: Any) -> Snapshot:
    return snapshot(*deployments, **policies)


def outcomes(made: Record) -> list[str]:
    return [f"{attempt.deployment.provider.name} {attempt.outcome}" for attempt in made.attempts]
