"""HTTP server protocol: uvicorn's, with limits on size and time for all data that clients send.

The parser gets one message at a time. A head is buffered until it is complete, with a size limit and a deadline.
Unsupported `Upgrade` headers (h2c, which Java's client sends with every POST) are ignored (RFC 9110 section 7.8).
`framing.py` finds the end of the body; later bytes are buffered until the response is complete. If the body is still
arriving when its response is complete, it is read and dropped for a while: closing earlier resets the connection, and
the client loses the response. Errors have OpenAI's shape, and are never written into a response that has begun.
`cycle.py` writes the response. Depends on internals of `uvicorn.protocols.http.httptools_impl`.
"""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxy.core.errors import HeadTooLarge, InvalidRequest, ProxyError, RequestTimeout, UriTooLong
from proxy.http.cycle import Cycle
from proxy.http.framing import Chunks, Framing, Length, length_of
from proxy.http.output import CYCLE
from proxy.surfaces.openai.errors import error_body

MAX_HEAD = 64 * 1024
MAX_LINE = 16 * 1024  # of the request line
MAX_BLANK = 8  # bytes of empty lines before a request
DROP_ROUNDS = (
    6  # rounds of half a `header_timeout` for which a slow body is dropped; a silent one is dropped for one round
)
DROP_RATE = 64 * 1024  # bytes per second; a slower body is slow
DROP_BYTES = 256 * 1024 * 1024
FLUSH = 30.0  # seconds for a closing connection to send buffered data
WRITE_BUFFER = 32 * 1024  # buffered bytes for a slow client above which the response pauses; the default is twice that
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.I)
_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 414: b"URI Too Long", 431: b"Request Header Fields Too Large"}


