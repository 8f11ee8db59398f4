"""One connection to an origin: an asyncio protocol, and the target of the callbacks of its HTTP/1.1 parser.

It carries one exchange at a time, which passes through the states

    IDLE       no exchange: the connection is in its pool, or closed
    WAITING    no byte of the answer has come; a new connection begins here, because some upstreams answer before they
               receive a request (overloaded load balancers, for example)
    BEGUN      a part of the head has come
    READY      the head has come: `status` and `headers`; `body` has what came of the body
    COMPLETE   the whole answer has come

`fault` ends an exchange that does not get to `COMPLETE`. Everything but the body has a size limit: heads, blank lines,
1xx answers, chunk framing and trailers.

Reading pauses while more than `HIGH_WATER` bytes of an answer are buffered. A large request is written in pieces, as
fast as the upstream reads it; meanwhile its answer can already be read.

Source: RFC 9112 (framing), RFC 9110 section 15.2 (1xx answers).
"""

from __future__ import annotations

import asyncio
import re
import select
import ssl
from collections.abc import Callable
from typing import Any, cast

import httptools

from proxy.core.failures import UpstreamFailure
from proxy.upstream.net.faults import lost, not_http

IDLE, WAITING, BEGUN, READY, COMPLETE = range(5)
_NO_ANSWER = (IDLE, COMPLETE)  # states in which bytes belong to no answer

READ_SIZE = 16 * 1024  # bytes per read
HIGH_WATER = 16 * 1024  # buffered bytes of an answer above which reading pauses
WRITE_SIZE = 64 * 1024  # bytes of a request per write
MAX_HEAD = 64 * 1024  # consecutive bytes that are not part of a body
MAX_HEADERS = 256  # in one head; also the limit for the lines between two pieces of a body, or behind it
MAX_INTERIM = 100  # 1xx answers: some servers send one every few seconds while they work

_NEVER_SENT = memoryview(b"")  # marks a request that is not sent completely: `release` then closes the connection
_CONTROL = r"\x00-\x08\x0a-\x1f\x7f"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_VALUES = re.compile(f"[{_CONTROL}]")
_FIELD = re.compile(rf"\r\n([!#$%&'*+.^_`|~0-9A-Za-z-]++):[ \t]*+((?:[^{_CONTROL}]*[^{_CONTROL} \t])?)[ \t]*+(?=\r\n)")


class _Stop(Exception):
    """Ends parsing from inside a callback. `fault` has the reason, unless the answer is complete."""


