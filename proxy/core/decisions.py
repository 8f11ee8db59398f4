"""Decision records as the ledger keeps them: JSON, compressed if it is long.

The record of a call to `auto` repeats the same members for every candidate, so that it is several times shorter then.
Compressed records begin with another byte than JSON.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

LONG = 1_000  # bytes
_LEVEL = 1  # the fastest
_MOST = 1 << 20  # bytes of a record that is read
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def kept(json: bytes) -> bytes:
    """Return what is kept of a record in JSON."""
    return json if len(json) < LONG else zlib.compress(json, _LEVEL)


def read_decision(kept: bytes) -> dict[str, Any]:
    """Return the record that was kept. Raises `ValueError` if it is damaged."""
    if kept[:1] == b"{":
        return _decode(kept)
    decompressor = zlib.decompressobj()
    try:
        json = decompressor.decompress(kept, _MOST)
    except zlib.error as exc:
        raise ValueError("the decision record is damaged") from exc
    return _decode(json)
