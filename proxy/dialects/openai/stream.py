"""A streamed answer in the OpenAI dialect: relays whole events to the byte, and finds the commit point and the end.

Nothing is invented. An end that the upstream did not send is a failure: before the commit point another target can
still answer, after it the client gets an error event.
"""

from __future__ import annotations

from typing import Any

from proxy.core.body import parse
from proxy.core.errors import InvalidRequest
from proxy.core.json_text import DECODE_ERRORS, SMALL, object_of
from proxy.core.spans import edit
from proxy.core.sse import Events
from proxy.core.usage import UNBOUNDED, UsageBounds
from proxy.dialects.openai.events import BLANK, EventRelay
from proxy.dialects.openai.typed import chunk_of, decode_chunk, has_content

HELD_LIMIT = 8 * 1024 * 1024  # bytes before the commit point
_CONTENT = (
    "content",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "tool_calls",
    "function_call",
    "refusal",
    "audio",
    "images",
)
# Members that any chunk may have; a chunk with only these contains no more than its usage.
_ENVELOPE = {
    *("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "obfuscation"),
    *("provider", "x_groq", "nonce"),
}


class StreamDecoder(EventRelay):
    """Relays events. `drop_usage` removes usage that only the proxy asked for, with its chunk if nothing else is in it.

    `complete`: every choice has finished and no content came after that, or `[DONE]` came. `closed`: `[DONE]` came, or
    the upstream's own error.
    """

    def __init__(self, *, choices: int, drop_usage: bool, bounds: UsageBounds = UNBOUNDED) -> None:
        super().__init__(Events(), bounds)
        self._choices = choices
        self._drop_usage = drop_usage
        self._finished: set[int] = set()
        self._open: set[int] = set()
        self._done = False  # `[DONE]` came
        self._last_data = b""  # of the last chunk with choices
        self._held = 0  # bytes before the commit point

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that `chunk` completes. Raises `UpstreamFailure` for one that is not of this dialect.

        A chunk of whole, ordinary events is returned as it is; every other one is read event by event.
        """
        if not self.committed:
            self._hold(len(chunk))
        text = chunk[6:-2]
        plain = chunk[:6] == b"data: " and chunk[-2:] == b"\n\n" and 13 not in text and len(text) <= SMALL
        if not plain or self._partial or self._over:
            return super().feed(chunk)
        lines = text.split(b"\n\ndata: ")
        try:
            if not text.isascii():
                text.decode()  # strings that are skipped are not checked for UTF-8
            values = list(map(decode_chunk, lines))
        except DECODE_ERRORS:
            return super().feed(chunk)
        if 10 in text and text.count(b"\n") != 2 * len(lines) - 2:  # an event of several lines
            return super().feed(chunk)
        self._last_data = lines[-1]
        for value in values:
            for choice in value.choices:
                if choice.finish_reason or choice.index not in self._open or not self.committed:
                    self._advance(choice.index or 0, choice.finish_reason, has_content(choice))
            if value.usage:
                self._count(value.usage)
        return chunk

    def finish(self) -> bytes:
        """Return a last event without its empty line. Raises `UpstreamFailure` if the answer is not complete."""
        rest = self._events.rest()
        if self.fault is not None:
            return b""
        if self._dropped:
            rest = b""  # white space behind an event that is not relayed
        elif rest.strip():
            rest = self._last(rest)
        self._open -= self._finished  # content after a finish is complete when the body ends
        self._update()
        if not self.complete:
            raise self._broken("the upstream's stream ended without a finish")
        if not self.committed:
            raise self._broken("the upstream's stream is empty")
        return rest

    def _last(self, rest: bytes) -> bytes:
        """Return what the client gets of an event without its empty line: all of it or nothing.

        An error is not passed on: without the line no client would see it, so the relay writes one. After a complete
        answer, an error or an unreadable event is dropped.
        """
        before, self.passed_error = self.passed_error, False
        kept = self._take(rest)
        late, self.passed_error = self.passed_error, before
        if self.fault is not None:
            raise self.fault
        if late:
            return b""
        return kept if isinstance(kept, bytes) else rest if kept else b""

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > HELD_LIMIT:
            raise self._broken(f"the upstream sent {HELD_LIMIT} bytes without any content")

    def _end(self) -> None:
        self._done = self.complete = self.closed = True

    def _take(self, event: bytes) -> bool | bytes:
        chunk = None if self._over or len(event) <= BLANK else chunk_of(event)
        if chunk is None:
            return super()._take(event)
        self._last_data = event[6:]
        for choice in chunk.choices:
            if choice.finish_reason or choice.index not in self._open or not self.committed:
                self._advance(choice.index or 0, choice.finish_reason, has_content(choice))
        if chunk.usage:
            self._count(chunk.usage)
        return True

    def _read(self, value: dict[str, Any], data: bytes) -> bool | bytes:
        self._count(value.get("usage"), value.get("service_tier"))
        choices = value.get("choices")
        if not choices or not isinstance(choices, list):
            asked = self._drop_usage and isinstance(value.get("usage"), dict)
            return self._without_usage(value, data) if asked else True
        self._last_data = data
        for choice in choices:
            if isinstance(choice, dict):
                self._read_choice(choice)
        return True

    def _without_usage(self, value: dict[str, Any], data: bytes) -> bool | bytes:
        """A chunk without choices, without usage that only the proxy asked for; `False` if nothing else is in it."""
        before = object_of(self._last_data) or {}
        if all(_adds_nothing(name, other, before) for name, other in value.items()):
            return False
        try:
            return edit(data, parse(data).spans, {}, ("usage",))
        except InvalidRequest:  # too large to be edited
            return True

    def _read_choice(self, choice: dict[str, Any]) -> None:
        index, delta = choice.get("index"), choice.get("delta")
        content = choice.get("text") or (isinstance(delta, dict) and any(delta.get(name) for name in _CONTENT))
        index = index if isinstance(index, int) else 0
        self._advance(index, choice.get("finish_reason"), bool(content))

    def _advance(self, index: int, finish: Any, content: bool) -> None:
        """Note what a choice of a chunk has: a finish, content, or neither."""
        if finish:
            self.finish_reason = finish if isinstance(finish, str) else None
            self._finished.add(index)
            self._open.discard(index)
        elif content or index not in self._finished:
            self._open.add(index)
        self.committed = self.committed or bool(finish) or content
        self._update()

    def _update(self) -> None:
        self.complete = self._done or (len(self._finished) >= self._choices and not self._open)


def _adds_nothing(name: str, value: Any, before: dict[str, Any]) -> bool:
    """Whether a member is empty, or is one that the chunk `before` had as well."""
    if name in _ENVELOPE or value in (None, [], {}, ""):
        return True
    return name in before and (not isinstance(value, list) or value == before[name])