class Protocol(HttpToolsProtocol):
    """One connection. `header_timeout` and `write_stall`, in seconds, are set by `protocol_class`."""

    header_timeout = 10.0
    write_stall = 60.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._socket = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._buffer = bytearray()  # not parsed yet: part of a head, or pipelined requests
        self._searched = 0  # bytes of the buffer that do not contain the end of a head
        self._blank = 0
        self._framing: Framing | None = None  # of the body that is being read
        self._headed = False  # the parser has read the head
        self._whole = True  # the parser has read the message
        self._closing = False
        self._dropped = 0
        self._drop_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        # the transport for uvicorn's code, whose `close` is that of this protocol
        outlet: Any = SimpleNamespace(
            socket=transport,
            write=transport.write,
            abort=transport.abort,
            get_extra_info=transport.get_extra_info,
            pause_reading=transport.pause_reading,
            resume_reading=transport.resume_reading,
            close=self._close,
            is_closing=self._is_closing,
        )
        super().connection_made(outlet)
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(self.header_timeout, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        for timer in (self._deadline, self._drop_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        cycle: Any = self.cycle  # None before the first request
        if cycle is not None and (self.flow.write_paused or not cycle.response_complete):
            cycle.gone()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # after a reset, uvicorn would keep the connection until the timer ends

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_timer = self.loop.call_later(
            self.write_stall, self._check_stall, self._socket.get_write_buffer_size()
        )

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_stall()
        if self._buffer:
            self.loop.call_soon(self._next_message)

    def _check_stall(self, before: int) -> None:
        """Abort the connection if the client has read nothing since `before` bytes were buffered."""
        waiting = self._socket.get_write_buffer_size()
        if waiting >= before:
            self._socket.abort()
        else:
            self._stall_timer = self.loop.call_later(self.write_stall, self._check_stall, waiting)

    def _stop_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def data_received(self, data: bytes) -> None:
        if self._closing:
            self._drop(data)
        elif self._framing is not None:
            self._body(data, self._framing)
        else:
            self._buffer += data
            self._next_message()

    def on_headers_complete(self) -> None:
        if self.url[:1] not in (b"/", b"*"):
            self._check_authority()
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        target = httptools.parse_url(self.url)
        raw_path = target.path or b"/"  # `http://host` has none
        path = raw_path.decode("ascii")
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        scope["query_string"] = target.query or b""
        self._headed = True
        if version < "1.1":
            self.expect_100_continue = False
        # after an early response to `Expect: 100-continue` it is unknown whether the client sends the body
        keep_alive = version >= "1.1" and parser.should_keep_alive() and not self.expect_100_continue
        self.cycle = cycle = Cycle(self, keep_alive=keep_alive)
        self.headers = []  # trailers, which are not used
        scope["extensions"] = {CYCLE: cycle}  # type: ignore[dict-item]
        cycle.task = task = self.loop.create_task(cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._whole = True
        if self.flow.read_paused:
            self.flow.resume_reading()  # or the client's disconnect would not be noticed while the call runs

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._closing or self._socket.is_closing():
            return
        self.flow.resume_reading()
        self._await_request()
        if self._framing is not None:
            self._dropped = 0
            self._start_dropping(DROP_ROUNDS)
        elif self._buffer:
            self.loop.call_soon(self._next_message)

    def _await_request(self) -> None:
        """Close the connection if no request arrives within the time for which it is kept alive."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def shutdown(self) -> None:
        super().shutdown()
        cycle = self._running()
        if cycle is not None and cycle.on_leaving is not None:
            cycle.on_leaving()
        if self._closing:
            self._finish()  # the end of the process does not wait for a body that is dropped

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidRequest("The request is not valid HTTP."))

    def _next_message(self) -> None:
        """Pass the next message to the parser, if its head is complete and the client has taken the last response."""
        if self._closing or self._framing is not None or not self._buffer:
            return
        cycle: Any = self.cycle  # None before the first request
        if (cycle is not None and not cycle.response_complete) or self.flow.write_paused:
            if len(self._buffer) > MAX_HEAD:
                self.flow.pause_reading()
            return
        self._unset_keepalive_if_required()
        if self._buffer[0] in b"\r\n":
            self._skip_blank_lines()
        end = self._buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if 0 <= end <= MAX_LINE and self._blank <= MAX_BLANK:
            self._head(end + 4)
            return
        self._searched = len(self._buffer)
        if error := self._head_error(end):
            self._refuse(error)
        elif end >= 0:
            self._head(end + 4)
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.header_timeout, self._too_late)

    def _skip_blank_lines(self) -> None:
        length = len(self._buffer)
        self._buffer = self._buffer.lstrip(b"\r\n")
        self._blank += length - len(self._buffer)
        self._searched = 0

    def _head_error(self, end: int) -> ProxyError | None:
        """Return the error of the head in the buffer, if any; it ends at `end`, or is incomplete (-1)."""
        if self._blank > MAX_BLANK:
            return InvalidRequest("The request is not valid HTTP: too many empty lines before it.")
        size = end if end >= 0 else len(self._buffer)
        if size > MAX_LINE and self._buffer.find(b"\r\n", 0, MAX_LINE) < 0:
            return UriTooLong(f"The request line is longer than {MAX_LINE} bytes.")
        if size > MAX_HEAD:
            return HeadTooLarge(f"The request's headers are larger than {MAX_HEAD} bytes.")
        return None

    def _head(self, end: int) -> None:
        """Parse a complete head, and the data after it."""
        head, rest = bytes(self._buffer[:end]), bytes(self._buffer[end:])
        self._buffer.clear()
        self._searched = self._blank = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._headed = self._whole = False
        super().data_received(_UPGRADE.sub(b"\r\nx-upgrade:", head))
        if self._closing:
            return
        if not self._headed:
            self.send_400_response("")
            return
        if not self._whole:
            length = length_of(self.scope["headers"])
            if rest and length == len(rest):  # the whole body came with the head
                super().data_received(rest)
                return
            self._framing = Chunks() if length is None else Length(length)
            if rest:
                self._body(rest, self._framing)
        elif rest:
            self.data_received(rest)

    def _check_authority(self) -> None:
        """A target such as `http://host/path` must name the host that `Host` names (RFC 9112 section 3.2.2).

        Raises `ValueError`, which the parser reports as a bad request.
        """
        authority = self.url.partition(b"://")[2].partition(b"/")[0].lower()
        if any(name == b"host" and value.lower() != authority for name, value in self.headers):
            raise ValueError("the target and `Host` differ")

    def _body(self, data: bytes, framing: Framing) -> None:
        """Parse a piece of a body; data beyond its end is buffered."""
        if self._drop_timer is not None:
            self._dropped += len(data)
        try:
            end = framing.end(data)
        except ProxyError as error:
            self._refuse(error)
            return
        super().data_received(data if end is None else data[:end])
        if end is None or self._closing:
            return
        if not self._whole:
            self.send_400_response("")
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
            self._close()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, error: ProxyError) -> None:
        """Write the error and close the connection; if a response has begun, complete that one instead."""
        self._framing, self._whole = None, False
        if (cycle := self._running()) is not None:
            if cycle.response_started:
                cycle.keep_alive = False
                self.flow.pause_reading()
                return
            cycle.gone()
            cycle.message_event.set()
        body = error_body(error)
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self._socket.write(head % (error.http_status, _REASONS[error.http_status], len(body)) + body)
        self._close()

    def _running(self) -> Cycle | None:
        """The cycle whose response is not complete, or `None`."""
        cycle: Any = self.cycle  # None before the first request
        return None if cycle is None or cycle.response_complete else cycle

    def _is_closing(self) -> bool:
        return self._closing or self._socket.is_closing()

    def _close(self) -> None:
        """Close the connection: immediately if the request was read completely, else after dropping its body."""
        if self._closing:
            return
        self._closing = True
        self._stop_deadline()
        if self._whole and not self._buffer:
            self._finish()
        elif not self._socket.is_closing():
            self.flow.resume_reading()
            self._socket.write_eof()
            self._stop_dropping()
            self._start_dropping(DROP_ROUNDS)

    def _drop(self, data: bytes) -> None:
        """Drop data after the response; finish at the end of the message, if that is known."""
        self._dropped += len(data)
        try:
            end = self._framing.end(data) if self._framing is not None else None
        except ProxyError:
            self._framing = end = None
        if end is not None or self._dropped > DROP_BYTES:
            self._finish()

    def _start_dropping(self, rounds: int) -> None:
        pause = self.header_timeout / 2
        self._drop_timer = self.loop.call_later(pause, self._check_dropping, self._dropped, rounds)

    def _check_dropping(self, before: int, rounds: int) -> None:
        """Finish if the body has paused for a round, or takes too long."""
        received = self._dropped - before
        slow = received < DROP_RATE * self.header_timeout / 2
        if not received or self._dropped > DROP_BYTES or (slow and rounds <= 1):
            self._closing = True
            self._finish()
        else:
            self._start_dropping(rounds - slow)

    def _stop_dropping(self) -> None:
        if self._drop_timer is not None:
            self._drop_timer.cancel()
            self._drop_timer = None

    def _finish(self) -> None:
        self._stop_dropping()
        self._socket.close()
        if self._socket.get_write_buffer_size():
            self.loop.call_later(FLUSH, self._socket.abort)


def protocol_class(header_timeout: float, write_stall: float) -> type[Protocol]:
    """Return the protocol with a deadline for request heads and for clients that read nothing, in seconds."""
    return type("Protocol", (Protocol,), {"header_timeout": header_timeout, "write_stall": write_stall})
