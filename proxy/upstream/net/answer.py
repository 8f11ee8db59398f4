"""Incremental parser of one HTTP/1.1 answer. No I/O.

Everything but the body has a size limit: heads, blank lines, 1xx answers, chunk framing and trailers. An answer that
exceeds a limit or is not valid HTTP sets `fault`, an `UpstreamFailure`.

Source: RFC 9112 (framing), RFC 9110 section 15.2 (1xx answers).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httptools

from proxy.core.failures import UpstreamFailure
from proxy.upstream.net.faults import broken_off, not_http

MAX_HEAD = (
    64 * 1024
)  # bytes of names and values in one head; also the limit for consecutive bytes that are not part of a body
MAX_HEADERS = 256  # in one head with its trailers
MAX_INTERIM = 100  # 1xx answers: some servers send one every few seconds while they work

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_KEEP_ALIVE = re.compile(r"(?:^|[, ])timeout ?= ?([0-9]{1,6})(?![0-9])", re.IGNORECASE)


class _Stop(Exception):
    """Ends parsing from inside a callback. `fault` has the reason, unless the answer is complete."""


class Answer:
    """The state of one answer. `feed` parses bytes, `take` returns the body.

    `ready`: the head has been parsed; `complete`: the body has too. On a complete answer, `reusable` is true if the
    connection can carry another request. `fault` is set at most once, and never on a complete answer.
    """

    __slots__ = (
        "_body",
        "_count",
        "_fields",
        "_interim",
        "_not_body",
        "_size",
        "_until_close",
        "began",
        "complete",
        "error",
        "fault",
        "full",
        "headers",
        "on_body",
        "parser",
        "ready",
        "reusable",
        "sink",
        "size",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}  # lower-case names; values of equal names are joined by `, `
        self.began = False
        self.ready = False
        self.complete = False
        self.reusable = False
        self.fault: UpstreamFailure | None = None
        self.size = 0  # bytes of the body that have not been taken
        self.sink: Callable[[bytes], bool] | None = None  # receives the body as it arrives, once it is set
        self.full = False  # `sink` returned False: it accepts no more data for now
        self.error: Exception | None = None  # raised by `sink`
        self._body: list[bytes] = []
        self.on_body = self._body.append  # called by the parser
        self._fields: list[tuple[bytes, bytes]] = []
        self._count = 0  # headers and trailers
        self._size = 0  # bytes of their names and values
        self._interim = 0
        self._not_body = 0  # bytes since the last byte of the body
        self._until_close = False
        self.parser: Any = httptools.HttpResponseParser(self)  # refers to this object, until the exchange ends
        # Accept control characters in values: such a header is dropped later, instead of rejecting the answer.
        self.parser.set_dangerous_leniencies(lenient_headers=True)

    def feed(self, data: bytes | memoryview) -> None:
        """Parse the next bytes. Must not be called after a fault or after the end."""
        self.began = True
        pieces = self._body
        before = len(pieces)
        try:
            self.parser.feed_data(data)
        except (_Stop, httptools.HttpParserError) as exc:
            if self.complete:
                self.reusable = False  # extra bytes after the answer could be mistaken for the next answer
            elif self.fault is None:
                self.fault = not_http(str(exc))
        if len(pieces) == before:
            self._not_body += len(data)
            if self._not_body > MAX_HEAD and not self.complete and self.fault is None:
                self.fault = not_http("too many bytes outside the body")
            return
        self._not_body = 0
        if self.sink is None:
            self.size += sum(map(len, pieces[before:]))
            return
        try:
            self.full = not self.sink(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        except Exception as exc:
            self.error = exc  # nothing may be raised into the event loop
        pieces.clear()

    def take(self) -> bytes:
        """Return the received part of the body that was not returned before."""
        pieces = self._body
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.size = 0
        return data

    def end(self, failure: UpstreamFailure | None = None) -> None:
        """Handle the end of the connection, which completes a body of unknown length unless `failure` is given."""
        if self.complete or self.fault is not None:
            return
        if self.ready and self._until_close and failure is None:
            self.complete = True
        else:
            self.fault = failure or broken_off(began=self.began)

    @property
    def keep_alive(self) -> float | None:
        """The upstream's timeout for idle connections in seconds, or `None` if it did not send one."""
        match = _KEEP_ALIVE.search(self.headers.get("keep-alive", ""))
        return float(match[1]) if match else None

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        if self.complete:
            raise _Stop
        self._fields.clear()  # of a preceding 1xx answer
        self._count = self._size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        self._size += len(name) + len(value)
        if self._count > MAX_HEADERS or self._size > MAX_HEAD:
            self._stop("too many headers" if self._count > MAX_HEADERS else "the head is too large")
        if not self.ready:  # trailers are counted, but not stored
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if 100 <= status < 200:  # without a body, as the parser ensures
            self._interim += 1
            if status == 101 or self._interim > MAX_INTERIM:
                self._stop("switched protocols" if status == 101 else "too many 1xx answers")
            return
        if status < 100:
            self._stop("invalid status code")
        headers: dict[str, str] = {}
        for raw_name, raw_value in self._fields:
            name, value = raw_name.decode("latin-1").lower(), raw_value.strip(b" \t").decode("latin-1")
            if value.isprintable() or not _CONTROL.search(value):
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        coding = headers.get("transfer-encoding")
        if coding is not None and coding.strip().lower() != "chunked":
            self._stop("a transfer coding other than chunked")
        self._until_close = coding is None and "content-length" not in headers
        self.status, self.headers, self.ready = status, headers, True

    def on_message_complete(self) -> None:
        if self.ready:
            self.complete = True
            self.reusable = self.parser.should_keep_alive()

    def _stop(self, reason: str) -> None:
        self.fault = not_http(reason)
        raise _Stop
