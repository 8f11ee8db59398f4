"""Frames of WebSocket that are not valid, and the answer to a key."""

from __future__ import annotations

import pytest

from proxy.http.websocket.frames import FrameError, FrameReader, Opcode, accept_key, close_frame

MASK = bytes(4)


def masked(first: int, payload: bytes = b"", length: int | None = None) -> bytes:
    return bytes((first, 0x80 | (len(payload) if length is None else length))) + MASK + payload


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x00", 1002),  # without a mask
        (masked(0xC1), 1002),  # a reserved bit
        (masked(0x83), 1002),  # an unknown opcode
        (masked(0x09), 1002),  # a fragmented ping
        (masked(0x89, length=126), 1002),  # a long ping
        (masked(0x80), 1002),  # a continuation of nothing
        (masked(0x01) + masked(0x81), 1002),  # a text within a text
        (masked(0x82, b"x"), 1003),  # not a text
        (masked(0x81, b"\xff"), 1007),
        (masked(0x81, b"\xed\xa0\x80"), 1007),  # half of a surrogate pair
        (b"\x81\xfe\x00\x65" + MASK, 1009),
        (masked(0x01, b"x" * 60) + masked(0x80, length=60), 1009),
        (b"\x81\xff" + b"\xff" * 8 + MASK, 1009),
        (masked(0x88, b"\x03"), 1002),
        (masked(0x88, b"\x03\xed"), 1002),  # 1005 is never sent
        (masked(0x88, b"\x03\xe8\xff"), 1002),
    ],
)
def test_a_frame_that_is_not_valid_is_an_error(data: bytes, code: int) -> None:
    with pytest.raises(FrameError) as error:
        list(FrameReader(100).feed(data))

    assert error.value.code == code


def test_a_large_message_is_unmasked() -> None:
    mask, text = b"\x01\x02\x03\x04", b"abc" * 1_000_000
    payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(text))
    data = b"\x81\xff" + len(text).to_bytes(8, "big") + mask + payload

    assert list(FrameReader(len(text)).feed(data)) == [(Opcode.TEXT, text)]


def test_the_key_is_answered_as_in_rfc_6455() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    for invalid in ("", "x", "dGhl", "dGhlIHNhbXBsZSBub25jZQ", "é"):
        assert accept_key(invalid) is None


def test_a_close_frame_is_never_too_long() -> None:
    assert len(close_frame(1002, "x" * 500)) == 127
