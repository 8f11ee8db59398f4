"""A transport without a network: the mock provider in this process, with its latency and its faults.

A fault looks as it does in a network: a status, an answer that breaks off, a head that never comes. Which one is drawn
depends on the seed, the body and how often that body was sent before, so a run can be repeated and a retry may succeed.

| fault        | what it looks like                                                     |
| ------------ | ---------------------------------------------------------------------- |
| `error`      | 500 with an OpenAI error body                                          |
| `timeout`    | no answer, ever                                                        |
| `slow`       | ten times the latency, at least a second, before the first byte        |
| `cut`        | the connection breaks after half of the bytes                          |
| `bad_json`   | a 200 whose JSON is cut short, in a stream that of every event         |
| `rate_limit` | 429 with `retry-after`                                                 |
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from random import Random
from typing import TYPE_CHECKING

from proxy.core.clock import Clock
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import object_of
from proxy.core.model import MockOptions
from proxy.core.wire import UpstreamRequest
from proxy.mock.answer import answer, named_fault
from proxy.mock.wire import DONE, completion, error, events
from proxy.upstream.transport import Drain, Feed, Response

_REMEMBERED = 4096  # bodies whose number of requests is kept
_TURN = 16  # pieces of an answer without latency between two turns of the event loop
_DEFAULT = MockOptions()


class MockUpstream:
    """Answers every request as the mock provider; one instance may serve many providers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sent: OrderedDict[bytes, int] = OrderedDict()

    async def send(self, request: UpstreamRequest) -> Response:
        """Answer `request.content`, a chat body, according to `request.mock`."""
        options, body = request.mock or _DEFAULT, object_of(request.content)
        model = body.get("model") if body is not None else None
        fault = named_fault(model) if isinstance(model, str) and ":" in model else None
        if fault is None and options.failure_rate > 0:
            fault = self._drawn(request.content, options)
        if fault or options.latency > 0:
            await self._delay(options.latency, fault)
        if body is None or fault in ("error", "rate_limit"):
            return self._rejection(fault)
        content, stream = answer(body, options), body.get("stream") is True
        if stream:
            asked = body.get("stream_options")
            parts = events(content, usage=isinstance(asked, dict) and asked.get("include_usage") is True)
        else:
            parts = iter((completion(content),))
        if fault:
            parts = _spoiled(parts, fault)
        headers = {
            "content-type": "text/event-stream; charset=utf-8" if stream else "application/json",
            "x-request-id": content.id.replace("chatcmpl-mock-", "req_mock_"),
        }
        return MockResponse(200, headers, parts, min(options.latency / 20, 0.05), self._clock)

    async def _delay(self, latency: float, fault: str | None) -> None:
        """Wait for the time before the first byte."""
        if fault == "timeout":
            await asyncio.Event().wait()  # until the attempt is cancelled
        seconds = max(1.0, latency * 10) if fault == "slow" else latency
        if seconds > 0:
            await self._clock.sleep(seconds)

    def _rejection(self, fault: str | None) -> Response:
        """The answer to a call that fails with a status, or whose body is not a JSON object."""
        headers = {"content-type": "application/json"}
        if fault == "error":
            status, body = 500, error("[MOCK] The mock was asked to fail.", "server_error")
        elif fault == "rate_limit":
            headers["retry-after"] = "2"
            status = 429
            body = error("[MOCK] The mock was asked to be busy.", "rate_limit_error", "rate_limit_exceeded")
        else:
            status, body = 400, error("[MOCK] The body is not a JSON object.", "invalid_request_error")
        return MockResponse(status, headers, iter((body,)), 0.0, self._clock)

    def _drawn(self, content: bytes, options: MockOptions) -> str | None:
        """The fault that is drawn for this request."""
        if options.failure_rate <= 0 or not options.faults:
            return None
        digest = hashlib.sha256(content).digest()
        times = self._sent.pop(digest, 0)
        self._sent[digest] = times + 1
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        rng = Random(f"{options.seed}:{digest.hex()}:{times}")
        return rng.choice(options.faults) if rng.random() < options.failure_rate else None


class MockResponse(Response):
    """A response whose body is made piece by piece, with `pause` seconds between the pieces.

    Without a pause the event loop gets a turn after every `_TURN` pieces, so that the reader can be cancelled.
    """

    __slots__ = ("_clock", "_number", "_parts", "_pause")

    if TYPE_CHECKING:
        status: int
        headers: Mapping[str, str]

    def __init__(
        self, status: int, headers: Mapping[str, str], parts: Iterator[bytes], pause: float, clock: Clock
    ) -> None:
        self.status = status
        self.headers = headers
        self._parts = parts
        self._pause = pause
        self._clock = clock
        self._number = 0  # pieces that were read

    async def read(self) -> bytes:
        """Return the next piece, empty at the end. Raises `UpstreamFailure`."""
        part = next(self._parts, b"")
        if part and self._number:
            if self._pause > 0:
                await self._clock.sleep(self._pause)
            elif self._number % _TURN == 0:
                await asyncio.sleep(0)
        self._number += 1
        return part

    async def pump(self, feed: Feed, drain: Drain) -> None:
        """Hand the rest of the body to `feed`, and `drain` whenever it returns `False`."""
        if self._pause > 0:
            return await super().pump(feed, drain)
        for number, part in enumerate(self._parts, 1):
            if not feed(part):
                await drain()
            if number % _TURN == 0:
                await asyncio.sleep(0)
        return None

    async def aclose(self) -> None:
        """Drop the rest of the body."""
        self._parts = iter(())


def _spoiled(parts: Iterator[bytes], fault: str) -> Iterator[bytes]:
    """The parts of an answer with a fault in its body."""
    if fault == "cut":
        return _cut(parts)
    return map(_garbled, parts) if fault == "bad_json" else parts


def _garbled(part: bytes) -> bytes:
    """Half of a body's JSON, or a complete event with half of its JSON."""
    if part == DONE:
        return part
    return part[: len(part) // 2] + (b"\n\n" if part.startswith(b"data: ") else b"")


def _cut(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The first half of the bytes; then raises `UpstreamFailure`."""
    whole = list(parts)
    left = sum(map(len, whole)) // 2
    for part in whole:
        if left <= 0:
            break
        yield part[:left]
        left -= len(part)
    raise UpstreamFailure(FailureKind.CONNECT, "the upstream closed the connection")
