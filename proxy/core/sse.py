"""Server-sent events: splits a byte stream into whole events and keeps every byte.

An event ends at an empty line, with any of the three line ends. The joined events are
equal to the input: nothing is normalised, because events are relayed unchanged.
"""

from __future__ import annotations

import re

_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_LINE = re.compile(rb"\r\n|\n|\r")
DONE = b"[DONE]"
_SMALL = 64 * 1024  # bytes of an event that are copied with each chunk


class EventTooLarge(ValueError):
    """An event is larger than the limit."""


class Events:
    """Splits a byte stream into events, independent of its chunks. `partial` holds the bytes since the last event."""

    def __init__(self, limit: int = 8 * 1024 * 1024) -> None:
        self.partial = bytearray()
        self._limit = limit
        self._scanned = 0  # bytes of `partial` without the end of an event

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that `chunk` completes, each with the empty line that ends it.

        Raises `EventTooLarge` when one grows beyond the limit.
        """
        partial = self.partial
        whole = chunk if not partial else bytes(partial) + chunk if len(partial) <= _SMALL else b""
        end = _end_of(whole)
        if end:
            *events, rest = whole.split(end)
            partial[:] = rest
            events = [event + end for event in events]
        else:
            events = self._split(chunk)
        self._scanned = len(partial)
        if self._scanned > self._limit:
            raise EventTooLarge(f"an event is larger than {self._limit} bytes")
        return events

    def rest(self) -> bytes:
        """Return and clear the bytes since the last whole event."""
        rest = bytes(self.partial)
        self.partial.clear()
        self._scanned = 0
        return rest

    def _split(self, chunk: bytes) -> list[bytes]:
        """Split bytes with any line ends; a long event is searched once, regardless of the number of chunks."""
        partial = self.partial
        partial += chunk
        events, start = [], 0
        for match in _END.finditer(partial, max(0, self._scanned - 4)):
            end = match.end()
            if end == len(partial) and partial[-1:] == b"\r":
                break  # a line feed may follow in the next chunk
            events.append(bytes(partial[start:end]))
            start = end
        if start:
            del partial[:start]
        return events


def split(whole: bytes) -> list[bytes]:
    """Split bytes into events; the last one may lack its empty line."""
    events = Events(len(whole))
    complete = events.feed(whole)
    rest = events.rest()
    return [*complete, rest] if rest else complete


def data_of(event: bytes) -> bytes | None:
    """Return the `data` of an event, its lines joined by a line feed; `None` without data, as in a comment."""
    line = data_line(event)
    if line is not None:
        return line
    lines = [
        line[6:] if line.startswith(b"data: ") else line[5:] for line in _LINE.split(event) if line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None


def data_line(event: bytes, start: bytes = b"data: ") -> bytes | None:
    """Return the rest of the line behind `start`, if the event is `start` and that line alone."""
    end = 4 if event[-4:] == b"\r\n\r\n" else 2
    line = event[len(start) : -end]
    if not event.startswith(start) or 10 in line or 13 in line or (end == 2 and event[-2:] != b"\n\n"):
        return None
    return line


def _end_of(whole: bytes) -> bytes:
    """The bytes that end an event, if all line ends are alike; else nothing."""
    if 13 not in whole:
        return b"\n\n" if whole else b""
    lines = whole.replace(b"\r\n", b"")
    return b"" if 10 in lines or 13 in lines else b"\r\n\r\n"
