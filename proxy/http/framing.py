"""Finds the end of a chunked body, and limits the size of its framing.

The parser needs one message at a time. It validates the same bytes again; here they are only counted: chunk sizes,
extensions and trailers.
"""

from __future__ import annotations

import re

from proxy.core.errors import HeadTooLarge, InvalidRequest

MAX_FRAMING = 32 * 1024  # bytes of trailers, and of chunk headers in addition to an eighth of the data
MAX_CHUNK_LINE = 4 * 1024
_CODING = "transfer-encoding"
_SIZE = re.compile(rb"[0-9A-Fa-f]+")  # `int` also accepts a sign, `0x` and `_`


class Chunks:
    """A chunked body and its trailers."""

    def __init__(self) -> None:
        self._left = 0  # remaining bytes of the chunk and its line break
        self._line = bytearray()
        self._trailers = False
        self._framing = 0
        self._data = 0

    def end(self, data: bytes) -> int | None:
        """As `Framing` of `connection.py`."""
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
        """Parse a complete line. Return whether it ends the message."""
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
        if not size:
            self._trailers, self._framing, self._data = True, 0, 0  # the parser keeps trailers
        return False


def check_coding(value: str, version: str) -> None:
    """Raise `InvalidRequest` for a `transfer-encoding` other than one `chunked`, and for any in HTTP/1.0.

    The parser accepts every list that ends with `chunked`, and would pass on a body that is still encoded; a proxy
    in front that reads it differently could see another request in it (RFC 9112 section 6.1).
    """
    if version < "1.1":
        raise InvalidRequest("HTTP/1.0 has no `transfer-encoding`; send the body with `content-length`.", param=_CODING)
    if [coding for each in value.lower().split(",") if (coding := each.strip(" \t"))] != ["chunked"]:
        raise InvalidRequest(
            "`transfer-encoding` must be `chunked`; send the body without other codings.", param=_CODING
        )
