"""Reads the answer of a provider's own Responses API, whose bytes pass unchanged.

If the turn is stored, the observer keeps the last event back until it is, and puts the answer into the turn. If the
stream breaks off, its last event continues the numbers of the provider.
"""

from __future__ import annotations

import re
from typing import Any

from proxy.core.errors import ProxyError
from proxy.core.json_text import object_of
from proxy.core.sse import data_of, split
from proxy.core.turn import Turn
from proxy.surfaces.responses.failed import failed_after, failed_event
from proxy.surfaces.responses.stored import is_id, named_items

# A quote inside a string is escaped, so that text cannot look like this.
_LAST = re.compile(rb'"type"\s{0,16}:\s{0,16}"response\.(?:completed|incomplete|failed|cancelled)"')
_KEPT = ("completed", "incomplete")  # what is stored


def keeps(turn: Turn) -> bool:
    """Return whether the answer is stored."""
    return turn.store or turn.conversation is not None


class NativeStream:
    """A stream of events."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._keeps = keeps(turn)
        self._first = self._latest = self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return whole events, as they came."""
        self._first = self._first or data
        self._latest = data
        if not self._keeps or (not self._held and _LAST.search(data) is None):
            return data
        passed = b""
        for event in split(data):
            if self._held or _LAST.search(event) is not None:
                self._held += event
            else:
                passed += event
        self._note()
        return passed

    def finish(self) -> bytes:
        """Return the events that were kept back."""
        return self._held

    def fail(self, error: ProxyError) -> bytes:
        """Return the provider's own last event, or a `response.failed` that follows what came so far."""
        if error.native_event and error.native_format == "responses":
            return error.native_event
        begun = [value for value in _objects(self._first) if isinstance(value.get("response"), dict)]
        numbers = [value["sequence_number"] for value in _objects(self._latest) if "sequence_number" in value]
        if not begun or not numbers or type(numbers[-1]) is not int:
            return failed_event(error)
        held = len(_objects(self._held))
        return failed_after(begun[0]["response"], max(0, numbers[-1] + 1 - held), error)

    def _note(self) -> None:
        for value in _objects(self._held)[:1]:
            note_response(self._turn, value.get("response"))


class NativeAnswer:
    """One response object."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._body = b""

    def feed(self, data: bytes) -> bytes:
        """Keep the bytes until the turn is stored."""
        self._body += data
        note_response(self._turn, object_of(self._body))
        return b""

    def finish(self) -> bytes:
        """Return the bytes."""
        return self._body

    def fail(self, error: ProxyError) -> bytes:
        """Return nothing: what is not whole must not look like it."""
        return b""


def note_response(turn: Turn, response: Any) -> None:
    """Put a provider's response into the turn, with the members that only the proxy knows.

    Ids that the provider does not give, or that cannot be stored, are made.
    """
    if not isinstance(response, dict) or response.get("status") not in _KEPT:
        return
    if not isinstance(response.get("output"), list):
        return
    turn.output = named_items(response["output"], turn.id)
    if is_id(response.get("id")):
        turn.id = response["id"]
    turn.document = {**response, "id": turn.id, "previous_response_id": turn.previous, "store": turn.store}
    if turn.conversation is not None:
        turn.document["conversation"] = {"id": turn.conversation}


def _objects(events: bytes) -> list[dict[str, Any]]:
    values = [object_of(data_of(event) or b"") for event in split(events)]
    return [value for value in values if value is not None]
