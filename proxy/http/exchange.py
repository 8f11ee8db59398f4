"""One HTTP exchange: arrival in, reply out, and the client's disappearance noticed at any moment.

A plain ASGI callable. A watcher waits for `http.disconnect` beside the call and cancels it, so that the upstream's
connection is closed at once; a stream that we must leave ends with an error event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing

import anyio
from anyio.abc import TaskGroup
from starlette.types import Message, Receive, Scope, Send

from proxy.arrival import ReadCall
from proxy.core.clock import Clock
from proxy.core.errors import ProxyError, Unavailable, UpstreamError
from proxy.core.wire import Reply
from proxy.http.callers import Callers
from proxy.http.errors import send_error
from proxy.http.ids import Ids
from proxy.http.protocol import ABORT
from proxy.http.reading import ClientGone, Limits, read_body
from proxy.pipeline import Pipeline
from proxy.surfaces.headers import sane_id

COMMENT = b": keep-alive\n\n"  # no event, as the standard for server-sent events has it
PIECE = 256 * 1024  # bytes given to the server at once, which waits for the client before it takes the next


class Exchange:
    """The endpoint of a proxied path."""

    def __init__(
        self, pipeline: Pipeline, read_call: ReadCall, limits: Limits, ids: Ids, callers: Callers, clock: Clock
    ) -> None:
        self._pipeline = pipeline
        self._read_call = read_call
        self._limits = limits
        self._ids = ids
        self._callers = callers
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        run = _Run(self._read_call, scope, receive, send, self._limits, self._ids.new(), self._callers, self._clock)
        try:
            await self._serve(run)
        finally:
            run.close()

    async def _serve(self, run: _Run) -> None:
        async with anyio.create_task_group() as group:
            run.watch_in(group)
            with run.scope:
                try:
                    async with self._pipeline.open(run) as reply:
                        await run.send(reply)
                except ProxyError as error:
                    await run.fail(error)
            if run.interrupted == "draining":
                leaving = Unavailable("The server is shutting down.", code="draining", retry_after=1.0)
                leaving.headers = run.answer_headers
                await run.fail(leaving)
            group.cancel_scope.cancel()


class _Run:
    """What one exchange knows: the `Arrival` that the pipeline reads, and the way back."""

    def __init__(
        self,
        read_call: ReadCall,
        scope: Scope,
        receive: Receive,
        send: Send,
        limits: Limits,
        own_id: str,
        callers: Callers,
        clock: Clock,
    ) -> None:
        self.read_call = read_call
        self.headers: Mapping[str, str] = _joined(scope["headers"])
        self.caller = callers.name(self.headers, scope)
        self.id = own_id
        self.request_id = sane_id(self.headers.get("x-request-id")) or own_id
        self.interrupted: str | None = None
        self.client_seconds = 0.0
        self.answer_headers: dict[str, str] = {}
        self.scope = anyio.CancelScope()
        self._abort: Callable[[], None] = (scope.get("extensions") or {}).get(ABORT, lambda: None)
        self._receive = receive
        self._send = send
        self._limits = limits
        self._clock = clock
        self._group: TaskGroup | None = None
        self._begun = False
        self._ended = False
        self._events = False
        self._content = False  # the answer has reached its commit point
        self._opened: asyncio.Event | None = None  # the head was sent before that, or is being sent
        self._going_out = 0  # messages that the client has not taken yet: a piece of the answer, a comment
        self._last_out = 0.0  # monotonic seconds
        self._stalled_since = 0.0  # monotonic seconds: since when the oldest of these waits, or the last was taken
        self._stall_timer: asyncio.TimerHandle | None = None

    @property
    def delivering(self) -> bool:
        """Something is on its way out, or was when the call ended."""
        return self._going_out > 0

    def watch_in(self, group: TaskGroup) -> None:
        """Watch for the client's leaving in `group`, as soon as its request is read."""
        self._group = group

    def interrupt(self, why: str) -> None:
        """End the call early."""
        if self.interrupted is None and not self._ended:
            self.interrupted = why
            self.scope.cancel()

    def expect_stream(self, headers: Callable[[], Mapping[str, str]]) -> None:
        """Open the stream early, with `headers`, if it is silent for `server.early_comments`."""
        if self._limits.early_comments and self._group is not None:
            self._group.start_soon(self._open_early, headers)

    async def read(self) -> bytes:
        """The body. Raises `RequestTooLarge` or `RequestTimeout`; a client that leaves cancels the call."""
        began = self._clock.monotonic()
        try:
            return await self._read()
        finally:
            self.client_seconds += self._clock.monotonic() - began

    async def send(self, reply: Reply) -> None:
        """Send a reply as it comes."""
        async with aclosing(reply.chunks) as chunks:
            if not reply.stream:
                body = b"".join([chunk async for chunk in chunks])
                await self._begin(reply.status, {**reply.headers, "content-length": str(len(body))})
                last = len(body) - len(body) % PIECE
                for at in range(0, last, PIECE):
                    await self._out({"type": "http.response.body", "body": body[at : at + PIECE], "more_body": True})
                await self._end(body[last:])
                return
            await self._begin_stream(reply)
            async for chunk in chunks:
                await self._out({"type": "http.response.body", "body": chunk, "more_body": True})
            await self._end()

    async def fail(self, error: ProxyError) -> None:
        """Tell the client, by an answer or, where one has begun, by the last event of its stream."""
        if self._ended:
            return
        if self._opened is not None:
            await self._opened.wait()
        if not self._begun:
            error.headers = {"x-router-id": self.id, "x-request-id": self.request_id, **error.headers}
            self._begun = self._ended = True
            await send_error(error, self._send)
        elif self._events:
            await self._out({"type": "http.response.body", "body": error.event(), "more_body": True})
            await self._end()
        # Otherwise the answer stays unfinished and the server drops the connection: half of it must not look whole.

    async def _read(self) -> bytes:
        try:
            body = await read_body(self._receive, self.headers, self._limits)
        except ClientGone:
            self.interrupt("client_closed")
            await anyio.sleep_forever()  # the call ends here
        if self._group is not None:
            self._group.start_soon(self._watch)
        return body

    async def _watch(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.interrupt("client_closed")
                return

    async def _begin_stream(self, reply: Reply) -> None:
        """Send the head of a stream, unless it was opened early."""
        events = reply.headers.get("content-type", "").startswith("text/event-stream")
        if self._opened is not None:
            await self._opened.wait()
            if not events:
                raise UpstreamError("The target did not answer with a stream of events.")
            self._content = True
            return
        self._events, self._content = events, True
        await self._begin(reply.status, reply.headers)
        if events and self._group is not None and self._limits.keep_alive:
            self._group.start_soon(self._comments)

    async def _open_early(self, headers: Callable[[], Mapping[str, str]]) -> None:
        """Open a stream that has no content yet, so that nothing in front gives it up."""
        await self._clock.wait_for(asyncio.Event(), self._limits.early_comments)
        if self._begun or self._ended:
            return
        self._opened, self._events = asyncio.Event(), True
        await self._begin(200, {**headers(), "content-type": "text/event-stream; charset=utf-8"})
        await self._out({"type": "http.response.body", "body": COMMENT, "more_body": True})
        self._opened.set()
        await self._comments()

    async def _comments(self) -> None:
        """A comment whenever a stream has been silent for long: nothing on the way must take it for dead."""
        never = asyncio.Event()  # the group ends this task with the stream
        while not self._ended and (pause := self._silence()):
            silent = self._clock.monotonic() - self._last_out
            if silent < pause or self.delivering:
                await self._clock.wait_for(never, max(pause - silent, 0.05))
            else:
                await self._out({"type": "http.response.body", "body": COMMENT, "more_body": True})

    def _silence(self) -> float:
        """How long the stream may be silent now; 0: for ever."""
        if self._content:
            return self._limits.keep_alive
        return min(self._limits.early_comments, self._limits.keep_alive or self._limits.early_comments)

    async def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self._begun = True
        raw = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._out({"type": "http.response.start", "status": status, "headers": raw})

    async def _end(self, body: bytes = b"") -> None:
        self._ended = True
        await self._out({"type": "http.response.body", "body": body, "more_body": False})

    async def _out(self, message: Message) -> None:
        """Send. While the client does not take it, `_check_stall` watches how long that lasts."""
        began = self._clock.monotonic()
        if not self._going_out:
            self._stalled_since = began
        self._going_out += 1
        if self._stall_timer is None:
            self._watch_stall(self._limits.write_stall)
        await self._send(message)
        self._going_out -= 1
        self._last_out = self._stalled_since = now = self._clock.monotonic()
        self.client_seconds += now - began

    def _watch_stall(self, seconds: float) -> None:
        self._stall_timer = asyncio.get_running_loop().call_later(seconds, self._check_stall)

    def _check_stall(self) -> None:
        """A client that has read nothing for `server.write_stall` is treated as gone; one timer serves all messages."""
        self._stall_timer = None
        left = self._limits.write_stall - (self._clock.monotonic() - self._stalled_since)
        if not self._going_out:
            return
        if left > 0:
            self._watch_stall(left)
            return
        self.interrupted = self.interrupted or "client_closed"
        self._abort()  # what waits for the client goes on, and finds it gone
        self.scope.cancel()

    def close(self) -> None:
        """End the timer."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name; what comes several times is one list (RFC 9110 section 5.3)."""
    found: dict[str, str] = {}
    for raw, text in headers:
        name, value = raw.decode("latin-1"), text.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
