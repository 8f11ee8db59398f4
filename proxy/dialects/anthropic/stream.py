"""Decoder of Anthropic answers, streamed or not, for bytes that are split anywhere.

The first byte determines the type of a body: `{` begins a whole answer, `<` a web page, any other byte events. An end
without `stop_reason` is a failure: before the commit point another target can still answer, after it the client gets an
error event.
"""

from __future__ import annotations

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import object_of, value_of
from proxy.core.sse import DONE, Events, EventTooLarge, data_of
from proxy.dialects.anthropic.answer import Answer, events_of
from proxy.dialects.anthropic.errors import failure_in_200, is_error
from proxy.dialects.anthropic.typed import block_delta_of
from proxy.dialects.error_details import error_event
from proxy.dialects.translated import TranslatingDecoder
from proxy.dialects.writer import AnswerWriter

HELD_LIMIT = 8 * 1024 * 1024  # bytes of a stream before the commit point
BODY_LIMIT = 64 * 1024 * 1024
_BLANK = b" \t\r\n\xef\xbb\xbf"  # white space, and the byte order mark


class AnthropicDecoder(TranslatingDecoder):
    """Decodes one answer.

    `complete`: the stop reason was read and no content followed it, or the body ended after such content. `closed`:
    `message_stop` or the upstream's own error was read.
    """

    def __init__(self, answer: Answer, writer: AnswerWriter, *, stream: bool) -> None:
        super().__init__(writer, stream=stream, limit=HELD_LIMIT if stream else BODY_LIMIT)
        self._answer = answer
        self._events: Events | None = None  # none for a body in one piece, or before the first byte
        self._body = bytearray()

    def _read(self, chunk: bytes) -> None:
        if self._events is None:
            chunk = self._begin(chunk)
        if self._events is None:
            self._body += chunk
            return
        try:
            events = self._events.feed(chunk)
        except EventTooLarge as exc:
            raise self._broken(f"cannot be read: {exc}") from exc
        answer = self._answer
        for event in events:
            delta = block_delta_of(event)
            if delta is None:
                self._read_event(event)
            else:
                answer.add(delta)
            if answer.ended or self.fault is not None:
                break  # ignore data after the end
        self._over = answer.ended and self._stream

    def _begin(self, chunk: bytes) -> bytes:
        """Detect the type of the body, and return `chunk` without leading blanks."""
        if self._body:
            return chunk
        chunk = chunk.lstrip(_BLANK)
        if chunk and chunk[:1] not in (b"{", b"<"):
            self._events = Events()
        return chunk

    def _read_end(self) -> None:
        if self._events is None:
            self._read_body()
        else:
            self._read_last(self._events.rest())
        if self.fault is not None:
            return
        if not self._answer.finished:
            raise self._broken("ended without a finish")
        self._answer.close()
        self._over = True

    def _update(self) -> None:
        answer = self._answer
        self.committed = self._writer.committed if self._stream else self._over
        self.complete = self._over or (answer.finished and not answer.reopened)
        self.closed = answer.ended or self.fault is not None
        self.usage = self._writer.usage
        self.native_finish = answer.native_finish

    def _read_event(self, event: bytes) -> None:
        data = data_of(event)
        if data is None or not data.strip() or data.strip() == DONE:
            return  # a comment, a keep-alive
        value = object_of(data)
        if value is None:
            raise self._broken("has an event that is not a JSON object")
        if not is_error(value) and not error_event(event):
            self._answer.read(value)
            return
        failure = failure_in_200(value)
        self._update()
        if not self.committed:
            raise failure
        if not self.complete:
            self.fault = failure

    def _read_last(self, rest: bytes) -> None:
        """Read an event without its empty line if its JSON is complete; otherwise ignore it."""
        data = data_of(rest)
        if data is not None and value_of(data) is not None and not self._answer.ended:
            self._read_event(rest)

    def _read_body(self) -> None:
        """Read a whole answer. Raises `UpstreamFailure` if the body is not one, or if the call is streamed."""
        if not self._body:
            raise self._broken("is empty")
        value = object_of(bytes(self._body))
        if value is None:
            raise self._broken("is not JSON")
        if is_error(value):
            raise failure_in_200(value)
        if not isinstance(value.get("content"), list):
            raise self._broken("is not a message")
        if self._stream:
            raise UpstreamFailure(FailureKind.MALFORMED, "the upstream answered a streamed call without a stream")
        for event in events_of(value):
            self._answer.read(event)
