"""The decoder of Anthropic answers, streamed or not, fed bytes cut anywhere.

What came decides how it is read: a body that begins with `{` is a whole answer, one that begins with `<` a page, and
everything else is events. A finish is never made up: an end without `stop_reason` is a fault, before the commit point
one that another target can mend, after it one that the client is told.
"""

from __future__ import annotations

from proxy.core.errors import ProxyError, RateLimited, Unavailable, UpstreamError
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import object_of, value_of
from proxy.core.sse import DONE, Events, EventTooLarge, data_of
from proxy.core.usage import Usage
from proxy.dialects.anthropic.answer import Answer, events_of
from proxy.dialects.anthropic.errors import failure_in_200, is_error
from proxy.dialects.upstream_errors import error_event
from proxy.dialects.writer import AnswerWriter

HELD_LIMIT = 8 * 1024 * 1024  # bytes of a stream before the commit point
BODY_LIMIT = 64 * 1024 * 1024
_BLANK = b" \t\r\n\xef\xbb\xbf"  # white space, and the byte order mark


class AnthropicDecoder:
    """One answer; `stream` is what the client asked for."""

    passed_error: bool = False

    def __init__(self, answer: Answer, writer: AnswerWriter, *, stream: bool) -> None:
        self._answer = answer
        self._writer = writer
        self._stream = stream
        self._events: Events | None = None  # None: a body, or nothing has come that tells
        self._body = bytearray()
        self._held = 0
        self._over = False  # the last bytes have been given
        self.fault: UpstreamFailure | None = None

    @property
    def committed(self) -> bool:
        """The client sees something: of a stream its first content, of anything else the whole answer."""
        return self._writer.committed if self._stream else self._over

    @property
    def complete(self) -> bool:
        """The upstream gave its stop reason and no content after it, or ended its body after such content."""
        return self._over or (self._answer.finished and not self._answer.reopened)

    @property
    def closed(self) -> bool:
        """`message_stop` came, or the upstream's own error."""
        return self._answer.ended or self.fault is not None

    @property
    def usage(self) -> Usage | None:
        """Tokens, as far as they are told."""
        return self._writer.usage

    @property
    def native_finish(self) -> str | None:
        """The upstream's own word for the finish."""
        return self._answer.native_finish

    def feed(self, chunk: bytes) -> bytes:
        """What `chunk` gives the client. Raises `UpstreamFailure` on what is no event of this dialect."""
        if self.closed:
            return b""
        self._held += 0 if self.committed else len(chunk)
        limit = HELD_LIMIT if self._stream else BODY_LIMIT
        if not self.committed and self._held > limit:
            raise self._broken(f"the upstream sent {limit} bytes without an answer")
        if not self._body and self._events is None:
            chunk = chunk.lstrip(_BLANK)
            if chunk and chunk[:1] not in (b"{", b"<"):
                self._events = Events()
        if self._events is None:
            self._body += chunk
            return b""
        return self._take(self._events, chunk)

    def finish(self) -> bytes:
        """What is left. Raises `UpstreamFailure` if the answer is not whole."""
        if self.fault is not None or self._over:
            return b""
        if self._events is None:
            self._read_body()
        else:
            self._read_last(self._events.rest())
        return self._last()

    def _last(self) -> bytes:
        out = self._writer.take()
        if self.fault is not None:
            return out + _event_of(self.fault)
        if not self._answer.finished:
            raise self._broken("the upstream's answer ended without a finish", out)
        self._answer.close()
        return out + self._writer.take() + self._end()

    def _take(self, events: Events, chunk: bytes) -> bytes:
        out = b""
        try:
            for event in events.feed(chunk):
                self._read_event(event)
                out += self._writer.take()
                if self.fault is not None:
                    return out + _event_of(self.fault)
        except EventTooLarge as exc:
            raise self._broken(str(exc), out) from exc
        except UpstreamFailure as failure:
            failure.partial = out if self.committed else b""
            raise
        if self._answer.ended and self._stream:
            out += self._end()
        return out

    def _read_event(self, event: bytes) -> None:
        data = data_of(event)
        if data is None or not data.strip() or data.strip() == DONE or self.closed:
            return  # a comment, a keep-alive, or what follows an end
        value = object_of(data)
        if value is None:
            raise self._broken("the upstream sent an event that is not a JSON object")
        if not is_error(value) and not error_event(event):
            self._answer.read(value)
            return
        failure = failure_in_200(value)
        if not self.committed:
            raise failure
        if not self.complete:
            self.fault = failure

    def _read_last(self, rest: bytes) -> None:
        """An event without its empty line: read if it is whole, else it does not count."""
        data = data_of(rest)
        if data is not None and value_of(data) is not None:
            self._read_event(rest)

    def _read_body(self) -> None:
        """A whole answer. Raises `UpstreamFailure` if it is none, or none for a streamed call."""
        if not self._body:
            raise self._broken("the upstream's answer is empty")
        value = object_of(bytes(self._body))
        if value is None:
            raise self._broken("the upstream's answer is not JSON")
        if is_error(value):
            raise failure_in_200(value)
        if not isinstance(value.get("content"), list):
            raise self._broken("the upstream's answer is not a message")
        if self._stream:
            raise self._broken("the upstream answered a streamed call without a stream")
        for event in events_of(value):
            self._answer.read(event)

    def _end(self) -> bytes:
        if self._over:
            return b""
        self._over = True
        return self._writer.end()

    def _broken(self, message: str, partial: bytes = b"") -> UpstreamFailure:
        kind = FailureKind.BROKEN_STREAM if self.committed else FailureKind.MALFORMED
        failure = UpstreamFailure(kind, message)
        failure.partial = partial if self.committed else b""
        return failure


def _event_of(failure: UpstreamFailure) -> bytes:
    """The upstream's error, with its own message, as the last event of a stream that has begun."""
    error: ProxyError = UpstreamError(str(failure))
    if failure.kind is FailureKind.RATE_LIMITED:
        error = RateLimited(str(failure))
    elif failure.kind is FailureKind.OVERLOADED:
        error = Unavailable(str(failure), code="overloaded")
    failure.code = error.error_code
    return error.event()
