"""Events in the OpenAI dialect, relayed whole and to the byte: what chat's streams and those of sound and images share.

Nothing is ever made up, and nothing follows the upstream's own error.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.sse import DONE, Events, EventTooLarge, data_of
from proxy.core.types import Usage


class EventRelay(ABC):
    """Cuts and reads events; a decoder says what they mean, and keeps `committed` and `fault`."""

    native_finish: str | None = None

    def __init__(self, events: Events) -> None:
        self._events = events
        self.committed = False
        self.fault: UpstreamFailure | None = None
        self.usage: Usage | None = None

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
        if self.fault is not None:
            return False  # nothing follows an error
        data = data_of(event)
        if data is None or not data.strip():
            return True  # a comment, a keep-alive
        if data.strip() == DONE:
            self._end()
            return True
        kept = self._read(self._load(data), data)
        return kept if isinstance(kept, bool) else _with_data(event, data, kept)

    @abstractmethod
    def _end(self) -> None:
        """`[DONE]` came."""

    @abstractmethod
    def _read(self, value: dict[str, Any], data: bytes) -> bool | bytes:
        """One event's object, and its bytes; whether the client gets it, or the data that it gets instead."""

    def _load(self, data: bytes) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise self._broken("the upstream sent an event that is not JSON") from exc
        if not isinstance(value, dict):
            raise self._broken("the upstream sent an event that is not a JSON object")
        return value

    def _broken(self, message: str) -> UpstreamFailure:
        return UpstreamFailure(FailureKind.BROKEN_STREAM if self.committed else FailureKind.MALFORMED, message)


def _with_data(event: bytes, data: bytes, other: bytes) -> bytes:
    """The event with `other` in place of its `data`; data on several lines becomes one line."""
    return event.replace(data, other) if data in event else b"data: " + other + b"\n\n"
