"""One request and its response on a connection of `protocol.py`: ASGI's `send`, and the direct output of `output.py`.

Replaces uvicorn's `RequestResponseCycle.send` and depends on its other parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

_field = b"%b: %b\r\n".__mod__


class Cycle(RequestResponseCycle):
    """One request and its response.

    The exchange uses `start`, `write` and `finish`; other endpoints use `send`, which calls them. The head is sent
    with the first bytes of the body, in one write.
    """

    on_leaving: Callable[[], None] | None = None

    def __init__(self, protocol: HttpToolsProtocol, *, keep_alive: bool) -> None:
        super().__init__(
            scope=protocol.scope,
            transport=protocol.transport,
            flow=protocol.flow,
            logger=protocol.logger,
            access_logger=protocol.access_logger,
            access_log=False,
            default_headers=protocol.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=protocol.expect_100_continue,
            keep_alive=keep_alive,
            on_response=protocol.on_response_complete,
        )
        self.on_gone: Callable[[], None] | None = None
        self.task: asyncio.Task[Any] | None = None
        self.last_write = 0.0  # time of the last write of the body, in seconds of the event loop's clock
        self._time = protocol.loop.time
        self._head = b""
        self._left: int | None = None  # remaining bytes of a body of known length

    @property
    def delivering(self) -> bool:
        """Whether the write buffer for the client is full."""
        return self.flow.write_paused and not self.disconnected

    async def drain(self) -> None:
        """Wait until the write buffer has space, or the client has disconnected."""
        if self.delivering:
            await self.flow.drain()

    def whole_body(self) -> bytes | None:
        """Return the request's body if all of it has arrived, else `None`."""
        if self.more_body or self.disconnected or self.waiting_for_100_continue:
            return None
        body, self.body = bytes(self.body), bytearray()
        return body

    def take_over(self) -> asyncio.Transport:
        """Return the connection, for another protocol than HTTP; the request has no response any more."""
        self.response_started = True
        outlet: Any = self.transport
        connection: asyncio.Transport = outlet.socket
        return connection

    def gone(self) -> None:
        """Report that the connection ended before the client has received the whole response."""
        if self.on_gone is not None:
            self.on_gone()
        self.disconnected = True
        self.task, self.scope["extensions"] = None, {}  # breaks reference cycles

    def start(self, status: int, headers: Sequence[tuple[bytes, bytes]], length: int | None = None) -> None:
        """Begin the response; `length` is the size of its body, `None` if unknown. The head is sent with the body."""
        self.response_started = True
        self.waiting_for_100_continue = False
        fields = [*map(_field, self.default_headers), *map(_field, headers)]
        bodiless = self.scope["method"] == "HEAD" or status in (204, 304)
        if length is not None:
            fields.append(b"content-length: %d\r\n" % length)
        elif not bodiless and self.scope["http_version"] == "1.1":
            self.chunked_encoding = True
            fields.append(b"transfer-encoding: chunked\r\n")
        elif not bodiless:
            self.keep_alive = False  # HTTP/1.0 has no chunks: the end of the connection ends the body
        if not self.keep_alive:
            fields.append(b"connection: close\r\n")
        head = b"".join(fields)
        if head.count(b"\n") != len(fields) or head.count(b"\r") != len(fields):
            raise RuntimeError("a response header contains a line break")
        self._left = 0 if bodiless else length
        self._head = b"%b%b\r\n" % (STATUS_LINE[status], head)

    def write(self, data: bytes) -> bool:
        """Write a piece of the body. Return whether the write buffer has space."""
        if self.disconnected or not data:
            return True
        if self.chunked_encoding:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data, self._head = self._head + data, b""
        self.last_write = self._time()
        self.transport.write(data)
        return not self.flow.write_paused

    def finish(self, data: bytes = b"") -> bool:
        """Write the last piece of the body, which may be empty. Return whether the write buffer has space."""
        if self.disconnected:
            return True
        if self.chunked_encoding:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            self.transport.write(data)
        self.response_complete = True
        self.task, self.scope["extensions"] = None, {}  # breaks reference cycles
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return not self.flow.write_paused

    def _start_by(self, message: Any) -> None:
        """Begin the response of an `http.response.start` message."""
        length, headers = None, []
        for name, value in message["headers"]:
            if name.lower() == b"content-length":
                length = int(value)
            elif name.lower() == b"connection" and value.lower() == b"close":
                self.keep_alive = False
            else:
                headers.append((name.lower(), value))
        self.start(message["status"], headers, length)

    async def send(self, message: Any) -> None:
        """Write one ASGI message. Raises `RuntimeError` if it is not valid in this state."""
        await self.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._start_by(message)
            return
        if self.response_complete:
            raise RuntimeError("the response is already complete")
        body = b"" if self.scope["method"] == "HEAD" else message.get("body", b"")
        if self._left is not None:
            self._left -= len(body)
        more = message.get("more_body", False)
        if self._left is not None and (self._left < 0 or (self._left and not more)):
            raise RuntimeError("the response's body is not as long as its content-length")
        if not more:
            self.finish(body)
        elif body:
            self.write(body)
