"""Compressed answers, unpacked in bounded pieces. We ask for `identity`; some upstreams compress all the same."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from proxy.core.failures import FailureKind, UpstreamFailure

PIECE = 16 * 1024  # bytes that are unpacked at once, so that no bomb unfolds in memory
MAX_FRUITLESS = 1024 * 1024  # packed bytes in a row that unpack to nothing

_ENCODINGS = ("gzip", "x-gzip", "deflate")
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS


def is_packed(encoding: str | None) -> bool:
    """Whether a body with this `content-encoding` needs `unpacked`."""
    return encoding is not None and encoding.strip().lower() not in ("", "identity")


async def unpacked(encoding: str, packed: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The content of a packed body, as it comes. Raises `UpstreamFailure` (malformed) where it cannot be read."""
    name = encoding.strip().lower()
    async with aclosing(packed):
        if name not in _ENCODINGS:
            raise _malformed(f"the upstream's content-encoding {name[:32]!r} is not known")
        unpacker = _Unpacker(deflate=name == "deflate")
        fruitless = 0
        try:
            async for data in packed:
                fruitless += len(data)
                for piece in unpacker.feed(data):
                    fruitless = 0
                    yield piece
                    if len(piece) == PIECE:  # there may be very much more in `data`
                        await asyncio.sleep(0)
                if fruitless > MAX_FRUITLESS:
                    raise _malformed("the upstream's compressed answer has no content")
        except zlib.error:
            raise _malformed("the upstream's compressed answer cannot be read") from None


class _Unpacker:
    """gzip with any number of members, zlib, or bare deflate: some servers call the last one `deflate`."""

    def __init__(self, *, deflate: bool) -> None:
        self._inflate = zlib.decompressobj(_ZLIB_OR_GZIP)
        self._start: bytes | None = b"" if deflate else None  # until two bytes tell zlib from bare deflate

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The content of the next bytes, in bounded pieces."""
        if self._start is not None:
            data = self._start + data
            self._start = data if len(data) < 2 else None
            if self._start is not None:
                return
            if data[0] & 15 != 8 or int.from_bytes(data[:2], "big") % 31:  # RFC 1950 section 2.2
                self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        while data:
            if piece := self._inflate.decompress(data, PIECE):
                yield piece
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                data = self._inflate.unused_data
                self._inflate = zlib.decompressobj(_ZLIB_OR_GZIP)


def _malformed(words: str) -> UpstreamFailure:
    return UpstreamFailure(FailureKind.MALFORMED, words, cause="encoding")
