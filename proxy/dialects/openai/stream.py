"""A streamed answer in the OpenAI dialect: whole events to the byte, watched for its commit point and its end.

Nothing is ever made up: an end that the upstream did not send is a fault, before the commit point one that another
target can mend, after it one that the client is told.
"""

from __future__ import annotations

import json
from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.sse import DONE, Events, EventTooLarge, data_of
from proxy.core.types import Usage
from proxy.dialects.openai.errors import failure_in_200
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


class StreamDecoder:
    """Relays events; `drop_usage` removes the one usage chunk that only we asked for."""

    native_finish: str | None = None

    def __init__(self, *, choices: int, drop_usage: bool) -> None:
        self._events = Events()
        self._choices = choices
        self._drop_usage = drop_usage
        self._finished: set[int] = set()
        self._open: set[int] = set()
        self._done = False
        self._held = 0  # bytes before the commit point
        self.committed = False
        self.fault: UpstreamFailure | None = None
        self.usage: Usage | None = None

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
        try:
            events = self._events.feed(chunk)
        except EventTooLarge as exc:
            raise self._broken(str(exc)) from exc
        out: list[bytes] = []
        for event in events:
            try:
                if self._take(event):
                    out.append(event)
            except UpstreamFailure as failure:
                failure.partial = b"".join(out) if self.committed else b""
                raise
        return b"".join(out)

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

    def _take(self, event: bytes) -> bool:
        """Read one event; whether the client gets it."""
        if self.fault is not None:
            return False  # nothing follows an error
        data = data_of(event)
        if data is None or not data.strip():
            return True  # a comment, a keep-alive
        if data.strip() == DONE:
            self._done = True
            return True
        value = self._load(data)
        if value.get("error"):
            self._error(value, data)
            return True
        return self._chunk(value)

    def _load(self, data: bytes) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise self._broken("the upstream sent an event that is not JSON") from exc
        if not isinstance(value, dict):
            raise self._broken("the upstream sent an event that is not a JSON object")
        return value

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

    def _broken(self, message: str) -> UpstreamFailure:
        kind = FailureKind.BROKEN_STREAM if self.committed else FailureKind.MALFORMED
        return UpstreamFailure(kind, message)
