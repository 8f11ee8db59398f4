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
    """Splits a byte stream into events, independent of its chunks. `partial` holds the bytes since the last event."""

    def __init__(self, limit: int = 8 * 1024 * 1024) -> None:
        self.partial = bytearray()
        self._limit = limit
        self._scanned = 0  # bytes of `partial` without the end of an event
        self._has_returns = False  # a carriage return came: lines may end in any of the three ways

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that `chunk` completes, each with the empty line that ends it.

        Raises `EventTooLarge` when one grows beyond the limit.
        """
        self._has_returns = self._has_returns or 13 in chunk
        events = self._split(chunk) if self._has_returns else self._split_lines(chunk)
        self._scanned = len(self.partial)
        if self._scanned > self._limit:
            raise EventTooLarge(f"an event is larger than {self._limit} bytes")
        return events

    def rest(self) -> bytes:
        """Return and clear the bytes since the last whole event."""
        rest = bytes(self.partial)
        self.partial.clear()
        self._scanned = 0
        return rest

    def _split_lines(self, chunk: bytes) -> list[bytes]:
        """Split where all lines end with a line feed."""
        partial = self.partial
        if b"\n\n" not in chunk and not (chunk[:1] == b"\n" == partial[-1:]):
            partial += chunk
            return []
        *events, rest = (bytes(partial) + chunk if partial else chunk).split(b"\n\n")
        partial[:] = rest
        return [event + b"\n\n" for event in events]

    def _split(self, chunk: bytes) -> list[bytes]:
        partial = self.partial
        partial += chunk
        events, start = [], 0
        for match in _END.finditer(partial, max(0, self._scanned - 4)):
            end = match.end()
            if end == len(partial) and partial[-1:] == b"\r":
                break  # a line feed may still belong to it
            events.append(bytes(partial[start:end]))
            start = end
        if start:
            del partial[:start]
        return events


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
