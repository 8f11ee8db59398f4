"""The steps of one call, in order. Read this module first.

    admit      check the call limit and that the server is not draining    `admission/gate.py`
    read       turn the body into a `Call`                                 `surfaces/chat.py`
    route      turn the call into a `Plan`                                 `routing/router.py`
    attempt    try the targets in order until one answers                  `upstream/executor.py`
    relay      pass the answer on to the client                            `upstream/relay.py`
    settle     turn the record into metrics and a log line                 `settle/settle.py`

Each step takes values, returns a value, and may raise a `ProxyError`, which becomes the client's error. The call is one
lexical scope: resources are released in reverse order on every path, and the call is settled last, exactly once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from proxy.admission.gate import Gate
from proxy.arrival import Arrival, call_of
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import InternalError, ProxyError
from proxy.core.plan import HealthView
from proxy.core.record import Outcome, Record
from proxy.core.snapshot import Snapshot
from proxy.core.wire import Reply
from proxy.routing.router import Router
from proxy.settle.settle import Settler
from proxy.surfaces.decision import decision_record, embed
from proxy.surfaces.headers import call_headers
from proxy.upstream.executor import Executor

_LOG = logging.getLogger(__name__)
_EVENT_STREAMS = ("chat", "completion")  # kinds of models whose streams are always events
_EARLY = ("x-router-id", "x-request-id", "x-router-cache", "x-router-route")  # headers known before a target answers
_STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_EMBEDDED = ("application/json", "text/event-stream")  # content types that can carry a decision record


class Pipeline:
    """Runs calls; one instance serves all of them."""

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        router: Router,
        gate: Gate,
        executor: Executor,
        view: Callable[[Snapshot], HealthView],
        settler: Settler,
        clock: Clock,
    ) -> None:
        self._snapshot = snapshot
        self._router = router
        self._gate = gate
        self._executor = executor
        self._view = view
        self._settler = settler
        self._clock = clock

    @asynccontextmanager
    async def open(self, arrival: Arrival) -> AsyncIterator[Reply]:
        """Yield the reply to a call and settle the call on exit. Raises `ProxyError` carrying the call's headers."""
        record = Record(arrival.id, arrival.request_id, self._clock.monotonic(), self._clock.time())
        try:
            async with self._steps(arrival, record) as reply:
                record.status = reply.status
                yield reply
        except ProxyError as error:
            self._failed(record, arrival, error)
            raise
        except asyncio.CancelledError:
            self._left(record, arrival)
            raise
        except Exception as exc:
            _LOG.exception("internal error while handling a call", extra={"fields": {"id": record.id}})
            fault = InternalError("Internal error of the proxy; the log has the details under this request's id.")
            self._failed(record, arrival, fault)
            raise fault from exc
        finally:
            record.timings.client_seconds = arrival.client_seconds
            self._settler.settle(record)

    @asynccontextmanager
    async def _steps(self, arrival: Arrival, record: Record) -> AsyncIterator[Reply]:
        with self._gate.enter(lambda: arrival.interrupt("draining")):
            raw = await arrival.read()
            record.timings.client_seconds = arrival.client_seconds
            record.call = call = await call_of(arrival, raw, self._snapshot())
            health = self._view(call.snapshot)
            record.plan = await self._router.route(call, health)
            if call.stream and call.kind in _EVENT_STREAMS:
                arrival.expect_stream(lambda: _early_headers(record))
            async with self._executor.run(call, record.plan, record) as reply:
                yield self._answer(call, record, reply)

    def _answer(self, call: Call, record: Record, reply: Reply) -> Reply:
        """Return the reply with the proxy's headers, and with the decision record if the client requested it."""
        headers = {**reply.headers, **call_headers(record, self._clock.monotonic())}
        if call.stream:
            headers |= _STREAM_HEADERS
        elif (cost := record.cost_nusd) is not None:
            headers["x-router-cost-usd"] = f"{cost / 1e9:.9f}".rstrip("0").rstrip(".")
        chunks = reply.chunks
        if call.options.debug and reply.headers["content-type"].startswith(_EMBEDDED):
            chunks = embed(chunks, lambda: decision_record(record), stream=call.stream)
        return replace(reply, headers=headers, chunks=chunks)

    def _failed(self, record: Record, arrival: Arrival, error: ProxyError) -> None:
        """Add the call's headers to `error`, which the client receives, and record the failure."""
        record.timings.client_seconds = arrival.client_seconds
        error.headers = call_headers(record, self._clock.monotonic())
        record.end(Outcome.ERROR, status=error.http_status, code=error.error_code)

    def _left(self, record: Record, arrival: Arrival) -> None:
        """Record that the call ended early: the client disconnected, or the server is draining."""
        arrival.answer_headers = call_headers(record, self._clock.monotonic())
        if record.outcome is Outcome.OK and not arrival.delivering:
            return  # the client has the whole answer
        outcome = Outcome(arrival.interrupted or Outcome.CLIENT_CLOSED)
        status = 499 if outcome is Outcome.CLIENT_CLOSED else record.status or 503
        record.end(outcome, status=status, code=outcome.value)


def _early_headers(record: Record) -> dict[str, str]:
    """Return the headers of a stream that is opened before its target is known."""
    headers = {name: value for name, value in call_headers(record, record.timings.started).items() if name in _EARLY}
    return headers | _STREAM_HEADERS
