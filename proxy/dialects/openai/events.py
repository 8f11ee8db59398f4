"""Events in the OpenAI dialect, relayed whole and to the byte: the base of streams of chat, audio and images.

Nothing is invented, and nothing follows the upstream's own error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from proxy.core.clean import LONGEST_BODY
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import loads
from proxy.core.sse import DONE, Events, EventTooLarge, data_of
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds, grown
from proxy.dialects.error_details import bare_json, error_event, is_error
from proxy.dialects.openai.errors import failure_in_200, has_error_member
from proxy.dialects.openai.usage import usage_of

BLANK = 4  # bytes of two line ends at most; no event with data is as short, and one read may have thousands


class EventRelay(ABC):
    """Splits and reads events; a subclass interprets them and keeps `committed`, `complete` and `closed`.

    `complete`: the answer is whole. `closed`: nothing more is expected from the upstream. `fault`: its own error, with
    the event. `passed_error`: an error was relayed after a complete answer, which is no failure.
    """

    native_finish: str | None = None
    finish_reason: str | None = None
    _member = "choices"  # what every answer has

    def __init__(self, events: Events, bounds: UsageBounds = UNBOUNDED) -> None:
        self._events = events
        self._partial = events.partial
        self._bounds = bounds
        self.committed = self.complete = self.closed = self.passed_error = False
        self.fault: UpstreamFailure | None = None
        self.usage: Usage | None = None
        self._over = False  # nothing more is relayed: an error or `[DONE]` came
        self._dropped = False  # an event came after that

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that `chunk` completes. Raises `UpstreamFailure` for one that is not of this dialect."""
        try:
            events = self._events.feed(chunk)
        except EventTooLarge as exc:
            raise self._broken(str(exc)) from exc
        out: list[bytes] = []
        for event in events:
            try:
                kept = self._take(event)
            except UpstreamFailure as failure:
                failure.partial = b"".join(out) if self.committed else b""
                raise
            if kept:
                out.append(event if kept is True else kept)
        return b"".join(out)

    def _take(self, event: bytes) -> bool | bytes:
        """Read one event. Returns whether the client gets it, or the event that it gets instead."""
        if self._over:
            self._dropped = True
            return False
        if len(event) <= BLANK:
            return True
        data = data_of(event)
        if data is None or not data.strip():
            return self._take_bare(event)
        if data.strip() == DONE:
            self._over = self.committed
            self._end()
            return True
        value = self._value(data)
        if value is None:
            return self._late(event)
        suspect = b"error" in event or not value.get("choices")  # so that a plain chunk costs nothing more
        if suspect and (is_error(value, self._member) or error_event(event)):
            return self._failed(value, event, data)
        kept = self._read(value, data)
        return kept if isinstance(kept, bool) else _with_data(event, data, kept)

    def _take_bare(self, event: bytes) -> bool:
        """Read a comment or a keep-alive; or an error without the name of a field, which no client would see."""
        value = bare_json(event)
        if isinstance(value, dict) and is_error(value, self._member):
            if self.complete:
                return self._late(event)
            failure = failure_in_200(value, b"")
            raise self._after_commit(failure) if self.committed else failure
        return True

    def _late(self, event: bytes) -> bool:
        """Whether an error or unreadable event is relayed that comes after all choices have finished.

        The relay cleans such an event, so it is dropped if it is too large for that.
        """
        self.passed_error = True
        return len(event) <= LONGEST_BODY

    def _failed(self, value: dict[str, Any], event: bytes, data: bytes) -> bool:
        """Take an error: a failure before the commit point, after it the end, unless the answer is complete.

        An event that clients would not recognise is not kept: they receive another one with its message.
        """
        if self.complete:
            return self._late(event)
        failure = failure_in_200(value, data)
        if not self.committed:
            raise failure
        if not has_error_member(value):
            raise self._after_commit(failure)
        self.fault = self._after_commit(failure)
        self.fault.event = event
        self.closed = self._over = True
        return False

    def _after_commit(self, failure: UpstreamFailure) -> UpstreamFailure:
        return UpstreamFailure(FailureKind.BROKEN_STREAM, str(failure), status=failure.status, code=failure.code)

    @abstractmethod
    def _end(self) -> None:
        """`[DONE]` came."""

    @abstractmethod
    def _read(self, value: dict[str, Any], data: bytes) -> bool | bytes:
        """Read an event's object and bytes. Returns whether the client gets it, or the data that it gets instead."""

    def _count(self, usage: Any, service: Any = None) -> None:
        """Note the usage that a chunk reports, and its service tier; counts only grow."""
        if usage:
            self.usage = grown(self.usage, usage_of(usage, self._bounds, service))

    def _value(self, data: bytes) -> dict[str, Any] | None:
        """Return the object in an event; without one, `None` if the answer is complete, else raise a failure."""
        try:
            value = loads(data)
        except (ValueError, RecursionError) as exc:
            if self.complete:
                return None
            raise self._broken("the upstream sent an event that is not JSON") from exc
        if isinstance(value, dict):
            return value
        if self.complete:
            return None
        raise self._broken("the upstream sent an event that is not a JSON object")

    def _broken(self, message: str) -> UpstreamFailure:
        return UpstreamFailure(FailureKind.BROKEN_STREAM if self.committed else FailureKind.MALFORMED, message)


def _with_data(event: bytes, data: bytes, other: bytes) -> bytes:
    """The event with `other` in place of its `data`; data on several lines becomes one line."""
    return event.replace(data, other) if data in event else b"data: " + other + b"\n\n"
