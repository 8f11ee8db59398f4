"""The surface of a connection on which one response continues another, also one that is not stored.

The connection remembers its last response that is not stored, with everything before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Unpack

from msgspec.json import decode

from proxy.core.body import parse
from proxy.core.call import Call
from proxy.core.errors import InvalidRequest, ProxyError
from proxy.core.json_text import compact_nulled
from proxy.core.record import Record
from proxy.core.spans import edit
from proxy.core.turn import Item, Turn
from proxy.surfaces.base import Arrived, Encoder
from proxy.surfaces.carriers import is_carrier
from proxy.surfaces.openai.surface import COMMENT
from proxy.surfaces.responses.background import queued_response
from proxy.surfaces.responses.document import usage_of
from proxy.surfaces.responses.events import EventWriter
from proxy.surfaces.responses.request import found_item, input_items
from proxy.surfaces.responses.stored import named_items, since_summary
from proxy.surfaces.responses.surface import RESPONSES

_CREATE = "response.create"
_STREAM = b'{"stream":true}'
_OWN = ("type", "stream_options", "background", "generate", "stream_id")  # not of a body
MOST_REMEMBERED = 32 * 1024 * 1024  # bytes of items
MOST_IN_ALL = 256 * 1024 * 1024  # of all connections


class Remembered:
    """The bytes of items that all connections of the process remember."""

    def __init__(self, most: int = MOST_IN_ALL) -> None:
        self._most = most
        self._size = 0

    def replace(self, before: int, after: int) -> bool:
        """Count `after` bytes in place of `before`; return whether there is memory for them, else count none."""
        self._size -= before
        if after > MOST_REMEMBERED or self._size + after > self._most:
            return False
        self._size += after
        return True


class ConnectionSurface:
    """The Responses API on one connection; one call at a time."""

    keep_alive = COMMENT

    def __init__(self, now: Callable[[], float], remembered: Remembered) -> None:
        """`now` returns seconds since 1970; `remembered` is shared by all connections."""
        self._now = now
        self._all = remembered
        self._turn: Turn | None = None  # of the call
        self._generates = True  # it asks for an answer
        self._remembered = ""  # the id of the response
        self._items = b""  # its items with all before them, as JSON
        self._previous: str | None = None  # what the call continues, if that is remembered
        self._call_items: list[Any] = []  # the items of the call's input, with those before
        self.answered: Item | None = None  # the response object of the last answer

    @property
    def size(self) -> int:
        """Bytes of the items that are remembered."""
        return len(self._items)

    def body_of(self, message: bytes) -> bytes:
        """Return the body of the `POST` that a message stands for. Raises `InvalidRequest`."""
        self._call_items, self._previous, self._turn, self.answered = [], None, None, None
        document = parse(message)
        body, spans = document.body, document.spans
        if body.get("type") != _CREATE:
            raise InvalidRequest(f"`type` must be `{_CREATE}`; nothing else is supported.", param="type")
        if body.get("background"):
            text = "`background` needs `POST /v1/responses`; a connection has one response at a time."
            raise InvalidRequest(text, param="background")
        if body.get("stream_id") is not None:
            text = "`stream_id` is not supported; a connection has one response at a time."
            raise InvalidRequest(text, param="stream_id")
        self._generates = body.get("generate") is not False
        if all(name in _OWN for name in spans):
            return _STREAM
        return edit(message, spans, {"stream": b"true"}, [name for name in _OWN if name in spans])

    def read(self, raw: bytes, headers: Mapping[str, str], **arrived: Unpack[Arrived]) -> Call:
        """Read a body; its history is added if the connection remembers it."""
        call = RESPONSES.read(raw, headers, **arrived)
        turn = self._turn = call.turn
        assert turn is not None
        own = input_items(turn.context.document.get("input"))
        self._call_items = own
        before: list[Any] = []
        if turn.previous is not None and turn.previous == self._remembered:
            self._previous, turn.previous = turn.previous, None
            before = decode(self._items)
        complete = turn.complete

        def completed(earlier: Sequence[Item]) -> Call:
            history = [*before, *earlier]
            whole = complete(history)
            if before and turn.store:
                turn.input[:0] = named_items(before, f"{call.id}/before")
            self._call_items = [*history, *(found_item(item, turn) for item in own)]
            return whole

        turn.complete = completed
        if before and not turn.references:
            call = completed(())
        if not self._generates:
            call.native, call.count = None, partial(self._prepared, call)
        return call

    def encoder(self, call: Call, record: Record, content_type: str, *, native: bool) -> Encoder | None:
        """Return what writes the answer."""
        return RESPONSES.encoder(call, record, content_type, native=native)

    def error(self, error: ProxyError) -> bytes:
        """Return an error as a body."""
        return RESPONSES.error(error)

    def event(self, error: ProxyError) -> bytes:
        """Return an error as the last event of a stream."""
        return RESPONSES.event(error)

    def note(self, response: Item) -> None:
        """Take the response object of a terminal event."""
        self.answered = response

    def items(self) -> bytes:
        """Return the items of the last call with all before them and its answer, as JSON; empty without an answer.

        An answer that is stored has none either: the store remembers it. A summary replaces what was before it.
        """
        response, turn = self.answered, self._turn
        if response is None or turn is None or (turn.store and self._generates):
            return b""
        output = response.get("output")
        if not isinstance(output, list):
            return b""
        return compact_nulled(since_summary([*self._call_items, *output], _is_own_summary))

    def end(self, items: bytes) -> None:
        """Remember `items` with the id of the answer. Forget what a call that failed has continued."""
        response = self.answered
        if response is None or response.get("status") not in ("completed", "incomplete"):
            if self._previous is not None:
                self.forget()
        elif items and isinstance(response.get("id"), str):
            self._remember(response["id"], items)
        self._call_items = []

    def forget(self) -> None:
        """Remember nothing."""
        self._remember("", b"")

    def _remember(self, id: str, items: bytes) -> None:
        if not self._all.replace(len(self._items), len(items)):
            id, items = "", b""
        self._remembered, self._items = id, items

    def _prepared(self, call: Call, tokens: int) -> bytes:
        """Return the events of a response without output, which the next message continues."""
        response = {**queued_response(call, int(self._now())), "store": False, "status": "in_progress"}
        events = EventWriter()
        for kind in ("response.created", "response.in_progress"):
            events.event(kind, {"response": response})
        response |= {"status": "completed", "completed_at": response["created_at"], "usage": usage_of({})}
        events.event("response.completed", {"response": response})
        return events.take()


def _is_own_summary(item: Item) -> bool:
    return is_carrier(item.get("encrypted_content"))
