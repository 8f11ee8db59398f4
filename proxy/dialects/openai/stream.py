"""A streamed answer in the OpenAI dialect: whole events to the byte, watched for its commit point and its end.

Nothing is ever made up: an end that the upstream did not send is a fault, before the commit point one that another
target can mend, after it one that the client is told.
"""

from __future__ import annotations

from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.sse import Events
from proxy.dialects.openai.errors import failure_in_200
from proxy.dialects.openai.events import EventRelay
from proxy.dialects.openai.usage import usage_of

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


class StreamDecoder(EventRelay):
    """Relays events; `drop_usage` removes the one usage chunk that only we asked for."""

    def __init__(self, *, choices: int, drop_usage: bool) -> None:
        super().__init__(Events())
        self._choices = choices
        self._drop_usage = drop_usage
        self._finished: set[int] = set()
        self._open: set[int] = set()
        self._done = False
        self._held = 0  # bytes before the commit point

    @property
    def complete(self) -> bool:
        """Every choice has its finish, or `[DONE]` came."""
        return self._done or (len(self._finished) >= self._choices and not self._open)

    @property
    def closed(self) -> bool:
        """`[DONE]` came, or the upstream's own error."""
        return self._done or self.fault is not None

    def feed(self, chunk: bytes) -> bytes:
        """The events that `chunk` completes. Raises `UpstreamFailure` on what is no event of this dialect."""
        self._held += 0 if self.committed else len(chunk)
        if not self.committed and self._held > HELD_LIMIT:
            raise self._broken(f"the upstream sent {HELD_LIMIT} bytes without any content")
        return super().feed(chunk)

    def finish(self) -> bytes:
        """A last event without its empty line. Raises `UpstreamFailure` if the answer is not complete."""
        rest = self._events.rest()
        if self.fault is not None:
            return b""
        if rest.strip():
            rest = self._last(rest)
        if not self.complete:
            raise self._broken("the upstream's stream ended without a finish")
        if not self.committed:
            raise self._broken("the upstream's stream is empty")
        return rest

    def _last(self, rest: bytes) -> bytes:
        """What of an event without its empty line the client gets: all or nothing.

        An error is not given on: without the line no client would see it, so the relay says it again.
        """
        whole = self.complete
        try:
            kept = self._take(rest)
        except UpstreamFailure:
            if whole:
                return b""
            raise
        if self.fault is not None:
            raise self.fault
        return rest if kept else b""

    def _end(self) -> None:
        self._done = True

    def _read(self, value: dict[str, Any], data: bytes) -> bool:
        if value.get("error"):
            self._error(value, data)
            return True
        return self._chunk(value)

    def _chunk(self, value: dict[str, Any]) -> bool:
        usage = usage_of(value.get("usage"))
        self.usage = usage or self.usage
        choices = value.get("choices")
        if not choices or not isinstance(choices, list):
            return not (self._drop_usage and usage is not None)
        for choice in choices:
            if isinstance(choice, dict):
                self._choice(choice)
        return True

    def _choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        if choice.get("finish_reason"):
            self._finished.add(index)
            self._open.discard(index)
            self.committed = True
        elif index not in self._finished:
            self._open.add(index)
        delta = choice.get("delta")
        if choice.get("text") or (isinstance(delta, dict) and any(delta.get(name) for name in _CONTENT)):
            self.committed = True

    def _error(self, value: dict[str, Any], data: bytes) -> None:
        failure = failure_in_200(value, data)
        if not self.committed:
            raise failure
        self.fault = UpstreamFailure(FailureKind.BROKEN_STREAM, str(failure), status=failure.status, code=failure.code)
