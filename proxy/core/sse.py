"""Server-sent events: splits a byte stream into whole events and keeps every byte.

An event ends at an empty line, whichever of the three line ends it uses. The bytes of the events, joined, are the
bytes that came in: nothing is normalised, since they are relayed as they are.
"""

from __future__ import annotations

import re

_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_LINE = re.compile(rb"\r\n|\n|\r")
DONE = b"[DONE]"


class EventTooLarge(ValueError):
    """An event is larger than the limit."""


class Events:
    """Splits a byte stream into events, independent of its chunks."""

    def __init__(self, limit: int = 8 * 1024 * 1024) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._limit = limit

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that `chunk` completes, each with the empty line that ends it.

        Raises `EventTooLarge` when one grows beyond the limit.
        """
        buffer = self._buffer
        buffer += chunk
        events, start = [], 0
        for match in _END.finditer(buffer, max(0, self._scanned - 4)):
            end = match.end()
            if end == len(buffer) and buffer[-1:] == b"\r":
                break  # a line feed may still belong to it
            events.append(bytes(buffer[start:end]))
            start = end
        if start:
            del buffer[:start]
        self._scanned = len(buffer)
        if len(buffer) > self._limit:
            raise EventTooLarge(f"an event is larger than {self._limit} bytes")
        return events

    def rest(self) -> bytes:
        """Return and clear the bytes since the last whole event."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return rest


def split(whole: bytes) -> list[bytes]:
    """Split bytes into events; the last one may lack its empty line."""
    events = Events(len(whole))
    found = events.feed(whole)
    rest = events.rest()
    return [*found, rest] if rest else found


def data_of(event: bytes) -> bytes | None:
    """Return the `data` of an event, its lines joined by a line feed; `None` without data, as in a comment."""
    lines = [
        line[6:] if line.startswith(b"data: ") else line[5:] for line in _LINE.split(event) if line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None
