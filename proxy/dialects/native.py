"""Decoders of answers that pass to a client of the same API: what the three native dialects have in common.

Bytes are relayed as they came, in whole events or as one body. A subclass reads the events to find the commit point,
the end, the usage and the upstream's own errors. Nothing is invented, and nothing follows an error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from proxy.core.dialects import NativeFormat
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import object_of
from proxy.core.sse import DONE, Events, EventTooLarge, data_of
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds
from proxy.dialects.error_details import bare_json, error_event
from proxy.dialects.held import HeldAnswer

HELD_LIMIT = 8 * 1024 * 1024  # bytes of a stream before its commit point
_BLANK = b" \t\r\n\xef\xbb\xbf"  # white space, and the byte order mark
_LINE_ENDS = 4  # bytes of two line ends at most


class NativeEvents(ABC):
    """Relays the events of one answer; a subclass keeps `committed`, `complete` and `closed`.

    `complete`: the answer is whole. `closed`: nothing more is expected. `fault`: the upstream's own error after the
    commit point, with its event. `text_bytes`: of the texts that were relayed, for an estimate of their tokens.
    """

    passed_error = False  # an error behind a complete answer is not relayed
    _limit = HELD_LIMIT  # also of one event

    def __init__(self, bounds: UsageBounds = UNBOUNDED) -> None:
        self._events = Events(self._limit)
        self._partial = self._events.partial
        self._bounds = bounds
        self._body: bytearray | None = None  # of an answer that is not a stream
        self._begun = False
        self._held = 0  # bytes before the commit point
        self.committed = self.complete = self.closed = False
        self.fault: UpstreamFailure | None = None
        self.usage: Usage | None = None
        self.native_finish: str | None = None
        self.text_bytes = 0

    @property
    def finish_reason(self) -> str | None:
        """The provider's own finish reason."""
        return self.native_finish

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that `chunk` completes. Raises `UpstreamFailure` for bytes that are no events."""
        if not self.committed:
            self._hold(chunk)
        if self._body is not None:
            self._body += chunk
            return b""
        if not self._partial and self.committed and not self.closed and self._is_plain(chunk):
            return chunk
        try:
            events = self._events.feed(chunk)
        except EventTooLarge as exc:
            raise self._broken(f"cannot be read: {exc}") from exc
        out: list[bytes] = []
        for event in events:
            try:
                kept = self._take(event)
            except UpstreamFailure as failure:
                failure.partial = b"".join(out) if self.committed else b""
                raise
            if kept:
                out.append(event)
        return b"".join(out)

    def finish(self) -> bytes:
        """Return a last event without its empty line. Raises `UpstreamFailure` if the answer is not complete."""
        rest = self._events.rest()
        if self.fault is not None:
            return b""
        if self._body is not None:
            raise self._failure_of_body(bytes(self._body))
        rest = self._last(rest) if rest.strip() else rest if not self.closed else b""
        self._end()
        if not self.complete:
            raise self._broken("ended without a finish")
        self.committed = True
        return rest

    def _hold(self, chunk: bytes) -> None:
        """Bound what is held before the commit point, and detect a body that is no stream by its first byte."""
        self._held += len(chunk)
        if self._held > self._limit:
            raise self._broken(f"has no content in {self._limit} bytes")
        if not self._begun:
            head = chunk.lstrip(_BLANK)
            self._begun = bool(head)
            if head[:1] in (b"{", b"[", b"<"):
                self._body = bytearray()

    def _take(self, event: bytes) -> bool:
        """Read one event. Returns whether the client gets it."""
        if len(event) <= _LINE_ENDS:
            return not self.closed
        data = data_of(event)
        if data is None or not data.strip():
            return self._take_bare(event)
        if data.strip() == DONE:  # ends a client's stream, so it must not come before the answer's end
            return self.complete and self.fault is None
        if self.closed:
            return False
        value = object_of(data)
        if value is None:
            if self.complete:
                return False
            raise self._broken("has an event that is not a JSON object")
        if self._is_error(value) or error_event(event):
            return self._failed(value, event, data)
        self._read(value)
        return True

    def _take_bare(self, event: bytes) -> bool:
        """Read a comment or a keep-alive; or an error without the name of a field, which no client would see."""
        value = bare_json(event)
        if isinstance(value, dict) and self._is_error(value):
            if self.complete:
                return False
            failure = self._failure(value, b"")
            raise self._after_commit(failure) if self.committed else failure
        return self.fault is None

    def _last(self, rest: bytes) -> bytes:
        """Return what the client gets of an event without its empty line: all of it or nothing.

        An error is not passed on: without the line no client would see it.
        """
        data = data_of(rest)
        if self.complete and (data is None or object_of(data) is None):
            return b""
        kept = self._take(rest)
        if self.fault is not None:
            raise self.fault
        return rest if kept else b""

    def _failed(self, value: dict[str, Any], event: bytes, data: bytes) -> bool:
        """Take the upstream's own error: a failure before the commit point, after it the end of the stream."""
        if self.complete:
            return False
        failure = self._failure(value, data)
        if not self.committed:
            raise failure
        self.fault = self._after_commit(failure)
        self.fault.event = event
        self.closed = True
        return False

    def _after_commit(self, failure: UpstreamFailure) -> UpstreamFailure:
        """Return the failure as one of a stream that has begun."""
        broken = UpstreamFailure(FailureKind.BROKEN_STREAM, str(failure), status=failure.status, code=failure.code)
        broken.format = failure.format
        return broken

    def _failure_of_body(self, body: bytes) -> UpstreamFailure:
        """Return the failure of a body that came instead of events."""
        value = object_of(body)
        if value is not None and self._is_error(value):
            return self._failure(value, body)
        what = "came without a stream" if value is not None else "is not a stream of events"
        return UpstreamFailure(FailureKind.MALFORMED, f"the upstream's answer {what}")

    def _broken(self, what: str) -> UpstreamFailure:
        kind = FailureKind.BROKEN_STREAM if self.committed else FailureKind.MALFORMED
        return UpstreamFailure(kind, f"the upstream's answer {what}")

    def _end(self) -> None:  # noqa: B027, most answers have an end of their own
        """Note that the body has ended, which may complete the answer."""

    def _is_plain(self, chunk: bytes) -> bool:
        """Read a chunk if it has ordinary pieces of content only, and return whether it has been read."""
        return False

    @abstractmethod
    def _read(self, value: dict[str, Any]) -> None:
        """Read an event that is no error."""

    @abstractmethod
    def _is_error(self, value: dict[str, Any]) -> bool:
        """Return whether an object is the upstream's own error."""

    @abstractmethod
    def _failure(self, value: dict[str, Any], data: bytes) -> UpstreamFailure:
        """Return the failure of an error that came with status 200; `data` are the bytes of `value`."""


