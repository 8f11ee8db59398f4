"""The steps of one call, in order. Read this module first, and then `upstream/attempt.py`.

    identify   turn the credential into a `Principal`                      `admission/identify.py`
    admit      check the call limit and that the server is not draining    `admission/gate.py`
    read       turn the body into a `Call`                                 `surfaces/openai/chat.py`
    route      turn the call into a `Plan`                                 `routing/router.py`
    limit      reserve under the caller's limits, if it has any            `admission/limits.py`
    attempt    try the targets in order until one answers                  `upstream/executor.py`
    relay      pass the answer on to the client                            `upstream/relay.py`
    settle     turn the record into metrics, a log line and ledger rows    `settle/settle.py`, `ledger/recorder.py`

Each step takes values, returns a value, and may raise a `ProxyError`, which becomes the client's error. The call is one
lexical scope: resources are released in reverse order on every path, and the call is settled last, exactly once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from proxy.admission.gate import Gate
from proxy.admission.identify import Identify
from proxy.admission.limits import ClientLimits
from proxy.arrival import Arrival, run_off_loop
from proxy.core.agents import AgentFinder, NoAgents, UnknownAgent
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import InternalError, InvalidRequest, ProxyError
from proxy.core.plan import Plan
from proxy.core.principal import Principal
from proxy.core.record import Outcome, Record, Timings
from proxy.core.snapshot import Live
from proxy.core.work import LARGE
from proxy.routing.router import Router
from proxy.settle.settle import Settler
from proxy.surfaces.base import Encoder, Surface
from proxy.surfaces.headers import Headers, answer_headers, as_text, call_headers, early_headers
from proxy.upstream.executor import Executor
from proxy.upstream.relay import Relay
from proxy.upstream.transport import Feed

_LOG = logging.getLogger(__name__)
_JSON = {"content-type": "application/json"}
Run = Callable[[Arrival], Awaitable[None]]
_EVENT_STREAMS = ("chat", "completion")  # kinds of models whose streams are always events


class Turns(Protocol):
    """Reads and writes stored dialogs, for calls with a `Turn`; `proxy/dialogs` implements it."""

    async def begin(self, call: Call) -> Call:
        """Return the call with its history, and lock its conversation. Raises `ProxyError`."""
        ...

    async def commit(self, call: Call, record: Record) -> None:
        """Write the turn, whole; its answer is complete but for what `Encoder.finish` returns. Raises `ProxyError`."""
        ...

    async def end(self, call: Call, record: Record) -> None:
        """Release the conversation."""
        ...


class Background(Protocol):
    """Runs calls without a client that waits for them; `proxy/background` implements it."""

    async def begin(self, arrival: Arrival, raw: bytes, call: Call, run: Run) -> Handle:
        """Let `run` handle the call of `arrival` in a task of its own. Raises `ProxyError`."""
        ...


class Handle(Protocol):
    """A call that was begun in the background."""

    async def answer(self, arrival: Arrival, headers: Headers) -> None:
        """Answer the client of `arrival`. Raises `ProxyError` if the call is not admitted."""
        ...


class Watch(Protocol):
    """Reads answers on their way to clients; `Learning.watch` implements it."""

    def __call__(
        self, call: Call, record: Record, encoder: Encoder | None, surface: Surface, *, native: bool
    ) -> Encoder | None:
        """Return the encoder of an answer: the given one, or one around it. `native`: as for `Surface.encoder`."""
        ...


class Pipeline:
    """Runs calls; one instance serves all of them."""

    def __init__(
        self,
        *,
        live: Live,
        router: Router,
        identify: Identify,
        gate: Gate,
        limits: ClientLimits,
        executor: Executor,
        settler: Settler,
        clock: Clock,
        agents: AgentFinder | None = None,
        turns: Turns | None = None,
        background: Background | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._live = live
        self._router = router
        self._identify = identify
        self._gate = gate
        self._limits = limits
        self._executor = executor
        self._settler = settler
        self._turns: Turns = turns or NoTurns()
        self._background = background  # `None`: nothing is stored
        self._clock = clock
        self._agents = agents or NoAgents()
        self._watch = watch

    async def run(self, arrival: Arrival) -> None:
        """Handle one call and settle it. Raises `ProxyError` carrying the call's headers."""
        clock = self._clock
        record = Record(arrival.id, arrival.request_id, Timings(clock.monotonic()), int(clock.time() * 1e6))
        try:
            principal = self._identify(arrival.headers, arrival.address) or await self._identify.look_up(
                arrival.headers, arrival.address
            )
            record.principal = principal
            self._gate.enter(arrival)
            reservation = None
            try:
                call, plan = await self._plan(arrival, record, principal)
                if plan is None:
                    return
                if principal.limits:
                    reservation = await self._limits.reserve(call, plan, record)
                if call.count is not None:
                    await self._count(arrival, call, plan, record)
                    return
                if call.stream and call.kind in _EVENT_STREAMS and (call.native is None or call.native.events):
                    arrival.expect_stream(lambda: early_headers(record))
                relay = await self._executor.run(call, plan, record)
                try:
                    await self._answer(arrival, call, record, relay)
                finally:
                    await relay.aclose()
            finally:
                if reservation is not None:
                    self._limits.settle(reservation, record)
                self._gate.leave(arrival)
                if record.call is not None and record.call.turn is not None:
                    await self._turns.end(record.call, record)
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

    async def _plan(self, arrival: Arrival, record: Record, principal: Principal) -> tuple[Call, Plan | None]:
        """Read the call and plan it; a large one in a thread. Without a plan, it runs on in the background."""
        raw = await arrival.read()
        record.timings.client_seconds = arrival.client_seconds
        read = partial(
            arrival.surface.read,
            raw,
            arrival.headers,
            id=arrival.id,
            request_id=arrival.request_id,
            snapshot=self._live.snapshot,
            principal=principal,
            path=arrival.path,
            query=arrival.query,
        )
        size = len(raw) + arrival.history
        try:
            call = read() if size <= LARGE else await run_off_loop(read, size)
        except UnknownAgent as unknown:
            await self._agents.find(unknown, principal)
            call = await run_off_loop(partial(read, snapshot=self._live.snapshot), size)
        record.call = call
        if call.options.conversation is not None:
            from proxy.surfaces.memory.request import with_conversation  # only here: most calls name none

            record.call = call = await run_off_loop(partial(with_conversation, call), len(raw))
        if call.turn is not None:
            if call.turn.background and arrival.detached is None:
                await self._in_background(arrival, raw, call, record)
                return call, None
            record.call = call = await self._turns.begin(call)
        record.plan = plan = await self._router.route(call)
        record.timings.upstream_seconds += plan.waited
        return call, plan

    async def _in_background(self, arrival: Arrival, raw: bytes, call: Call, record: Record) -> None:
        """Let the call run on in the background, with a record of its own, and answer the client."""
        if self._background is None:
            message = "`background` needs a store: this server keeps no responses (`store: none`)."
            raise InvalidRequest(message, param="background")
        handle = await self._background.begin(arrival, raw, call, self.run)
        record.handed_over = True
        await handle.answer(arrival, early_headers(record))

    async def _count(self, arrival: Arrival, call: Call, plan: Plan, record: Record) -> None:
        """Answer with the tokens of the input: those that a target of the client's format counts, else an estimate."""
        assert call.count is not None
        if call.passes_to(plan.targets[0].deployment.provider):
            relay = await self._executor.count(call, plan, record)
            if relay is not None:
                try:
                    await self._answer(arrival, call, record, relay)
                finally:
                    await relay.aclose()
                return
        tokens = await run_off_loop(lambda: plan.input_tokens, len(call.raw))
        record.end(Outcome.OK, status=200)
        headers = answer_headers(record, self._clock.monotonic(), _JSON, stream=False)
        await arrival.answer(200, headers, call.count(tokens))

    async def _answer(self, arrival: Arrival, call: Call, record: Record, relay: Relay) -> None:
        """Write the answer in the client's format, with the proxy's headers. Raises `ProxyError` if it breaks off."""
        encoder = arrival.surface.encoder(call, record, relay.headers["content-type"], native=relay.native)
        if call.options.conversation is not None:
            from proxy.surfaces.memory.answer import remembering

            encoder = remembering(call, record, encoder, arrival.surface)
        if call.snapshot.learning is not None and self._watch is not None:
            encoder = self._watch(call, record, encoder, arrival.surface, native=relay.native)
        if relay.stream:
            headers = answer_headers(record, self._clock.monotonic(), relay.headers, stream=call.stream)
            events = relay.headers["content-type"].startswith("text/event-stream")
            await arrival.begin_stream(relay.status, headers, events=events)
            record.status, arrival.encoder = arrival.status, encoder
            if encoder is None:
                await relay.run(arrival.write, arrival.drain)
            else:
                await relay.run(_encoded(encoder, arrival.write), arrival.drain)
                if call.turn is not None:
                    if arrival.detached is not None:
                        await arrival.detached.complete(call.turn)
                    await self._turns.commit(call, record)
                if last := encoder.finish():
                    arrival.write(last)
            await arrival.end_stream()
            return
        record.status = relay.status
        body = await relay.whole()
        headers = answer_headers(record, self._clock.monotonic(), relay.headers, stream=call.stream)
        if encoder is not None:
            body = encoder.feed(body)
            if call.turn is not None:
                await self._turns.commit(call, record)
            body += encoder.finish()
        await arrival.answer(relay.status, headers, body)

    def _failed(self, record: Record, arrival: Arrival, error: ProxyError) -> None:
        """Add the call's headers to `error`, which the client receives, and record the failure."""
        record.timings.client_seconds = arrival.client_seconds
        error.headers = as_text(call_headers(record, self._clock.monotonic()))
        record.end(Outcome.ERROR, status=arrival.status or error.http_status, code=error.error_code)
        record.rejection = error.decide

    def _left(self, record: Record, arrival: Arrival) -> None:
        """Record that the call ended early: the client disconnected, or the server is draining."""
        arrival.answer_headers = as_text(call_headers(record, self._clock.monotonic()))
        if record.outcome is Outcome.OK and not arrival.delivering:
            return  # the client has the whole answer
        outcome = Outcome(arrival.interrupted or Outcome.CLIENT_CLOSED)
        status = 499 if outcome is Outcome.CLIENT_CLOSED else record.status or 503
        record.end(outcome, status=status, code=outcome.value)


def _encoded(encoder: Encoder, write: Feed) -> Feed:
    """Return a function that writes canonical bytes to `write` in the client's format."""

    def write_encoded(data: bytes) -> bool:
        out = encoder.feed(data)
        return write(out) if out else True

    return write_encoded


class NoTurns:
    """Without a store: nothing is kept, and every id of a dialog is unknown."""

    async def begin(self, call: Call) -> Call:
        """Return the call if it needs no history. Raises `InvalidRequest`."""
        turn = call.turn
        assert turn is not None
        turn.store = False
        if turn.previous is not None:
            message = (
                f"Previous response with id '{turn.previous}' not found: this server keeps no responses (`store`)."
            )
            raise InvalidRequest(message, param="previous_response_id", code="previous_response_not_found")
        if turn.conversation is not None or turn.references:
            by_option = call.options.conversation is not None
            name = "input" if not turn.conversation else "router.conversation" if by_option else "conversation"
            message = f"`{name}`: this server keeps no conversations; send the whole input, or configure `store`."
            raise InvalidRequest(message, param=name)
        return call

    async def commit(self, call: Call, record: Record) -> None:
        """Keep nothing."""

    async def end(self, call: Call, record: Record) -> None:
        """Do nothing."""
