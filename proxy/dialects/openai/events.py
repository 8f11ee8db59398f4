"""Events in the OpenAI dialect, relayed whole and to the byte: what chat's streams and those of sound and images share.

Nothing is ever made up, and nothing follows the upstream's own error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from proxy.core.clean import LONGEST_BODY
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import loads
from proxy.core.sse import DONE, Events, EventTooLarge, data_of
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds, grown
from proxy.dialects.openai.errors import failure_in_200, has_error_member
from proxy.dialects.openai.usage import usage_of
from proxy.dialects.upstream_errors import bare_json, error_event, is_error


class EventRelay(ABC):
    """Cuts and reads events; a decoder says what they mean, and keeps `committed` and `fault`."""

    native_finish: str | None = None
    passed_error: bool = False
    _member = "choices"  # what every answer has

    def __init__(self, events: Events, bounds: UsageBounds = UNBOUNDED) -> None:
        self._events = events
        self._bounds = bounds
        self.committed = False
        self.fault: UpstreamFailure | None = None
        self.usage: Usage | None = None
        self._last_came = False  # `[DONE]`

    def feed(self, chunk: bytes) -> bytes:
        """The events that `chunk` completes. Raises `UpstreamFailure` on what is no event of this dialect."""
        try:
            events = self._events.feed(chunk)
        except EventTooLarge as exc:
            raise self._broken(str(exc)) from exc
        out: list[bytes] = []
        for event in events:
            try:
                kept = self._take(event)
                if kept:
                    out.append(event if kept is True else kept)
            except UpstreamFailure as failure:
                failure.partial = b"".join(out) if self.committed else b""
                raise
        return b"".join(out)

    def _take(self, event: bytes) -> bool | bytes:
        """Read one event; whether the client gets it, or the event that it gets instead."""
        if self.fault is not None or self._last_came:
            return False  # nothing follows an error or `[DONE]`
        data = data_of(event)
        if data is None or not data.strip():
            return self._take_bare(event)
        if data.strip() == DONE:
            self._last_came = self.committed
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
        """A comment or a keep-alive; or an error without the name of a field, which no client would see."""
        value = bare_json(event)
        if isinstance(value, dict) and is_error(value, self._member):
            if self.complete:
                return self._late(event)
            failure = failure_in_200(value, b"")
            raise self._after_commit(failure) if self.committed else failure
        return True

    def _late(self, event: bytes) -> bool:
        """An error, or what cannot be read, after all choices have finished: relayed like any other event.

        It is cleaned, so one that is too large for that is dropped.
        """
        self.passed_error = True
        return len(event) <= LONGEST_BODY

    def _failed(self, value: dict[str, Any], event: bytes, data: bytes) -> bool:
        """An error: a failure before the commit point, after it the end, unless the answer is complete.

        One that clients would not take for an error is not relayed: the relay writes one that they do.
        """
        if self.complete:
            return self._late(event)
        failure = failure_in_200(value, data)
        if not self.committed:
            raise failure
        if not has_error_member(value):
            raise self._after_commit(failure)
        self.fault = self._after_commit(failure)
        return True

    def _after_commit(self, failure: UpstreamFailure) -> UpstreamFailure:
        return UpstreamFailure(FailureKind.BROKEN_STREAM, str(failure), status=failure.status, code=failure.code)

    @property
    @abstractmethod
    def complete(self) -> bool:
        """The answer is whole."""

    @abstractmethod
    def _end(self) -> None:
        """`[DONE]` came."""

    @abstractmethod
    def _read(self, value: dict[str, Any], data: bytes) -> bool | bytes:
        """One event's object, and its bytes; whether the client gets it, or the data that it gets instead."""

    def _count(self, usage: Any) -> None:
        """Note what a chunk reports; counts only grow."""
        if usage:
            self.usage = grown(self.usage, usage_of(usage, self._bounds))

    def _value(self, data: bytes) -> dict[str, Any] | None:
        """The object in an event. Where there is none: None if the answer is complete, else a failure."""
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
