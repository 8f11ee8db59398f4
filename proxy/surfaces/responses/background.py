"""Responses that run in the background: the response object in its states, and the events of their streams.

`response.created` and `response.queued` are written before the call is made; the numbers of its events continue theirs.
The last event is not stored: every reader makes it from the final response object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.json_text import compact_nulled, object_of
from proxy.core.sse import data_of, split
from proxy.core.turn import Item
from proxy.surfaces.responses.document import ResponseDocument
from proxy.surfaces.responses.failed import error_of

ENDED = ("completed", "incomplete", "failed", "cancelled")
_FIRST = ("response.created", "response.queued")
_LAST = tuple(f"response.{status}" for status in ENDED)


def queued_response(call: Call, created_at: int) -> Item:
    """Return the response object of a call that has not begun."""
    turn = call.turn
    assert turn is not None
    document = ResponseDocument(
        turn.id, created_at, call.model, turn.context.document, store=True, conversation=turn.conversation
    )
    document.status = "queued"
    return document.value()


def failed_response(response: Item, error: ProxyError) -> Item:
    """Return the object of a response that fails with `error`."""
    changed = {"status": "failed", "error": error_of(error), "incomplete_details": None, "completed_at": None}
    return {**response, **changed}


def first_events(response: Item) -> Sequence[bytes]:
    """Return the events of a response that has not begun."""
    return [_event({"type": kind, "sequence_number": n, "response": response}) for n, kind in enumerate(_FIRST)]


def last_event(response: Item, number: int) -> bytes:
    """Return the event that ends a stream. There is none for a cancelled response: it is one of a failed one."""
    status = response.get("status")
    kind = f"response.{status}" if status in ("completed", "incomplete") else "response.failed"
    return _event({"type": kind, "sequence_number": number, "response": response})


def deleted_event(number: int) -> bytes:
    """Return the event that ends a stream whose response was deleted."""
    message = "The response was deleted."
    error = {"code": "not_found", "message": message, "param": None}
    return _event({"type": "error", "sequence_number": number, **error})


class AnswerEvents:
    """The events of one answer as they are kept, and the response object as the last of them has it."""

    def __init__(self, response: Item) -> None:
        self.response = response
        self.number = len(_FIRST)  # of the next event
        self._own = {name: response[name] for name in _OWN}

    def own(self, response: Item) -> Item:
        """Return a response object with the members that the client knows."""
        return {**response, **self._own}

    def feed(self, data: bytes) -> list[bytes]:
        """Return whole events with their numbers, without those that begin and end a stream."""
        events = []
        for event in split(data):
            value = object_of(data_of(event) or b"")
            kind = value.get("type") if value is not None else None
            if value is None or not isinstance(kind, str) or not kind.isprintable():
                continue  # a comment
            if isinstance(value.get("response"), dict):
                self.response = value["response"] = self.own(value["response"])
            if kind in _FIRST or kind in _LAST:
                continue
            value["sequence_number"] = self.number
            self.number += 1
            events.append(_event(value))
        return events


_OWN = ("id", "created_at", "background", "store", "previous_response_id", "conversation")  # not a provider's


def _event(value: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (value["type"].encode("utf-8", "replace"), compact_nulled(value))
