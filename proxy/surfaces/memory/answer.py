"""Writes the answer of a call with `router.conversation`, and notes it in the turn as items.

The answer passes as the call's surface writes it. What makes it complete for the client is kept back until the turn is
stored: everything from the finish reason on, or a whole body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.json_text import object_of
from proxy.core.record import Record
from proxy.core.sse import DONE, Events, data_of
from proxy.core.turn import Item
from proxy.surfaces.base import Encoder, Surface
from proxy.surfaces.responses.answer import Answer, numbered
from proxy.surfaces.responses.events import EventWriter
from proxy.surfaces.responses.sealing import Sealing
from proxy.surfaces.responses.tools import ToolTable

_LIMIT = 1 << 30  # bytes of an event; the decoder has limited them already
_INCOMPLETE = ("length", "content_filter")


def remembering(call: Call, record: Record, inner: Encoder | None, surface: Surface) -> Encoder:
    """Return the encoder `inner` of a call, which notes the answer; `None` passes the answer's bytes."""
    return (_Stream if call.stream else _Whole)(call, record, inner, surface)


def items_of_answer(call: Call, record: Record, message: Mapping[str, Any], stem: str) -> list[Item]:
    """Return an assistant's message as items; their ids are unique if `stem` is."""
    answer = _answer(call, record, stem)
    answer.add(numbered(message))
    answer.ensure_message()
    answer.close("completed")
    return answer.values()


def _answer(call: Call, record: Record, stem: str) -> Answer:
    return Answer(EventWriter(live=False), stem, ToolTable(), Sealing(call, record))


class _Encoder:
    """What streams and whole answers have in common."""

    def __init__(self, call: Call, record: Record, inner: Encoder | None, surface: Surface) -> None:
        assert call.turn is not None
        self._turn = call.turn
        self._inner = inner
        self._surface = surface
        self._answer = _answer(call, record, call.turn.id.removeprefix("resp_"))
        self._held = b""

    def _encoded(self, data: bytes) -> bytes:
        return data if self._inner is None else self._inner.feed(data)

    def finish(self) -> bytes:
        """Return what was kept back."""
        return self._held + (b"" if self._inner is None else self._inner.finish())

    def _note(self, reason: str) -> None:
        """Put the complete answer into the turn."""
        turn = self._turn
        status = "incomplete" if reason in _INCOMPLETE else "failed" if reason == "error" else "completed"
        if status == "completed":
            self._answer.ensure_message()
        self._answer.close("completed" if status == "completed" else "incomplete")
        turn.output = self._answer.values()
        turn.document = {"id": turn.id, "status": status}


class _Stream(_Encoder):
    """A stream of chunks."""

    def __init__(self, call: Call, record: Record, inner: Encoder | None, surface: Surface) -> None:
        super().__init__(call, record, inner, surface)
        self._events = Events(_LIMIT)
        self._finished = ""  # the finish reason, once it has come

    def feed(self, data: bytes) -> bytes:
        """Return the client's bytes until the answer is complete."""
        for event in self._events.feed(data):
            text = data_of(event)
            chunk = object_of(text) if text else None
            if chunk is not None:
                self._read(chunk)
            elif text and text.strip() == DONE and not self._finished:  # some providers give no reason
                self._end("stop")
        out = self._encoded(data)
        if not self._finished:
            return out
        self._held += out
        return b""

    def fail(self, error: ProxyError) -> bytes:
        """Return the error as the last event, without what was kept back."""
        return self._surface.event(error) if self._inner is None else self._inner.fail(error)

    def _read(self, chunk: Mapping[str, Any]) -> None:
        for choice in _choices(chunk):
            if isinstance(delta := choice.get("delta"), dict):
                self._answer.add(delta)
            reason = choice.get("finish_reason")
            if self._finished:
                self._note(self._finished)  # with what came after the finish
            elif reason and isinstance(reason, str):
                self._end(reason)

    def _end(self, reason: str) -> None:
        self._finished = reason
        self._note(reason)


class _Whole(_Encoder):
    """One chat completion."""

    def feed(self, data: bytes) -> bytes:
        """Keep the body back."""
        completion = object_of(data) or {}
        for choice in _choices(completion):
            if isinstance(message := choice.get("message"), dict):
                self._answer.add(numbered(message))
                self._note(str(choice.get("finish_reason")))
        self._held += self._encoded(data)
        return b""

    def fail(self, error: ProxyError) -> bytes:
        """Return nothing: what is not whole must not look like it."""
        return b""


def _choices(completion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the choice of a completion or a chunk, if it has one."""
    choices = completion.get("choices")
    listed = choices if isinstance(choices, list) else []
    return [choice for choice in listed if isinstance(choice, dict) and not choice.get("index")][:1]