class Connection(asyncio.BufferedProtocol):
    """All connections share one read buffer.

    `on_lost` is called when an idle connection ends; `on_session` gets the TLS session of a connection after its first
    complete answer.
    """

    def __init__(
        self,
        buffer: memoryview,
        on_lost: Callable[[Connection], None],
        on_session: Callable[[ssl.SSLSession | None], None] | None = None,
    ) -> None:
        self.state = WAITING
        self.status = 0
        self.headers: dict[str, str] = {}  # lower-case names; values of equal names are joined by `, `
        self.body: list[bytes] = []  # pieces of the body that have not been taken
        self.size = 0  # bytes that came with these pieces
        self.reusable = False  # of a complete answer: whether another one may follow
        self.fault: UpstreamFailure | None = None
        self.sink: Callable[[bytes], bool] | None = None  # receives the body as it arrives, once it is set
        self.full = False  # `sink` returned False: it accepts no more data for now
        self.error: Exception | None = None  # raised by `sink`
        self.closed = False
        self.reading = True  # False while `pause` holds
        self._buffer = buffer
        self._on_lost = on_lost
        self._on_session = on_session
        self._transport: asyncio.Transport
        self._poll = select.poll()
        self._served = False  # has completed an answer
        self._waiter: asyncio.Future[None] | None = None
        self._writing = True
        self._rest: memoryview | None = None  # the part of the request that was not written yet
        self._head = b""  # the bytes of a head that is not complete, or what came with its end
        self._outside = 0  # bytes since the last byte of the body
        self._lines = 0  # lines since then, without those of the head
        self._interim = 0  # 1xx answers
        self._until_close = False
        self.on_body = self.body.append  # called by the parser
        self._parser: Any = httptools.HttpResponseParser(self)  # refers to this object, until the connection is closed
        # Accept control characters in values: such a header is dropped later, instead of rejecting the answer.
        self._parser.set_dangerous_leniencies(lenient_headers=True)

    def send(self, head: bytes, content: bytes) -> None:
        """Begin an exchange, which has the connection until `release`."""
        if self.state == IDLE and len(content) <= WRITE_SIZE:
            self.state = WAITING
            self._transport.write(head + content)
        elif not self.closed:
            if self.state > WAITING:
                self._rest = _NEVER_SENT  # the answer may belong to no request, so the connection is not reused
            elif len(content) > WRITE_SIZE:
                content, self._rest = content[:WRITE_SIZE], memoryview(content)[WRITE_SIZE:]
            self.state = max(self.state, WAITING)
            self._transport.write(head + content)
            self._write_rest()

    def progress(self) -> asyncio.Future[None]:
        """Return a future that is done when more of the answer has arrived, or when it has ended."""
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        return waiter

    def take(self) -> bytes:
        """Return the received part of the body that was not returned before, and resume reading."""
        body = self.body
        data = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        self.size = 0
        if not self.reading:
            self.resume()
        return data

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self.reading and not self.closed:
            self.reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        """Resume reading, if it was paused."""
        if not self.reading and not self.closed:
            self.reading = True
            self._transport.resume_reading()

    def detach(self) -> None:
        """Hand nothing more to `sink`."""
        self.sink = self.error = None
        self.full = False

    def release(self) -> bool:
        """End the exchange. Returns True if the connection can be reused; otherwise it is closed."""
        state, self.state = self.state, IDLE
        self._head = b""
        if self.sink is not None:
            self.detach()
        if self.closed:
            return False
        if state == COMPLETE:
            if not self._served:
                self._served = True
                if self._on_session is not None:
                    self._on_session(self._transport.get_extra_info("ssl_object").session)
            if self.reusable and self._rest is None and not self._transport.get_write_buffer_size():
                if self.body or not self.reading:
                    self.take()  # what the exchange did not read
                return True
        self.abort()
        return False

    @property
    def silent(self) -> bool:
        """Whether the connection is open and its socket has no data to read."""
        return not self.closed and not self._transport.is_closing() and not self._poll.poll(0)

    def close(self) -> None:
        """Close an idle connection, with a TLS shutdown."""
        self.closed = True
        self._parser = None
        self._transport.close()

    def abort(self) -> None:
        """Close immediately, discarding buffered data."""
        self.closed = True
        self._parser = self._rest = None
        self._transport.abort()

    # Callbacks of the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_SIZE)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        before = self.state
        if self.closed or before in _NO_ANSWER:
            self._lose(None)
            return
        data, body = self._buffer[:nbytes], self.body
        if before < READY:
            self.state = BEGUN
            self._head += data
        pieces = len(body)
        try:
            self._parser.feed_data(data)
        except (_Stop, httptools.HttpParserError) as exc:
            self._stopped(exc)
        if len(body) == pieces:
            self._count_framing(data if before >= READY else self._head, nbytes)
        else:
            self.size += nbytes
            self._outside = 0
        if self.fault is not None:
            self.abort()
        elif self.state < READY or (self.sink is not None and not self._deliver(self.sink)):
            return
        elif self.size > HIGH_WATER and self.state != COMPLETE:
            self.pause()
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def eof_received(self) -> bool:
        self._lose(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(exc)

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        self._write_rest()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        if self.state == COMPLETE:
            raise _Stop

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        head, end, self._head = self._head.lstrip(b"\r\n").partition(b"\r\n\r\n")
        if not end or len(head) > MAX_HEAD:
            self._stop("the head has no empty line at its end" if not end else "the head is too large")
        text = head.decode("latin-1") + "\r\n"
        if status < 200:
            self._pass_interim(status, text)
            return
        headers = {name.lower(): value for name, value in _FIELD.findall(text)}
        if not len(headers) == text.count("\n") - 1 <= MAX_HEADERS:
            headers = self._read_lines(text)
        self._until_close = False
        if "content-length" not in headers or "transfer-encoding" in headers:
            self._read_framing(headers.get("transfer-encoding"))
        self.status, self.headers, self.state = status, headers, READY
        self._interim = 0
        if self._rest is not None and status >= 300:
            self._rest = _NEVER_SENT  # the upstream has rejected the request before reading all of it

    def on_message_complete(self) -> None:
        if self.state == READY:
            self.state = COMPLETE
            self.reusable = self._parser.should_keep_alive()

    def _pass_interim(self, status: int, text: str) -> None:
        """Skip a 1xx answer, which has no body, as the parser ensures."""
        self._read_lines(text)  # so that the next head begins where the parser sees it
        if status < 100:
            self._stop("invalid status code")
        self._interim += 1
        if status == 101 or self._interim > MAX_INTERIM:
            self._stop("switched protocols" if status == 101 else "too many 1xx answers")

    def _read_framing(self, coding: str | None) -> None:
        """Note where the body of an answer without a length ends."""
        if coding is not None and coding.strip().lower() != "chunked":
            self._stop("a transfer coding other than chunked")
        self._until_close = coding is None

    def _read_lines(self, text: str) -> dict[str, str]:
        """Return the headers of a head line by line: names may repeat, lines be folded, values have control characters.

        The parser also accepts some heads with other ends of lines, in which it sees other headers than its caller.
        """
        first, *lines, _ = re.split(r"\r\n(?![ \t])", text)
        if len(lines) > MAX_HEADERS:
            self._stop("too many headers")
        if "\r" in first:
            self._stop("the first line of the head is folded")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = re.sub(r"\r\n[ \t]+", " ", line).partition(":")
            if not _NAME.fullmatch(name) or "\r" in value or "\n" in value:
                self._stop("the head has a line that is no header")
            name, value = name.lower(), value.strip(" \t")
            if not _NOT_IN_VALUES.search(value):
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    def _stopped(self, error: Exception) -> None:
        """Note why the parser has stopped."""
        if self.state == COMPLETE:
            self.reusable = False  # extra bytes after the answer could be mistaken for the next answer
        elif self.fault is None:
            self.fault = not_http(str(error))

    def _stop(self, reason: str) -> None:
        self.fault = not_http(reason)
        raise _Stop

    # Parts of the above.

    def _deliver(self, sink: Callable[[bytes], bool]) -> bool:
        """Hand what came to `sink`. Returns whether the exchange has to act: at the end, or if `sink` takes no more."""
        body = self.body
        if body:
            try:
                self.full = not sink(body[0] if len(body) == 1 else b"".join(body))
            except Exception as exc:
                self.error = exc  # nothing may be raised into the event loop
            body.clear()
            self.size = 0
        if self.state == COMPLETE:
            return True
        if not self.full and self.error is None:
            return False
        self.pause()
        return True

    def _count_framing(self, data: bytes | memoryview, nbytes: int) -> None:
        """Limit what comes outside of a body; `data` is what came behind the head."""
        if self._outside == 0:
            self._lines = 0
        self._outside += nbytes
        if self.state >= READY:
            self._lines += bytes(data).count(b"\n")
        if self._lines > MAX_HEADERS or (self._outside > MAX_HEAD and self.state != COMPLETE):
            self.state = min(self.state, READY)
            self.fault = self.fault or not_http("too many bytes outside the body")
        elif self.state == COMPLETE:
            self._outside = 0

    def _write_rest(self) -> None:
        """Write more of the request, until the write buffer is full."""
        while self._rest and self._writing and not self.closed:
            piece, self._rest = self._rest[:WRITE_SIZE], self._rest[WRITE_SIZE:] or None
            self._transport.write(piece)

    def _lose(self, error: Exception | None) -> None:
        """Close the connection after its end, or after invalid data, and end its answer."""
        if self.closed:
            return
        self.abort()
        state = self.state
        if state == IDLE:
            self._on_lost(self)
            return
        if state == READY and self._until_close and error is None:
            self.state = COMPLETE
        elif state != COMPLETE:
            self.fault = lost(error, began=state > WAITING, stale=self._served)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
