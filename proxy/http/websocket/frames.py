"""WebSocket's frames (RFC 6455): reads those of a client, and writes those of a server. No extensions.

0: FIN, RSV1-3, opcode    1: MASK, length    (2 or 8 bytes of length)    4 bytes of mask    payload
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from enum import IntEnum

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST_CONTROL = 125  # bytes of a control frame
_SLICE = 1 << 20  # bytes that are unmasked at once


class Opcode(IntEnum):
    """The kinds of frames."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Close(IntEnum):
    """The codes of a `CLOSE` frame that a server sends."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED = 1003
    INVALID_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    TRY_AGAIN = 1013


_KNOWN = frozenset(Opcode)
_VALID_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})


class FrameError(Exception):
    """The client has broken the protocol; `code` is for the `CLOSE` frame, the message for its reason."""

    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class FrameReader:
    """Joins the bytes of a client to messages of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()  # not read yet
        self._message = bytearray()  # of the fragments of a text so far
        self._begun = False  # a text has

    @property
    def size(self) -> int:
        """The bytes in memory."""
        return len(self._data) + len(self._message)

    def feed(self, data: bytes) -> Iterator[tuple[Opcode, bytes]]:
        """Yield whole texts and control frames. Raises `FrameError`, after which nothing may be fed."""
        self._data += data
        while (frame := self._frame()) is not None:
            whole = self._joined(*frame)
            if whole is not None:
                yield whole

    def _frame(self) -> tuple[bool, Opcode, bytes] | None:
        """Return the next frame, unmasked: whether it is the last one of its message, its opcode and its payload."""
        data = self._data
        if len(data) < 2:
            return None
        last, opcode, length = bool(data[0] & 0x80), data[0] & 0x0F, data[1] & 0x7F
        if data[0] & 0x70 or opcode not in _KNOWN or not data[1] & 0x80:
            raise FrameError(Close.PROTOCOL_ERROR, "reserved bits, an unknown opcode, or a frame without a mask")
        if opcode >= Opcode.CLOSE and (not last or length > _MOST_CONTROL):
            raise FrameError(Close.PROTOCOL_ERROR, "a control frame is too long or fragmented")
        start = 2 + {126: 2, 127: 8}.get(length, 0)
        if len(data) < start:
            return None
        if start > 2:
            length = int.from_bytes(data[2:start], "big")
        if length + len(self._message) > self._limit:
            raise FrameError(Close.TOO_BIG, f"a message is larger than {self._limit} bytes (`server.max_body`)")
        end = start + 4 + length
        if len(data) < end:
            return None
        payload = _unmasked(bytes(data[start + 4 : end]), bytes(data[start : start + 4]))
        del data[:end]
        return last, Opcode(opcode), payload

    def _joined(self, last: bool, opcode: Opcode, payload: bytes) -> tuple[Opcode, bytes] | None:
        """Return a control frame, or the text that a frame completes."""
        if opcode >= Opcode.CLOSE:
            if opcode is Opcode.CLOSE:
                _check_close(payload)
            return opcode, payload
        if opcode is Opcode.BINARY:
            raise FrameError(Close.UNSUPPORTED, "messages must be text")
        if (opcode is Opcode.CONTINUATION) is not self._begun:
            raise FrameError(Close.PROTOCOL_ERROR, "a fragment is out of order")
        self._begun = not last
        self._message += payload
        if not last:
            return None
        text = bytes(self._message)
        self._message.clear()
        try:
            text.decode()
        except UnicodeDecodeError:
            raise FrameError(Close.INVALID_TEXT, "a message is not UTF-8") from None
        return Opcode.TEXT, text


def frame(opcode: Opcode, payload: bytes) -> bytes:
    """Return a frame of a server that is a whole message."""
    size = len(payload)
    first = 0x80 | opcode
    if size <= _MOST_CONTROL:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a `CLOSE` frame."""
    return frame(Opcode.CLOSE, code.to_bytes(2, "big") + reason.encode()[: _MOST_CONTROL - 2])


def accept_key(key: str) -> str | None:
    """Return the answer to `sec-websocket-key`; `None` if that is not 16 bytes in base 64."""
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            return None
    except ValueError:
        return None
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    """XOR the payload with the mask, in slices: each is one operation on large integers."""
    if len(payload) > _SLICE:
        return b"".join(_unmasked(payload[at : at + _SLICE], mask) for at in range(0, len(payload), _SLICE))
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(payload, "little") ^ key).to_bytes(size, "little")


def _check_close(payload: bytes) -> None:
    """Raise `FrameError` for a `CLOSE` frame that is not valid."""
    if not payload:
        return
    if len(payload) == 1 or int.from_bytes(payload[:2], "big") not in _VALID_CODES:
        raise FrameError(Close.PROTOCOL_ERROR, "the code of the close is not valid")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(Close.PROTOCOL_ERROR, "the reason of the close is not UTF-8") from None
