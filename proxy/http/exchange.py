"""One HTTP exchange: reads the request, and writes the response while watching for the client's disconnect.

A plain ASGI callable. With `http/protocol.py` the response goes straight to the connection, which also reports a
disconnect; with another server it goes through `send`, and a task waits for `http.disconnect`. Either way a disconnect
cancels the call, so that the upstream's connection is closed at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from proxy.admission.credentials import joined
from proxy.arrival import Arrival, Detached
from proxy.core.errors import ProxyError, Unavailable, UpstreamError
from proxy.http.errors import send_error
from proxy.http.ids import Ids
from proxy.http.output import CYCLE, AsgiOutput, Cycle, Output
from proxy.http.reading import ClientGone, Limits, read_body
from proxy.surfaces.base import Encoder, Surface
from proxy.surfaces.headers import Headers, sane_id
from proxy.surfaces.openai.surface import COMMENT

PIECE = 256 * 1024  # bytes of a whole body per write


class RunCall(Protocol):
    """Handles one call from its arrival to the end of its answer; `proxy.pipeline` implements it."""

    async def run(self, arrival: Arrival) -> None:
        """Raises `ProxyError`, which becomes the client's error."""
        ...


class Endpoint:
    """The endpoint of a proxied path."""

    def __init__(self, pipeline: RunCall, surface: Surface, limits: Limits, ids: Ids) -> None:
        self._pipeline = pipeline
        self.surface = surface
        self.limits = limits
        self.ids = ids

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        return Exchange(self, scope, receive, send).serve(self._pipeline)


