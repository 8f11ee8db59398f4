"""uvicorn's HTTP protocol, hardened where clients can harm us or be harmed before a request has become one.

A head is held back until it is whole: so it has a size limit and a deadline, and an `Upgrade` that we do not take (h2c,
which Java's client sends with every POST) is passed over as RFC 9110 section 7.8 has it, instead of losing the body.
What is no HTTP is answered in OpenAI's shape. Leans on `uvicorn.protocols.http.httptools_impl`.
"""

from __future__ import annotations

import asyncio
import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxy.core.errors import HeadTooLarge, InvalidRequest, ProxyError, RequestTimeout, UriTooLong

ABORT = "signalbox.abort"  # the ASGI extension by which a connection is dropped, unsent data and all
MAX_HEAD = 64 * 1024
MAX_LINE = 16 * 1024  # of the request line
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.I)
_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 414: b"URI Too Long", 431: b"Request Header Fields Too Large"}


class Protocol(HttpToolsProtocol):
    """One connection. `header_timeout` is set by `protocol_class`."""

    header_timeout = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head: bytearray | None = bytearray()  # None while the parser is inside a message
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(self.header_timeout, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head is None:
            super().data_received(data)
            return
        self._unset_keepalive_if_required()
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.header_timeout, self._too_late)
        self._head += data
        end = self._head.find(b"\r\n\r\n", max(0, len(self._head) - len(data) - 3))
        if end > MAX_HEAD or (end < 0 and len(self._head) > MAX_HEAD):
            self._refuse_large(bytes(self._head[: MAX_LINE + 1]))
        elif end >= 0:
            whole = bytes(self._head)
            self._head = None
            self._stop_deadline()
            super().data_received(_UPGRADE.sub(b"\r\nx-upgrade:", whole[:end]) + whole[end:])

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = None  # also of a pipelined message, whose head the parser has seen the beginning of
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item]

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head = bytearray()

    def send_400_response(self, msg: str) -> None:
        self._answer(InvalidRequest("What came is not a valid HTTP request."))

    def _refuse_large(self, start: bytes) -> None:
        if b"\r\n" in start:
            self._answer(HeadTooLarge(f"The request's headers are larger than {MAX_HEAD} bytes."))
        else:
            self._answer(UriTooLong(f"The request's line is longer than {MAX_LINE} bytes."))

    def _too_late(self) -> None:
        if self._head:
            self._answer(RequestTimeout(f"The request's headers did not come within {self.header_timeout:g} s."))
        else:
            self.transport.close()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _answer(self, error: ProxyError) -> None:
        """Answer for the whole connection, which ends with it."""
        self._stop_deadline()
        body = error.body()
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (error.http_status, _REASONS[error.http_status], len(body)) + body)
        self.transport.close()


def protocol_class(header_timeout: float) -> type[Protocol]:
    """The protocol with a deadline in seconds for each request's head."""
    return type("Protocol", (Protocol,), {"header_timeout": header_timeout})
