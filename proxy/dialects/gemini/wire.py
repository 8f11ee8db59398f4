"""Gemini's answers on the wire: JSON texts from bytes that are cut anywhere.

There are three forms: server-sent events (`alt=sse`, lines end with CRLF), one JSON array that grows while the model
writes (a stream without `alt=sse`), and one JSON object (`generateContent`). The first byte decides which one it is, so
the answer's headers need not be right. An error may come between events as bare JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct
from msgspec.json import Decoder

from proxy.core.json_text import finite_loads, typed
from proxy.core.sse import DONE, Events, EventTooLarge, data_of

LIMIT = 64 * 1024 * 1024  # bytes of one answer object: it may carry an image
_OUTSIDE_STRING = re.compile(rb'["{}\[\]]')
_INSIDE_STRING = re.compile(rb'["\\]')
_BLANK = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


class NotAnAnswer(ValueError):
    """The bytes are not an answer of Gemini: a page, half JSON, something else."""


class _AnyObject(Struct, gc=False):
    pass


_decode_object = Decoder(_AnyObject).decode


class Answers:
    """Splits an answer's bytes into JSON texts. Every method may raise `NotAnAnswer`.

    `closed`: the outermost bracket is closed, or `[DONE]` came, so nothing follows.
    """

    def __init__(self) -> None:
        self._form: Literal["sse", "json"] | None = None
        self._head = bytearray()  # until the form is known
        self._events = Events(LIMIT)
        self._objects = Objects()
        self.closed = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the JSON texts that `chunk` completes; those before an error come before it is raised."""
        if self._form is None:
            self._head += chunk
            self._form = _form(self._head)
            chunk = bytes(self._head).removeprefix(_BYTE_ORDER_MARK)
        if self._form == "json":
            for text in self._objects.feed(chunk):
                self.closed = self.closed or self._objects.closed
                yield text
            self.closed = self.closed or self._objects.closed
        elif self._form == "sse":
            try:
                events = self._events.feed(chunk)
            except EventTooLarge as exc:
                raise NotAnAnswer(str(exc)) from exc
            for event in events:
                data = self._data(event)
                if data:
                    yield data

    def rest(self) -> bytes:
        """Return the JSON text of a last event without its empty line, when no more bytes come; it may be empty."""
        if self._form == "sse":
            return self._data(self._events.rest())
        if self._form is None and self._head.strip(_BLANK):
            raise NotAnAnswer("it is not JSON")
        if self._objects.open:
            raise NotAnAnswer("its JSON ends in the middle")
        return b""

    def _data(self, event: bytes) -> bytes:
        """The JSON text of an event; empty if it has none."""
        data = data_of(event)
        if data is None:
            data = event.strip(_BLANK)
            if data[:1] not in (b"{", b"["):
                return b""  # a comment, a keep-alive
        data = data.strip(_BLANK)
        if data == DONE:
            self.closed = True
            return b""
        return data


class Objects:
    """Extracts the objects from a JSON array that grows, or the only object.

    `closed`: the outermost bracket is closed.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0  # scanned up to here
        self._depth = 0
        self._in_string = False
        self._array = False
        self.closed = False

    @property
    def open(self) -> bool:
        """An object has begun and not ended."""
        return self._depth > 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the objects that `chunk` completes."""
        if not self._buffer and not self._array and not self.closed and typed(_decode_object, chunk) is not None:
            self.closed = True  # the whole answer came at once
            yield chunk
            return
        self._buffer += chunk
        while self._depth or self._begin():
            end = self._end()
            if end is None:
                break
            text = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._at = 0
            self.closed = not self._array
            yield text
        if len(self._buffer) > LIMIT:
            raise NotAnAnswer(f"it is larger than {LIMIT} bytes")

    def _begin(self) -> bool:
        """Skip to the brace of the next object. Returns whether there is one."""
        buffer = self._buffer
        at = 0
        while at < len(buffer) and buffer[at : at + 1] != b"{":
            byte = bytes(buffer[at : at + 1])
            if byte == b"[" and not self._array:
                self._array = True
            elif byte == b"]" and self._array:
                self.closed = True
            elif byte not in b" \t\r\n,":
                raise NotAnAnswer("it is not JSON")
            at += 1
        del buffer[:at]
        return bool(buffer)

    def _end(self) -> int | None:
        """Where the object ends that the buffer begins with; `None` if it is not complete."""
        buffer, at = self._buffer, self._at
        while match := (_INSIDE_STRING if self._in_string else _OUTSIDE_STRING).search(buffer, at):
            byte, at = match[0], match.end()
            if byte == b"\\":
                if at == len(buffer):
                    at -= 1  # what it escapes has not come yet
                    break
                at += 1
            elif byte == b'"':
                self._in_string = not self._in_string
            else:
                self._depth += 1 if byte in b"{[" else -1
                if self._depth == 0:
                    return at
        else:
            at = len(buffer)
        self._at = at
        return None


def _form(head: bytearray) -> Literal["sse", "json"] | None:
    """The form of the bytes; `None` if they are too few to tell."""
    seen = bytes(head).removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANK)
    if seen[:1] in (b"{", b"["):
        return "json"
    if any(seen.startswith(field) for field in _FIELDS):
        return "sse"
    if any(field.startswith(seen) for field in _FIELDS) or _BYTE_ORDER_MARK.startswith(seen):
        return None
    raise NotAnAnswer("it is neither JSON nor a stream of events")


def objects_of(text: bytes) -> list[dict[str, Any]]:
    """The objects of one JSON text: one, or those of an array. Raises `NotAnAnswer`."""
    try:
        value = finite_loads(text)
    except (ValueError, RecursionError) as exc:
        raise NotAnAnswer("it is not JSON") from exc
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in values):
        raise NotAnAnswer("it holds something else than a JSON object")
    return values