class NativeBody(HeldAnswer, ABC):
    """An answer that is not streamed, passed on as it came once it is whole."""

    _wanted = "an answer"

    def __init__(self, bounds: UsageBounds = UNBOUNDED) -> None:
        super().__init__(bounds)
        self.text_bytes = 0

    def finish(self) -> bytes:
        """Return the whole body. Raises `UpstreamFailure` if it is empty, not JSON, an error, or another answer."""
        body = bytes(self._held)
        value = object_of(body)
        if value is None:
            what = "is not a JSON object" if body.strip() else "is empty"
            raise UpstreamFailure(FailureKind.MALFORMED, f"the upstream's answer {what}")
        if self._is_error(value):
            raise self._failure(value, body)
        if not self._fits(value):
            raise UpstreamFailure(FailureKind.MALFORMED, f"the upstream's answer is not {self._wanted}")
        self._read(value)
        self.text_bytes = len(body) if self.usage is None else 0
        self.committed = self.complete = self.closed = True
        return body

    @abstractmethod
    def _fits(self, value: dict[str, Any]) -> bool:
        """Return whether an object is an answer."""

    @abstractmethod
    def _read(self, value: dict[str, Any]) -> None:
        """Read usage and finish."""

    @abstractmethod
    def _is_error(self, value: dict[str, Any]) -> bool:
        """Return whether an object is the upstream's own error."""

    @abstractmethod
    def _failure(self, value: dict[str, Any], data: bytes) -> UpstreamFailure:
        """Return the failure of an error that came with status 200."""


def size_of(text: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def kept_error(failure: UpstreamFailure, format: NativeFormat, body: bytes, *, fits: bool) -> UpstreamFailure:
    """Return the failure with the upstream's own body in the client's `format`, if it `fits`."""
    failure.format = format
    failure.native = body if fits else None
    return failure
