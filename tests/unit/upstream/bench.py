"""An executor with scripted upstreams, one host for each provider, and what those can answer."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.core.errors import ProxyError
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.types import (
    BreakerPolicy,
    Call,
    Deployment,
    Plan,
    Record,
    Snapshot,
)
from proxy.dialects.openai.dialect import OpenAIDialect
from proxy.upstream.executor import Executor
from proxy.upstream.health import Health
from tests.calls import deployment, provider, record, snapshot
from tests.fakes import Answer, FakeClock, ScriptedTransport

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

    async def run(self, of: Call, planned: Plan, made: Record | None = None) -> tuple[bytes | ProxyError, Record]:
        """What the client gets, or the error."""
        made = made or record(of, started=self.clock.now)
        try:
            async with self.executor.run(of, planned, made) as reply:
                return b"".join([chunk async for chunk in reply.chunks]), made
        except ProxyError as error:
            return error, made


def bench(
    script: Mapping[str, Sequence[Answer]], policy: BreakerPolicy | None = None, *, clock: FakeClock | None = None
) -> Bench:
    clock = clock or FakeClock()
    transport = ScriptedTransport(clock, script)
    health = Health(clock, policy or BreakerPolicy())
    executor = Executor(
        transports={"openai": transport},
        dialects={"openai": OpenAIDialect()},
        health=health,
        clock=clock,
        rng=random.Random(1),
    )
    return Bench(clock, transport, health, executor)


def target(name: str, *keys: str, **fields: Any) -> Deployment:
    return deployment("m", provider(name, *keys), **fields)


A, B, C = target("a"), target("b"), target("c")


def on(*deployments: Deployment, **policies: Any) -> Snapshot:
    return snapshot(*deployments, **policies)


def outcomes(made: Record) -> list[str]:
    return [f"{attempt.provider} {attempt.outcome}" for attempt in made.attempts]
