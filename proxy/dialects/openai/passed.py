"""Answers of the endpoints that are passed through: embeddings, images, audio, moderations, legacy completions.

They are relayed as they come. What is checked is only what tells an answer from a fault: an error in a 200, half a JSON
text, nothing at all, events that stop before the last one.
"""

from __future__ import annotations

from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import object_of
from proxy.core.sse import Events
from proxy.core.types import Usage
from proxy.dialects.held import LIMIT, HeldAnswer
from proxy.dialects.openai.errors import failure_in_200
from proxy.dialects.openai.events import EventRelay
from proxy.dialects.openai.plain import JsonDecoder
from proxy.dialects.openai.usage import usage_of

_LAST = (".done", ".completed")  # how the types of the last events of images and audio end


class PassedJson(JsonDecoder):
    """A JSON answer of any endpoint: held until it is whole, then given on as it came."""

    _wanted = "a JSON object"

    def _fits(self, value: Any) -> bool:
        return isinstance(value, dict) and bool(value)


class PassedBytes:
    """Sound or plain text: relayed as it comes; the connection's own end tells that it is whole."""

    native_finish: str | None = None

    def __init__(self) -> None:
        self.committed = self.complete = self.closed = False
        self.fault: UpstreamFailure | None = None
        self.usage: Usage | None = None

    def feed(self, chunk: bytes) -> bytes:
        """The same bytes."""
        self.committed = self.committed or bool(chunk)
        return chunk

    def finish(self) -> bytes:
        """Nothing more. Raises `UpstreamFailure` if nothing came at all."""
        if not self.committed:
            raise UpstreamFailure(FailureKind.MALFORMED, "the upstream's answer is empty")
        self.complete = self.closed = True
        return b""


class PassedText(HeldAnswer):
    """The text of a transcription: held until it is whole. Empty is an answer: there was nothing to hear."""

    def finish(self) -> bytes:
        """The text. Raises `UpstreamFailure` if it is an error or a page."""
        body = bytes(self._held)
        head = body[:100].lstrip().lower()
        value = object_of(body) if head.startswith(b"{") else None
        if value is not None and value.get("error"):
            raise failure_in_200(value, body)
        if head.startswith((b"<!doctype", b"<html")):
            raise UpstreamFailure(FailureKind.MALFORMED, "the upstream's answer is a page, not a text")
        self._pass()
        return body


class PassedEvents(EventRelay):
    """Events of images and audio: whole ones, up to the last, whose type says that it is."""

    def __init__(self) -> None:
        super().__init__(Events(limit=LIMIT))
        self.complete = False

    @property
    def closed(self) -> bool:
        """The last event came, or the upstream's own error."""
        return self.complete or self.fault is not None

    def finish(self) -> bytes:
        """The rest. Raises `UpstreamFailure` if the last event has not come."""
        rest = self._events.rest()
        if self.fault is not None:
            return b""
        if rest.strip():
            self._take(rest)
        if self.fault is not None:
            raise self.fault  # without its empty line no client would see it
        if not self.complete:
            raise self._broken("the upstream's stream ended before its last event")
        return rest

    def _end(self) -> None:
        self.committed = self.complete = True

    def _read(self, value: dict[str, Any], data: bytes) -> bool:
        if value.get("error") or value.get("type") == "error":
            failure = failure_in_200(value, data)
            if not self.committed:
                raise failure
            self.fault = UpstreamFailure(FailureKind.BROKEN_STREAM, str(failure), status=failure.status)
            return True
        self.committed = True
        self.usage = usage_of(value.get("usage")) or self.usage
        self.complete = self.complete or str(value.get("type")).endswith(_LAST)
        return True
