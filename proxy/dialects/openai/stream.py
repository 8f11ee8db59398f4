"""A streamed answer in the OpenAI dialect: whole events to the byte, watched for its commit point and its end.

Nothing is ever made up: an end that the upstream did not send is a fault, before the commit point one that another
target can mend, after it one that the client is told.
"""

from __future__ import annotations

from typing import Any

from proxy.core.body import edit, parse
from proxy.core.errors import InvalidRequest
from proxy.core.sse import Events
from proxy.core.usage import UNBOUNDED, UsageBounds
from proxy.dialects.openai.events import EventRelay

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
# What every chunk has: a chunk of these alone says nothing but the usage.
_ENVELOPE = {
    *("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "obfuscation"),
    *("provider", "x_groq", "nonce"),
}


class StreamDecoder(EventRelay):
    """Relays events; `drop_usage` removes the usage that only we asked for, with its chunk if that has nothing else."""

    def __init__(self, *, choices: int, drop_usage: bool, bounds: UsageBounds = UNBOUNDED) -> None:
        super().__init__(Events(), bounds)
        self._choices = choices
        self._drop_usage = drop_usage
        self._finished: set[int] = set()
        self._open: set[int] = set()
        self._done = False
        self._before: dict[str, Any] = {}  # the last chunk with choices
        self._held = 0  # bytes before the commit point

    @property
    def complete(self) -> bool:
        """Every choice has its finish and no content came after it, or `[DONE]` came."""
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
        self._open -= self._finished  # content after a finish: a clean end is an end
        if not self.complete:
            raise self._broken("the upstream's stream ended without a finish")
        if not self.committed:
            raise self._broken("the upstream's stream is empty")
        return rest

    def _last(self, rest: bytes) -> bytes:
        """What of an event without its empty line the client gets: all or nothing.

        An error is not given on: without the line no client would see it, so the relay says it again. Behind a
        complete answer nothing is given on that is an error or cannot be read.
        """
        before, self.passed_error = self.passed_error, False
        kept = self._take(rest)
        late, self.passed_error = self.passed_error, before
        if self.fault is not None:
            raise self.fault
        if late:
            return b""
        return kept if isinstance(kept, bytes) else rest if kept else b""

    def _end(self) -> None:
        self._done = True

    def _read(self, value: dict[str, Any], data: bytes) -> bool | bytes:
        self._count(value.get("usage"))
        choices = value.get("choices")
        if not choices or not isinstance(choices, list):
            asked = self._drop_usage and isinstance(value.get("usage"), dict)
            return self._without_usage(value, data) if asked else True
        self._before = value
        for choice in choices:
            if isinstance(choice, dict):
                self._choice(choice)
        return True

    def _without_usage(self, value: dict[str, Any], data: bytes) -> bool | bytes:
        """A chunk without choices, without the usage that only we asked for; not at all if nothing else is in it."""
        if all(self._is_usual(name, other) for name, other in value.items()):
            return False
        try:
            return edit(data, parse(data).spans, {}, ("usage",))
        except InvalidRequest:  # larger than what is edited
            return True

    def _is_usual(self, name: str, value: Any) -> bool:
        """Whether a member says nothing, or is one that the chunks before had as well."""
        if name in _ENVELOPE or value in (None, [], {}, ""):
            return True
        return name in self._before and (not isinstance(value, list) or value == self._before[name])

    def _choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        if choice.get("finish_reason"):
            self._finished.add(index)
            self._open.discard(index)
            self.committed = True
        delta = choice.get("delta")
        content = choice.get("text") or (isinstance(delta, dict) and any(delta.get(name) for name in _CONTENT))
        if content:
            self.committed = True
        if not choice.get("finish_reason") and (content or index not in self._finished):
            self._open.add(index)
