"""One HTTP exchange: reads the request, and writes the response while watching for the client's disconnect.

A plain ASGI callable. With `http/protocol.py` the response goes straight to the connection, which also reports a
disconnect; with another server it goes through `send`, and a task waits for `http.disconnect`. Either way a disconnect
cancels the call, so that the upstream's connection is closed at once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from proxy.admission.credentials import joined
from proxy.arrival import Arrival, Detached
from proxy.core.errors import ProxyError, Unavailable, UpstreamError
from proxy.http.errors import send_error
from proxy.http.forwarded import Client, Forwarded
from proxy.http.output import CYCLE, AsgiOutput, Output
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


class Ids:
    """Ids of requests, unique across processes: `req_` with a random prefix of this process and a counter."""

    def __init__(self) -> None:
        prefix = secrets.token_hex(8)
        self.new: Callable[[], str] = map(f"req_{prefix}%08x".__mod__, count(1)).__next__


class Endpoint:
    """The endpoint of a proxied path."""

    def __init__(self, pipeline: RunCall, surface: Surface, limits: Limits, ids: Ids) -> None:
        self.pipeline = pipeline
        self.surface = surface
        self.limits = limits
        self.ids = ids

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, as an ASGI application."""
        out: Output | None = (scope.get("extensions") or {}).get(CYCLE)
        if out is None:
            out = AsgiOutput(receive, send, self.limits.write_stall)
        headers, query = joined(scope["headers"]), scope["query_string"].decode("latin-1")
        return Exchange(self, out, headers, scope.get("client"), scope["path"], query).serve()


@dataclass(frozen=True, slots=True)
class Direct:
    """The requests that need no ASGI application: those to `endpoints` for `hosts`, by clients that are no browsers."""

    endpoints: Mapping[bytes, Endpoint]  # of `POST`, by path
    hosts: set[str] = field(default_factory=set)  # values of `Host` that `Guard` has accepted
    forwarded: Forwarded | None = None
    headers: Headers = b""  # of all responses

    def handler(
        self, url: bytes, headers: Mapping[str, str], client: Client | None, out: Output
    ) -> Coroutine[Any, Any, None] | None:
        """Return what serves a `POST` request, or `None`. `headers` have lower-case names, and none was repeated."""
        path, _, query = url.partition(b"?")
        endpoint = self.endpoints.get(path)
        browser = "origin" in headers or "sec-fetch-site" in headers
        if endpoint is None or browser or b"#" in query:
            return None
        if self.forwarded is None:
            host = headers.get("host")
        else:
            client, host = self.forwarded.seen(client, headers)
        if host not in self.hosts:
            return None
        return Exchange(endpoint, out, headers, client, path.decode("ascii"), query.decode("latin-1")).serve()


class Exchange:
    """One request and its response: the `Arrival` that the pipeline reads from and writes to.

    Attributes of the class are the initial values of those of an instance.
    """

    history = 0
    detached: Detached | None = None
    encoder: Encoder | None = None
    interrupted: str | None = None
    client_seconds = 0.0
    answer_headers: Mapping[str, str] = MappingProxyType({})
    status = 0
    _task: asyncio.Task[Any] | None = None
    _tasks: set[asyncio.Task[None]] | None = None  # beside the call
    _undelivered = False  # the client disconnected before it had read everything
    _begun = False  # the head was written
    _ended = False
    _events = False  # the response is an event stream
    _content = False  # the answer has reached its commit point
    _comment_timer: asyncio.TimerHandle | None = None
    _early_timer: asyncio.TimerHandle | None = None

    def __init__(
        self, endpoint: Endpoint, out: Output, headers: Mapping[str, str], client: Client | None, path: str, query: str
    ) -> None:
        self.headers = headers
        self.id = self.request_id = endpoint.ids.new()
        if "x-request-id" in headers:
            self.request_id = sane_id(headers["x-request-id"]) or self.id
        self.address: str | None = client[0] if client else None
        self.path = path
        self.query = query
        self.surface = endpoint.surface
        self.write = out.write
        self._limits = endpoint.limits
        self._pipeline = endpoint.pipeline
        self._out = out
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> None:
        """Run the call in this task; a disconnect cancels it."""
        out = self._out
        self._task = out.task or asyncio.current_task()
        out.on_gone = self._gone
        try:
            try:
                await self._pipeline.run(self)
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
            self._task = out.on_gone = None
            if self._early_timer is not None:
                self._early_timer.cancel()
            if self._comment_timer is not None:
                self._comment_timer.cancel()
            for task in self._tasks or ():
                task.cancel()

    async def read(self) -> bytes:
        """Return the body. Raises `RequestTooLarge` or `RequestTimeout`; a client's disconnect cancels the call."""
        out = self._out
        if (body := out.whole_body()) is not None:
            limits = self._limits
            if len(body) > limits.max_body or "content-encoding" in self.headers:
                limits.check(self.headers, len(body))
            return body
        began = self._loop.time()
        try:
            body = await read_body(out.receive, self.headers, self._limits)
        except ClientGone:
            self.interrupt("client_closed")
            await asyncio.Event().wait()  # until the cancellation arrives
            raise
        finally:
            self.client_seconds += self._loop.time() - began
        if not out.reports_disconnect:
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
        if len(body) <= PIECE:
            self._begun = self._ended = True
            self.status = status
            if not self._out.answer(status, headers, body):
                await self.drain()
            return
        self._begin(status, headers, len(body))
        for at in range(0, len(body) - PIECE, PIECE):
            if not self.write(body[at : at + PIECE]):
                await self.drain()
        self._ended = True
        if not self._out.finish(body[-(len(body) % PIECE or PIECE) :]):
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
            await send_error(error, self._out.send, self.surface.error(error))
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
        while (await self._out.receive())["type"] != "http.disconnect":
            pass
        if not self._out.response_complete:  # servers also report the end of a complete response so
            self._gone()

    def _open_early(self, headers: Callable[[], Headers]) -> None:
        """Open a stream that has no content yet, so that intermediaries do not time out."""
        if self._begun or self._ended:
            return
        self._events = True
        self._begin(200, headers() + b"content-type: text/event-stream; charset=utf-8\r\n")
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
        tasks = self._tasks = self._tasks or set()
        task = self._loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
