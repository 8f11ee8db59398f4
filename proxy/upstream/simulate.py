"""Simulated failures: while one is active, matching attempts observe an upstream that fails in that way.

Everything behind the transport (classification, retries, breakers, records) is real.

| kind       | what the attempt sees                                                                        |
| ---------- | -------------------------------------------------------------------------------------------- |
| `error`    | 500 with an error body, and nothing is sent                                                  |
| `timeout`  | no answer, ever, and nothing is sent                                                         |
| `slow`     | the real answer, `SLOW_SECONDS` later                                                        |
| `cut`      | the real answer, whose connection breaks in its second chunk (or in its only one)            |
| `bad_json` | a 200 with half of an answer, well framed if it is a stream, and nothing is sent             |
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Literal

from proxy.core.clock import Clock
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import object_of
from proxy.core.wire import UpstreamRequest
from proxy.upstream.transport import Response, Transport

Kind = Literal["error", "timeout", "slow", "cut", "bad_json"]

SLOW_SECONDS = 5.0
MAX_ACTIVE = 100  # failures; beyond that the oldest end early

_ERROR = b'{"error":{"message":"A simulated failure.","type":"server_error","param":null,"code":null}}'
_HALF = b'{"id":"chatcmpl-simulated","choices":[{"index":0,"mess'
_HALF_EVENT = b'data: {"id":"chatcmpl-simulated","choices":[{"index":0,"del\n\n'


@dataclass(frozen=True, slots=True)
class Simulated:
    """One failure. A `model` of `None` means all models of the provider; `rate` is the share of attempts affected."""

    provider: str
    model: str | None
    kind: Kind
    until: float  # monotonic seconds
    rate: float

    def applies_to(self, provider: str, model: str) -> bool:
        """Return whether attempts at that model can be affected."""
        return self.provider == provider and self.model in (None, model)


class Simulator:
    """Holds the active failures, and wraps transports to apply them."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self.active: list[Simulated] = []  # some may have expired

    def fail(self, provider: str, model: str | None, kind: Kind, seconds: float, rate: float = 1.0) -> Simulated:
        """Start a failure, replacing one of the same provider and model; 0 seconds or a rate of 0 only ends that."""
        self._expire()
        failure = Simulated(provider, model, kind, self._clock.monotonic() + seconds, rate)
        self.active = [other for other in self.active if (other.provider, other.model) != (provider, model)]
        if seconds > 0 and rate > 0:
            self.active = [*self.active, failure][-MAX_ACTIVE:]
        return failure

    def over(self, transport: Transport, provider: str, model: str) -> Transport:
        """Return the transport for one attempt: `transport`, or a failing one if a failure applies."""
        if not self.active:
            return transport
        self._expire()
        for failure in self.active:
            if failure.applies_to(provider, model) and self._rng.random() < failure.rate:
                return _Failing(transport, failure.kind, self._clock)
        return transport

    def fails(self, provider: str, model: str) -> bool:
        """Return whether a failure applies to that model, also one of the whole provider or with a rate below 1."""
        self._expire()
        return any(failure.applies_to(provider, model) for failure in self.active)

    def stop(self) -> None:
        """End all failures."""
        self.active = []

    def rows(self) -> list[dict[str, Any]]:
        """Return the active failures."""
        self._expire()
        now = self._clock.monotonic()
        return [
            {
                "provider": failure.provider,
                "model": failure.model,
                "kind": failure.kind,
                "rate": failure.rate,
                "seconds_left": round(failure.until - now, 3),
            }
            for failure in self.active
        ]

    def _expire(self) -> None:
        now = self._clock.monotonic()
        self.active = [failure for failure in self.active if failure.until > now]


class _Failing:
    """A transport that simulates one kind of failure."""

    def __init__(self, inner: Transport, kind: Kind, clock: Clock) -> None:
        self._inner = inner
        self._kind = kind
        self._clock = clock

    async def send(self, request: UpstreamRequest) -> Response:
        """Send the request, with the failure that the module's table describes."""
        if self._kind == "timeout":
            await asyncio.Event().wait()  # until the attempt is cancelled
        if self._kind == "slow":
            await self._clock.sleep(SLOW_SECONDS)
            return await self._inner.send(request)
        if self._kind == "cut":
            response = await self._inner.send(request)
            return Response(response.status, response.headers, _broken(response), close=response.aclose)
        stream = _streams(request)
        headers = {"content-type": "text/event-stream" if stream and self._kind == "bad_json" else "application/json"}
        body = _ERROR if self._kind == "error" else _HALF_EVENT if stream else _HALF
        return Response(500 if self._kind == "error" else 200, headers, _whole(body))


async def _whole(body: bytes) -> AsyncGenerator[bytes, None]:
    await asyncio.sleep(0)
    yield body


async def _broken(response: Response) -> AsyncGenerator[bytes, None]:
    first = await response.read()
    second = await response.read()
    if not second:
        yield first[: len(first) // 2]
    else:
        yield first
        yield second[: len(second) // 2]
    raise UpstreamFailure(FailureKind.CONNECT, "the upstream closed the connection")


def _streams(request: UpstreamRequest) -> bool:
    """Return whether the request asks for a stream, in any dialect."""
    if ":streamGenerateContent" in request.url:
        return True
    body = object_of(request.content)
    return body is not None and body.get("stream") is True
