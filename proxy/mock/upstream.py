"""A transport without a network: the mock provider in this process, with its latency and its faults.

A fault shows as it would from outside: a status, an answer that breaks off, a head that never comes. Which one is drawn
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
from collections.abc import AsyncGenerator, Iterator, Mapping
from random import Random
from typing import Any

from proxy.core.clock import Clock
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import object_of
from proxy.core.model import MockOptions
from proxy.core.wire import UpstreamRequest
from proxy.mock.answer import answer, named_fault
from proxy.mock.wire import DONE, Answer, completion, error, events
from proxy.upstream.transport import Response

_REMEMBERED = 4096  # bodies whose number of sendings is kept


class MockUpstream:
    """Answers every request as the mock provider; one instance may serve many providers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sent: OrderedDict[bytes, int] = OrderedDict()

    async def send(self, request: UpstreamRequest) -> Response:
        """Answer `request.content`, a chat body, as `request.mock` says."""
        options = request.mock or MockOptions()
        body = object_of(request.content)
        fault = named_fault(body.get("model")) if body is not None else None
        fault = fault or self._drawn(request.content, options)
        if fault == "timeout":
            await asyncio.Event().wait()  # until the attempt is cancelled
        await self._wait(max(1.0, options.latency * 10) if fault == "slow" else options.latency)

        status, headers, parts = _answered(body, options, fault)
        pause = min(options.latency / 20, 0.05)
        return Response(status, headers, self._chunks(parts, pause, cut=fault == "cut"))

    async def _chunks(self, parts: Iterator[bytes], pause: float, *, cut: bool) -> AsyncGenerator[bytes, None]:
        """The body, with `pause` seconds between its parts."""
        for number, part in enumerate(_half(parts) if cut else parts):
            await self._wait(pause if number else 0.0)
            yield part
        if cut:
            raise UpstreamFailure(FailureKind.CONNECT, "the upstream closed the connection")

    async def _wait(self, seconds: float) -> None:
        """Sleep, or only give way: a reader that never waits must be cancellable too."""
        if seconds > 0:
            await self._clock.sleep(seconds)
        else:
            await asyncio.sleep(0)

    def _drawn(self, content: bytes, options: MockOptions) -> str | None:
        """The fault that chance wants for this sending of this body."""
        if options.failure_rate <= 0 or not options.faults:
            return None
        digest = hashlib.sha256(content).digest()
        times = self._sent.pop(digest, 0)
        self._sent[digest] = times + 1
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        rng = Random(f"{options.seed}:{digest.hex()}:{times}")
        return rng.choice(options.faults) if rng.random() < options.failure_rate else None


def _answered(
    body: Mapping[str, Any] | None, options: MockOptions, fault: str | None
) -> tuple[int, dict[str, str], Iterator[bytes]]:
    """Status, headers and the parts of the body."""
    if body is None:
        return _refused(400, "The body is not a JSON object.", "invalid_request_error")
    if fault == "error":
        return _refused(500, "The mock was asked to fail.", "server_error")
    if fault == "rate_limit":
        status, headers, parts = _refused(
            429, "The mock was asked to be busy.", "rate_limit_error", "rate_limit_exceeded"
        )
        return status, headers | {"retry-after": "2"}, parts

    made = answer(body, options)
    if body.get("stream") is True:
        asked = body.get("stream_options")
        parts = events(made, usage=isinstance(asked, Mapping) and asked.get("include_usage") is True)
        return (
            200,
            _headers(made, "text/event-stream; charset=utf-8"),
            map(_garbled, parts) if fault == "bad_json" else parts,
        )
    whole = completion(made)
    return 200, _headers(made, "application/json"), iter([whole[: len(whole) // 2] if fault == "bad_json" else whole])


def _refused(
    status: int, message: str, kind: str, code: str | None = None
) -> tuple[int, dict[str, str], Iterator[bytes]]:
    return status, {"content-type": "application/json"}, iter([error(f"[MOCK] {message}", kind, code)])


def _headers(made: Answer, content_type: str) -> dict[str, str]:
    return {"content-type": content_type, "x-request-id": made.id.replace("chatcmpl-mock-", "req_mock_")}


def _garbled(event: bytes) -> bytes:
    """An event that is framed well, around half of its JSON."""
    return event if event == DONE else event[: len(event) // 2] + b"\n\n"


def _half(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The parts up to the middle of the whole, wherever that falls."""
    whole = list(parts)
    left = sum(map(len, whole)) // 2
    for part in whole:
        if left <= 0:
            return
        yield part[:left]
        left -= len(part)
