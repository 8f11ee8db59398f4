"""Messages between supervisor and workers: JSON objects, each behind its length, over a pair of stream sockets.

    worker to supervisor                       supervisor to worker
    {"kind": "ready"}                          {"kind": "drain"}      finish calls and end
    {"kind": "leaving"}                        {"kind": "interrupt"}  end at once
    {"kind": "ask", "id", "topic", "body"}     {"kind": "reload"}
    {"kind": "answer", "id", "body"}           {"kind": "question", "id", "topic", "body"}
    {"kind": "loaded", "configuration"}        {"kind": "reply", "id", "answers"}
                                               {"kind": "log", "record"}

A worker asks all others by way of the supervisor, which collects their answers. Connections come over a second pair:
one byte each, with the socket beside it. `configuration` is in base64; the supervisor gives the last one to each worker
that it starts.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]
_LENGTH = struct.Struct("!I")


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    body = json.dumps(message, separators=(",", ":"), default=str).encode()
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are complete with `data`."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield json.loads(body)
