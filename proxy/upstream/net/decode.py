"""Decompression of answers in bounded steps. Requests accept only `identity`, but some upstreams compress anyway."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from proxy.core.failures import FailureKind, UpstreamFailure

PIECE = 16 * 1024  # bytes that are decompressed at a time, as a limit for compression bombs
MAX_FRUITLESS = 1024 * 1024  # consecutive compressed bytes without any content

_ENCODINGS = ("gzip", "x-gzip", "deflate")
_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS


def is_packed(encoding: str | None) -> bool:
    """Whether a body with this `content-encoding` needs `unpacked`."""
    return encoding is not None and encoding.strip().lower() not in ("", "identity")


async def unpacked(encoding: str, packed: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield the decompressed content as it arrives. Raises `UpstreamFailure` (malformed) if it is invalid."""
    name = encoding.strip().lower()
    async with aclosing(packed):
        if name not in _ENCODINGS:
            raise _malformed(f"the upstream's content-encoding {name[:32]!r} is not supported")
        unpacker = _Unpacker(deflate=name == "deflate")
        fruitless = 0
        try:
            async for data in packed:
                fruitless += len(data)
                for piece in unpacker.feed(data):
                    fruitless = 0
                    yield piece
                    if len(piece) == PIECE:  # `data` may contain much more: let other tasks run
                        await asyncio.sleep(0)
                if fruitless > MAX_FRUITLESS:
                    raise _malformed("the upstream's compressed answer has no content")
        except zlib.error:
            raise _malformed("the upstream's compressed answer is invalid") from None


class _Unpacker:
    """Decompresses gzip with any number of members, zlib, and raw deflate, which some servers call `deflate`."""

    def __init__(self, *, deflate: bool) -> None:
        self._inflate = zlib.decompressobj(_ZLIB_OR_GZIP)
        self._start: bytes | None = (
            b"" if deflate else None
        )  # the first bytes, until zlib and raw deflate can be distinguished

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the content of `data` in bounded pieces."""
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