class Exchange:
    """One request and its response: the `Arrival` that the pipeline reads from and writes to."""

    detached: Detached | None = None
    __slots__ = (
        "_begun",
        "_comment_timer",
        "_content",
        "_cycle",
        "_early_timer",
        "_ended",
        "_events",
        "_limits",
        "_loop",
        "_out",
        "_receive",
        "_send",
        "_task",
        "_tasks",
        "_undelivered",
        "answer_headers",
        "address",
        "client_seconds",
        "encoder",
        "headers",
        "id",
        "interrupted",
        "path",
        "query",
        "request_id",
        "status",
        "surface",
        "write",
    )

    history = 0

    def __init__(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers: Mapping[str, str] = joined(scope["headers"])
        self.id = endpoint.ids.new()
        request_id = self.headers.get("x-request-id")
        self.request_id = self.id if request_id is None else sane_id(request_id) or self.id
        client = scope.get("client")
        self.address: str | None = client[0] if client else None
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode("latin-1")
        self.surface = endpoint.surface
        self.encoder: Encoder | None = None
        self.interrupted: str | None = None
        self.client_seconds = 0.0
        self.answer_headers: Mapping[str, str] = {}
        self.status = 0
        self._limits = endpoint.limits
        self._receive = receive
        self._send = send
        self._cycle: Cycle | None = (scope.get("extensions") or {}).get(CYCLE)
        self._out: Output
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._undelivered = False  # the client disconnected before it had read everything
        self._begun = False  # the head was written
        self._ended = False
        self._events = False  # the response is an event stream
        self._content = False  # the answer has reached its commit point
        self._comment_timer: asyncio.TimerHandle | None = None
        self._early_timer: asyncio.TimerHandle | None = None

    async def serve(self, pipeline: RunCall) -> None:
        """Run the call in this task; a disconnect cancels it."""
        cycle = self._cycle
        self._task = asyncio.current_task() if cycle is None else cycle.task
        if cycle is not None:
            cycle.on_gone = self._gone
            self._out = cycle
        else:
            self._out = AsgiOutput(self._send, self._limits.write_stall, self._gone)
        self.write = self._out.write
        try:
            try:
                await pipeline.run(self)
            except ProxyError as error:
                await self._fail(error)
        except asyncio.CancelledError:
            if self.interrupted is None or self._task is None or self._task.uncancel():
                raise
            if self.interrupted == "draining":
                leaving = Unavailable("The server is shutting down.", code="draining", retry_after=1.0)
                leaving.headers = dict(self.answer_headers)
                await self._fail(leaving)
        finally:
            self._ended = True
            self._task = None
            if cycle is not None:
                cycle.on_gone = None
            for timer in (self._early_timer, self._comment_timer):
                if timer is not None:
                    timer.cancel()
            for task in self._tasks:
                task.cancel()

    async def read(self) -> bytes:
        """Return the body. Raises `RequestTooLarge` or `RequestTimeout`; a client's disconnect cancels the call."""
        cycle = self._cycle
        if cycle is not None and (body := cycle.whole_body()) is not None:
            self._limits.check(self.headers, len(body))
            return body
        began = self._loop.time()
        try:
            body = await read_body(self._receive, self.headers, self._limits)
        except ClientGone:
            self.interrupt("client_closed")
            await asyncio.Event().wait()  # until the cancellation arrives
            raise
        finally:
            self.client_seconds += self._loop.time() - began
        if cycle is None:
            self._spawn(self._watch())
        return body

    @property
    def delivering(self) -> bool:
        """Whether there is data that the client has not received yet."""
        return self._undelivered or self._out.delivering

    def interrupt(self, why: str) -> None:
        """End the call early, for the reason `client_closed` or `draining`."""
        if self.interrupted is None and self._task is not None and not (self._ended and why == "draining"):
            self.interrupted = why
            self._task.cancel()

    def expect_stream(self, headers: Callable[[], Headers]) -> None:
        """Open the stream early, with `headers`, if it is silent for `server.early_comments`."""
        if self._limits.early_comments:
            self._early_timer = self._loop.call_later(self._limits.early_comments, self._open_early, headers)

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Write a whole response."""
        self._begin(status, headers, len(body))
        rest = len(body) - PIECE
        if rest > 0:
            for at in range(0, rest, PIECE):
                if not self.write(body[at : at + PIECE]):
                    await self.drain()
            body = body[-(len(body) % PIECE or PIECE) :]
        self._ended = True
        if not self._out.finish(body):
            await self.drain()

    async def begin_stream(self, status: int, headers: Headers, *, events: bool) -> None:
        """Begin a streamed response. Raises `UpstreamError` if it was opened early as events and has none."""
        self._content = True
        if self._begun:
            if not events:
                raise UpstreamError("The target did not answer with a stream of events.")
            return
        self._events = events
        self._begin(status, headers)
        if events and self._limits.keep_alive:
            self._comment_later(self._limits.keep_alive)

    async def drain(self) -> None:
        """Wait until the client accepts more data."""
        began = self._loop.time()
        try:
            await self._out.drain()
        finally:
            self.client_seconds += self._loop.time() - began

    async def end_stream(self) -> None:
        """End a streamed response."""
        self._ended = True
        if not self._out.finish(b""):
            await self.drain()

    async def _fail(self, error: ProxyError) -> None:
        """Write the error: as the response or, if a stream has begun, as its last event."""
        if self._ended:
            return
        if not self._begun:
            error.headers = {"x-router-id": self.id, "x-request-id": self.request_id, **error.headers}
            self._begun = self._ended = True
            await send_error(error, self._send, self.surface.error(error))
        elif self._events:
            last = self.surface.event(error) if self.encoder is None else self.encoder.fail(error)
            self._out.write(last)
            await self.end_stream()
        # Otherwise the response stays unfinished and the server closes the connection: it must not appear complete.

    def _begin(self, status: int, headers: Headers, length: int | None = None) -> None:
        self._begun = True
        self.status = status
        if self._early_timer is not None:
            self._early_timer.cancel()
        self._out.start(status, headers, length)

    def _gone(self) -> None:
        """The client has disconnected, or has read nothing for `server.write_stall`."""
        self._undelivered = self._out.delivering
        self.interrupt("client_closed")

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone()

    def _open_early(self, headers: Callable[[], Headers]) -> None:
        """Open a stream that has no content yet, so that intermediaries do not time out."""
        if self._begun or self._ended:
            return
        self._events = True
        self._begin(200, [*headers(), (b"content-type", b"text/event-stream; charset=utf-8")])
        self._comment()

    def _comment_later(self, seconds: float) -> None:
        self._comment_timer = self._loop.call_later(seconds, self._comment_if_silent)

    def _comment_if_silent(self) -> None:
        """Write a comment if the stream has been silent for long enough."""
        silence = self._longest_silence()
        if self._ended or not silence:
            return
        left = silence - (self._loop.time() - self._out.last_write)
        if left > 0:
            self._comment_later(left)
        else:
            self._comment()

    def _comment(self) -> None:
        if not self._out.delivering and not self.write(self._keep_alive()):
            self._spawn(self._out.drain())
        if silence := self._longest_silence():
            self._comment_later(silence)

    def _keep_alive(self) -> bytes:
        """Return what clients ignore: an event only within an answer that has begun, else a comment."""
        keep_alive = self.surface.keep_alive
        return COMMENT if self.encoder is None and keep_alive.startswith(b"event") else keep_alive

    def _longest_silence(self) -> float:
        """Return the seconds after which a silent stream gets a comment; 0: never."""
        if self._content:
            return self._limits.keep_alive
        return min(self._limits.early_comments, self._limits.keep_alive or self._limits.early_comments)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the call until the exchange ends."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
