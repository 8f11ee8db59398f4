"""HTTP server protocol: one connection, with limits on size and time for all data that clients send.

The parser (httptools) gets one message at a time. A head is buffered until it is complete, with a size limit and a
deadline. Unsupported `Upgrade` headers (h2c, which Java's client sends with every POST) are ignored (RFC 9110 section
7.8). The end of a body is found here, by its length or by `framing.py`; later bytes are buffered until the response is
complete. Errors have OpenAI's shape, and are never written into a response that has begun.

Calls that `Direct` knows go to their endpoint at once, all other requests through the ASGI application. `cycle.py`
writes the response. A task handles the requests of a connection one after another.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Coroutine
from typing import Any

import httptools
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from proxy.admission.credentials import joined
from proxy.core.errors import InvalidRequest, ProxyError, RequestTimeout
from proxy.http.connection import DROP_ROUNDS, Connection, Framing, Length
from proxy.http.cycle import Cycle
from proxy.http.errors import whole_response
from proxy.http.exchange import Direct
from proxy.http.framing import Chunks, check_coding
from proxy.http.head import MAX_HEAD, MAX_LINE, Names, fields_of, head_error, scope_of
from proxy.http.output import CYCLE

SMALL_BODY = 64 * 1024  # bytes of a body that usually arrives soon after its head; its request waits for it
SOON = 0.01  # seconds
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.I)
_LOG = logging.getLogger(__name__)

Handler = Coroutine[Any, Any, None]


class Protocol(Connection):
    """One connection. `header_timeout`, `write_stall` (both in seconds) and `names` are set by `protocol_class`."""

    __slots__ = (
        *("_app", "_app_state", "_blank", "_client", "_connections", "_cycle", "_deadline", "_direct", "_fields"),
        *("_headed", "_idle_since", "_keep_alive", "_next", "_parser", "_persistent", "_running", "_searched"),
        *("_server", "_start_timer", "_tasks", "_urls", "_waiting", "idle_timer", "on_header", "on_url", "state"),
    )
    names: Names

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__()
        app: Any = config.loaded_app
        self._app: ASGIApp = app
        self._app_state = app_state
        self._direct: Direct = getattr(config.app, "direct", None) or Direct({})
        self._connections: set[Any] = server_state.connections
        self._tasks: set[Any] = server_state.tasks
        self.state = server_state
        self._keep_alive = config.timeout_keep_alive
        self._fields: dict[bytes, bytes] = {}  # of the head that was parsed last, without repeated ones
        self._urls: list[bytes] = []  # the target of that head
        self.on_header, self.on_url = self._fields.setdefault, self._urls.append  # for the parser: no Python code runs
        self._parser: Any = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._headed = False  # the parser has read the head
        self._persistent = False  # the client wants to send more requests
        self._searched = 0  # bytes of the buffer that do not contain the end of a head
        self._blank = 0
        self._cycle: Cycle | None = None  # of the last request
        self._running: Cycle | None = None  # of the request whose response is not complete
        self._next: asyncio.Future[tuple[Cycle, Handler] | None] | None = None  # that a task waits for
        self._waiting: tuple[Cycle, Handler] | None = None  # the request, if it waits for a small body
        self._start_timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None  # of a head
        self.idle_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._server, self._client = get_local_addr(transport), get_remote_addr(transport)
        self._connections.add(self)
        self._deadline = self.loop.call_later(self.header_timeout, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._stop_deadline()
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        if self._cycle is not None and (self.write_paused or self._running is not None):
            self._cycle.gone()
        self._start()
        super().connection_lost(exc)
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._cycle = self._parser = None  # breaks reference cycles

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._buffer:
            self.loop.call_soon(self._next_message)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            self._drop(data)
        elif self._framing is not None:
            self._body(data, self._framing)
        else:
            waits = self._buffer or self._blank or self._running is not None or self.write_paused
            end = -1 if waits else data.find(b"\r\n\r\n")
            if 0 <= end <= MAX_LINE and data[0] not in b"\r\n":  # a whole head, as usual
                self._head(data[: end + 4], data[end + 4 :])
            else:
                self._buffer += data
                self._next_message()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._headed = True
        self._persistent = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        cycle = self._running
        if cycle is not None and cycle.more_body:
            cycle.take_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._whole = True
        cycle = self._running
        if cycle is not None and cycle.more_body:
            cycle.end_body()
            if self._waiting is not None:
                self._start()
        if self._read_paused:
            self.resume_reading()  # or the client's disconnect would not be noticed while the call runs

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        self._running = None
        if self._closing or self.transport.is_closing():
            return
        if self._read_paused:
            self.resume_reading()
        self._await_request()
        if self._framing is not None:
            self._dropped = 0
            self._start_dropping(DROP_ROUNDS)
        elif self._buffer:
            self.loop.call_soon(self._next_message)

    def _await_request(self) -> None:
        """Close the connection if no request arrives within the time for which it is kept alive."""
        self._idle_since = self.loop.time()
        if self.idle_timer is None:
            self.idle_timer = self.loop.call_later(self._keep_alive, self._check_idle)

    def _check_idle(self) -> None:
        self.idle_timer = None
        if self._running is not None or self._buffer or self._framing is not None:
            return  # armed again after the response
        left = self._idle_since + self._keep_alive - self.loop.time()
        if left > 0:
            self.idle_timer = self.loop.call_later(left, self._check_idle)
        else:
            self.close()

    def shutdown(self) -> None:
        """Close the connection because the server ends, after a response that is not complete."""
        cycle = self._running
        if cycle is None:
            self.close()
        else:
            cycle.keep_alive = False
            if cycle.on_leaving is not None:
                cycle.on_leaving()
        if self._closing:
            self._finish()  # the end of the process does not wait for a body that is dropped

    def close(self) -> None:
        self._stop_deadline()
        super().close()

    def _next_message(self) -> None:
        """Parse the next message of the buffer, if its head is complete and the client has taken the last response."""
        if self._closing or self._framing is not None or not self._buffer:
            return
        if self._running is not None or self.write_paused:
            if len(self._buffer) > MAX_HEAD:
                self.pause_reading()
            return
        if self._buffer[0] in b"\r\n":
            self._skip_blank_lines()
        end = self._buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if error := head_error(self._buffer, end, self._blank):
            self._refuse(error)
        elif end >= 0:
            head, rest = bytes(self._buffer[: end + 4]), bytes(self._buffer[end + 4 :])
            self._buffer.clear()
            self._searched = self._blank = 0
            self._head(head, rest)
        else:
            self._searched = len(self._buffer)
            if self._deadline is None:
                self._deadline = self.loop.call_later(self.header_timeout, self._too_late)

    def _skip_blank_lines(self) -> None:
        length = len(self._buffer)
        self._buffer = self._buffer.lstrip(b"\r\n")
        self._blank += length - len(self._buffer)
        self._searched = 0

    def _head(self, head: bytes, rest: bytes) -> None:
        """Parse a complete head, and the data after it."""
        self._stop_deadline()
        if b"\r\nupgrade" in head.lower():
            head = _UPGRADE.sub(b"\r\nx-upgrade:", head)
        self._fields.clear()
        self._urls.clear()
        self._headed = self._whole = False
        if not self._parse(head):
            return
        try:
            cycle, handler, length = self._request(head)
        except InvalidRequest as error:
            self._refuse(error)
            return
        except (httptools.HttpParserError, ValueError):
            self._refuse_invalid()
            return
        self._cycle = self._running = cycle
        if self._whole or length == len(rest):
            self._handle_soon(cycle, handler)
            if self._whole and rest:
                self.data_received(rest)
            elif rest:  # the whole body came with the head
                cycle.body, cycle.more_body = rest, False
                self._parse(rest)
            return
        self._framing = Chunks() if length is None else Length(length)
        if length is None or length > SMALL_BODY or cycle.waiting_for_100_continue:
            self._handle_soon(cycle, handler)
        else:
            self._waiting = cycle, handler
            self._start_timer = self.loop.call_later(SOON, self._start)
        if rest:
            self._body(rest, self._framing)

    def _parse(self, data: bytes) -> bool:
        """Pass data to the parser. Return whether it is valid; otherwise the request is refused."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # `CONNECT`
        except httptools.HttpParserError:
            self._refuse_invalid()
            return False
        return True

    def _request(self, head: bytes) -> tuple[Cycle, Handler, int | None]:
        """Return the request whose `head` was parsed, its handler, and the length of its body: `None` if chunked.

        Raises `ValueError` or `HttpParserError` if it is not valid, `InvalidRequest` for transfer codings.
        """
        if not self._headed:
            raise ValueError("the head is not complete")
        parser, names, url = self._parser, self.names, b"".join(self._urls)
        method, version = parser.get_method(), parser.get_http_version()
        cycle = Cycle(self, keep_alive=self._persistent and version >= "1.1")
        headers = {names[name]: value.decode("latin-1") for name, value in self._fields.items()}
        single = len(headers) + 2 == head.count(b"\n")  # no header is repeated
        if "transfer-encoding" in headers:
            check_coding((headers if single else joined(fields_of(head)))["transfer-encoding"], version)
        direct = method == b"POST" and single
        handler = self._direct.handler(url, headers, self._client, cycle) if direct else None
        if handler is not None:
            cycle.more_headers = self._direct.headers
        else:
            fields = [(name.lower(), value) for name, value in self._fields.items()] if single else fields_of(head)
            headers = joined(fields)
            scope = scope_of(method, url, version, fields)
            scope["client"], scope["server"], scope["state"] = self._client, self._server, self._app_state.copy()
            scope["extensions"] = {CYCLE: cycle}
            handler = cycle.run(self._app, scope)
            cycle.bodiless = method == b"HEAD"
        if version < "1.1":
            cycle.chunks = False
        elif "expect" in headers and headers["expect"].lower() == "100-continue":
            # after an early response it is unknown whether the client sends the body
            cycle.waiting_for_100_continue, cycle.keep_alive = True, False
        length = None if "transfer-encoding" in headers else int(headers.get("content-length", "0"))
        cycle.more_body = not self._whole
        return cycle, handler, length

    def _start(self) -> None:
        """Let the request be handled that waits for its body."""
        if self._waiting is not None and self._start_timer is not None:
            self._start_timer.cancel()
            (cycle, handler), self._waiting = self._waiting, None
            self._handle_soon(cycle, handler)

    def _handle_soon(self, cycle: Cycle, handler: Handler) -> None:
        """Let `handler` handle the request: in the task that waits for one, or in a new task."""
        waiting, self._next = self._next, None
        if waiting is None or waiting.done():  # its task was cancelled
            task = self.loop.create_task(self._handle(cycle, handler))
            self._tasks.add(task)  # uvicorn waits for these before it ends
            task.add_done_callback(self._tasks.discard)
        else:
            waiting.set_result((cycle, handler))

    async def _handle(self, cycle: Cycle, handler: Handler) -> None:
        """Handle a request, and then others of this connection."""
        task: asyncio.Task[Any] | None = asyncio.current_task()
        assert task is not None
        request: tuple[Cycle, Handler] | None = (cycle, handler)
        while request is not None:
            cycle, handler = request
            cycle.task = task
            try:
                await handler
            except Exception:  # the next requests of the connection do not depend on it
                _LOG.exception("internal error while handling a request")
            finally:
                if not (cycle.response_complete or cycle.disconnected):
                    cycle.abandon()
            while task.cancelling():
                task.uncancel()
            if self._closing or self._next is not None:
                return
            del cycle, handler, request  # no more memory than necessary while the connection is idle
            self._next = self.loop.create_future()
            request = await self._next

    def _body(self, data: bytes, framing: Framing) -> None:
        """Parse a piece of a body; data beyond its end is buffered."""
        if self._drop_timer is not None:
            self._dropped += len(data)
        try:
            end = framing.end(data)
        except ProxyError as error:
            self._refuse(error)
            return
        self._parse(data if end is None else data[:end])
        if end is None or self._closing:
            return
        if not self._whole:
            self._refuse_invalid()
            return
        self._framing = None
        if self._drop_timer is not None:  # the response was complete before its request
            self._stop_dropping()
            self._await_request()
        if end < len(data):
            self._buffer += data[end:]
            self._next_message()

    def _too_late(self) -> None:
        if self._buffer:
            self._refuse(RequestTimeout(f"The request's headers were not received within {self.header_timeout:g} s."))
        else:
            self.close()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse_invalid(self) -> None:
        self._refuse(InvalidRequest("The request is not valid HTTP."))

    def _refuse(self, error: ProxyError) -> None:
        """Write the error and close the connection; if a response has begun, complete that one instead.

        An error in a body after its response only closes the connection: each request has one response.
        """
        self._framing, self._whole = None, False
        if (cycle := self._running) is not None:
            if cycle.response_started:
                cycle.keep_alive = False
                self.pause_reading()
                return
            cycle.gone()
        if self._drop_timer is None:
            self.transport.write(whole_response(error))
        self.close()


def protocol_class(header_timeout: float, write_stall: float) -> type[Protocol]:
    """Return the protocol with a deadline for request heads and for clients that read nothing, in seconds."""
    values = {"__slots__": (), "header_timeout": header_timeout, "write_stall": write_stall, "names": Names()}
    return type("Protocol", (Protocol,), values)
