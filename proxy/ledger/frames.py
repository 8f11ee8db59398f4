"""The frames of a journal: a length, a CRC-32 and the payload, all in one write.

A power failure may tear the last frames of a file. Reading ends at the first frame that is not whole, because nothing
after it can be trusted; every frame before it is intact.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from zlib import crc32

MAGIC = b"SBLEDG1\n"  # the first bytes of a segment, with the version of its format
LARGEST = 16 * 1024 * 1024  # bytes of a payload; a longer one is a damaged length
_HEAD = Struct("<II")  # length and CRC-32 of the payload
OVERHEAD = _HEAD.size


def framed(payload: bytes) -> bytes:
    """Return the payload with its length and checksum."""
    return _HEAD.pack(len(payload), crc32(payload)) + payload


def payloads(data: bytes) -> Iterator[bytes]:
    """Yield the payloads of the whole frames in a segment; none if it is not a segment of this version."""
    if not data.startswith(MAGIC):
        return
    at, end = len(MAGIC), len(data)
    while at + OVERHEAD <= end:
        length, checksum = _HEAD.unpack_from(data, at)
        at += OVERHEAD
        payload = data[at : at + length]
        if not 0 < length <= LARGEST or len(payload) < length or crc32(payload) != checksum:
            return
        yield payload
        at += length
