"""Where a request's body ends, so that the parser gets one message at a time, and what framing may cost.

The parser validates the same bytes again. Here they are only counted: sizes of chunks, their extensions, trailers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from proxy.core.errors import HeadTooLarge, InvalidRequest

MAX_FRAMING = 32 * 1024  # bytes of chunk headers and trailers, with small chunks more: an eighth of the data
MAX_CHUNK_LINE = 4 * 1024
_SIZE = re.compile(rb"[0-9A-Fa-f]+")  # `int` would take a sign, `0x` and `_` as well


class Framing(Protocol):
    """Counts a body that arrives in pieces."""

    def end(self, data: bytes) -> int | None:
        """Where the message ends in `data`, None if it continues beyond. Raises `ProxyError` if it costs too much."""
        ...


class Length:
    """A body with `content-length`."""

    def __init__(self, length: int) -> None:
        self._left = length

    def end(self, data: bytes) -> int | None:
        """As `Framing`."""
        left = self._left
        self._left -= len(data)
        return left if left <= len(data) else None


class Chunks:
    """A chunked body and its trailers."""

    def __init__(self) -> None:
        self._left = 0  # of the chunk and the line break after it
        self._line = bytearray()
        self._trailers = False
        self._framing = 0
        self._data = 0

    def end(self, data: bytes) -> int | None:
        """As `Framing`."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            stop = data.find(b"\n", at) + 1
            self._line += data[at : stop or len(data)]
            if len(self._line) > MAX_CHUNK_LINE:
                raise HeadTooLarge(f"A chunk header or trailer is larger than {MAX_CHUNK_LINE} bytes.")
            if not stop:
                return None
            at = stop
            if self._ends():
                return at
        return None

    def _ends(self) -> bool:
        """Read a whole line; whether it ends the message."""
        line = self._line.strip()
        self._framing += len(self._line)
        self._line.clear()
        if self._framing > MAX_FRAMING + self._data // 8:
            raise HeadTooLarge("The chunk headers and trailers are too large for the body; send larger chunks.")
        if self._trailers:
            return not line
        if not (digits := _SIZE.match(line)):
            raise InvalidRequest("The body's chunks are not valid HTTP.")
        size = int(digits[0], 16)
        self._data += size
        self._left = size + 2 if size else 0
        self._trailers = not size
        return False


def framing_of(headers: Iterable[tuple[bytes, bytes]]) -> Framing:
    """The framing of a body that is not whole yet; the parser has checked its `headers`."""
    length = b"0"
    for name, value in headers:
        if name == b"transfer-encoding":
            return Chunks()
        if name == b"content-length":
            length = value
    return Length(int(length))
