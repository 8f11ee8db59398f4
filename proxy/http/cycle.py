"""One request and its response on a connection of `protocol.py`: the direct output of `output.py`, and ASGI.

The exchange uses `start`, `write` and `finish`; other endpoints use ASGI's `send`, which calls them. The head is sent
with the first bytes of the body, in one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Scope

from proxy.surfaces.headers import Headers, header

if TYPE_CHECKING:
    from proxy.http.protocol import Protocol

MOST_UNREAD = 64 * 1024  # bytes of a request's body that wait to be read before the connection is not read any more
_line = b"%b: %b\r\n".__mod__


class Cycle:
    """One request and its response. Attributes of the class are the initial values of those of an instance."""

    task: asyncio.Task[Any] | None = None  # handles the request
    on_gone: Callable[[], None] | None = None  # called once if the client disconnects before it has the whole response
    on_leaving: Callable[[], None] | None = None  # called when the server is about to close the connection
    reports_disconnect = True
    disconnected = False
    waiting_for_100_continue = False
    bodiless = False  # the method is `HEAD`
    chunks = True  # the client understands them: not HTTP/1.0
    more_headers: Headers = b""  # of the response, besides those of its handler
    body: bytes | bytearray = b""  # of the request, as far as it has arrived and was not read yet
    more_body = True
    response_started = False
    response_complete = False
    last_write = 0.0  # time of the last write of the body, in seconds of the event loop's clock
    _news: asyncio.Event | None = None  # about the request's body or the end of the connection
    _ended = False  # the end of the request's body was read
    _chunked = False
    _head = b""
    _left: int | None = None  # remaining bytes of a body of known length

    def __init__(self, connection: Protocol, *, keep_alive: bool) -> None:
        self._connection = connection
        self._transport = connection.transport
        self.keep_alive = keep_alive

    @property
    def delivering(self) -> bool:
        """Whether the write buffer for the client is full."""
        return self._connection.write_paused and not self.disconnected

    async def drain(self) -> None:
        """Wait until the write buffer has space, or the client has disconnected."""
        if self.delivering:
            await self._connection.writable()

    def take_body(self, data: bytes) -> None:
        """Take a piece of the request's body."""
        if not self.body:
            self.body = data
        elif isinstance(self.body, bytearray):
            self.body += data
        else:
            self.body = bytearray(self.body) + data
        if len(self.body) > MOST_UNREAD:
            self._connection.pause_reading()
        if self._news is not None:
            self._news.set()

    def end_body(self) -> None:
        """Note that the request's body is complete."""
        self.more_body = False
        if self._news is not None:
            self._news.set()

    def whole_body(self) -> bytes | None:
        """Return the request's body if all of it has arrived, else `None`."""
        if self.more_body or self.disconnected or self.waiting_for_100_continue:
            return None
        body, self.body, self._ended = bytes(self.body), b"", True
        return body

    def take_over(self) -> asyncio.Transport:
        """Return the connection, for another protocol than HTTP; the request has no response any more."""
        self.response_started = True
        return self._transport

    def gone(self) -> None:
        """Report that the connection ended before the client has received the whole response."""
        if self.on_gone is not None:
            self.on_gone()
        self.disconnected = True
        self.task = None
        if self._news is not None:
            self._news.set()

    def abandon(self) -> None:
        """End a response that its handler has left incomplete: as an error or, if it has begun, by closing."""
        if self.response_started:
            self._connection.close()
        else:
            text = b"Internal Server Error"
            self.keep_alive = False
            self.answer(500, b"content-type: text/plain; charset=utf-8\r\n", b"" if self.bodiless else text)

    def start(self, status: int, headers: Headers, length: int | None = None) -> None:
        """Begin the response; `length` is the size of its body, `None` if unknown. The head is sent with the body.

        `headers` are lines with their ends, and have neither `content-length` nor `connection`.
        """
        bodiless = self.bodiless or status in (204, 304)
        self._left = 0 if bodiless else length
        last = b""
        if length is not None:
            last = b"content-length: %d\r\n" % length
        elif not bodiless and self.chunks:
            self._chunked = True
            last = b"transfer-encoding: chunked\r\n"
        elif not bodiless:
            self.keep_alive = False  # HTTP/1.0 has no chunks: the end of the connection ends the body
        self._head = self._head_of(status, headers, last)

    def answer(self, status: int, headers: Headers, body: bytes) -> bool:
        """Write a whole response. Return whether the write buffer has space."""
        head = self._head_of(status, headers, b"content-length: %d\r\n" % len(body))
        return True if self.disconnected else self._end(head + body)

    def _head_of(self, status: int, headers: Headers, last: Headers) -> bytes:
        """Return the head of the response, which begins now."""
        self.response_started = True
        self.waiting_for_100_continue = False
        close = b"" if self.keep_alive else b"connection: close\r\n"
        date = b"".join(map(_line, self._connection.state.default_headers))
        return b"%b%b%b%b%b%b\r\n" % (_status_line(status), date, headers, self.more_headers, last, close)

    def write(self, data: bytes) -> bool:
        """Write a piece of the body. Return whether the write buffer has space."""
        if self.disconnected or not data:
            return True
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data, self._head = self._head + data, b""
        connection = self._connection
        self.last_write = connection.loop.time()
        self._transport.write(data)
        return not connection.write_paused

    def finish(self, data: bytes = b"") -> bool:
        """Write the last piece of the body, which may be empty. Return whether the write buffer has space."""
        if self.disconnected:
            return True
        if self._chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        if self._head:
            data, self._head = self._head + data, b""
        return self._end(data)

    def _end(self, data: bytes) -> bool:
        """Write the last bytes of the response, if any. Return whether the write buffer has space."""
        if data:
            self._transport.write(data)
        self.response_complete = True
        self.task = None
        self.body = b""  # the handler may not have read it
        if self._news is not None:
            self._news.set()
        connection = self._connection
        if not self.keep_alive:
            connection.close()
        connection.on_response_complete()
        return not connection.write_paused

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Let an ASGI application handle the request."""
        await app(scope, self.receive, self.send)

    async def receive(self) -> Message:
        """Return the next piece of the request's body, or the client's disconnect, as an ASGI message."""
        if self.waiting_for_100_continue and not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not (self.disconnected or self.response_complete):
            self._connection.resume_reading()
            news = self._news = self._news or asyncio.Event()
            while self._nothing_to_receive():
                news.clear()
                await news.wait()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body, self._ended = bytes(self.body), b"", not self.more_body
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def _nothing_to_receive(self) -> bool:
        waits_for_body = not self.body and (self.more_body or self._ended)
        return waits_for_body and not (self.disconnected or self.response_complete)

    async def send(self, message: Message) -> None:
        """Write one ASGI message. Raises `RuntimeError` if it is not valid in this state."""
        await self.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._start_by(message)
            return
        if self.response_complete:
            raise RuntimeError("the response is already complete")
        body = b"" if self.bodiless else message.get("body", b"")
        if self._left is not None:
            self._left -= len(body)
        more = message.get("more_body", False)
        if self._left is not None and (self._left < 0 or (self._left and not more)):
            raise RuntimeError("the response's body is not as long as its content-length")
        if not more:
            self.finish(body)
        elif body:
            self.write(body)

    def _start_by(self, message: Message) -> None:
        """Begin the response of an `http.response.start` message."""
        length, headers = None, list[Headers]()
        for name, value in message["headers"]:
            if name.lower() == b"content-length":
                length = int(value)
            elif name.lower() == b"connection" and value.lower() == b"close":
                self.keep_alive = False
            else:
                headers.append(header(name.lower(), value))
        self.start(message["status"], b"".join(headers), length)


@lru_cache(100)
def _status_line(status: int) -> bytes:
    try:
        return b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode())
    except ValueError:  # an upstream's own status
        return b"HTTP/1.1 %d \r\n" % status
