"""Frames: what is whole is read, and a torn or damaged end is not."""

from __future__ import annotations

from proxy.ledger.frames import LARGEST, MAGIC, OVERHEAD, framed, payloads

PAYLOADS = [b"a", b"bb" * 100, b"\0" * 7]
SEGMENT = MAGIC + b"".join(map(framed, PAYLOADS))


def test_payloads_are_read_as_they_were_written() -> None:
    assert list(payloads(SEGMENT)) == PAYLOADS


def test_a_segment_cut_at_any_byte_gives_its_whole_frames() -> None:
    ends = [len(MAGIC)]
    for payload in PAYLOADS:
        ends.append(ends[-1] + OVERHEAD + len(payload))

    for length in range(len(SEGMENT) + 1):
        whole = sum(end <= length for end in ends[1:])
        assert list(payloads(SEGMENT[:length])) == PAYLOADS[:whole]


def test_reading_ends_at_a_damaged_byte() -> None:
    for at in range(len(MAGIC), len(SEGMENT)):
        damaged = bytearray(SEGMENT)
        damaged[at] ^= 0x40

        found = list(payloads(bytes(damaged)))

        assert found == PAYLOADS[: len(found)]
        assert len(found) < len(PAYLOADS)


def test_zeros_after_the_last_frame_are_its_end() -> None:
    assert list(payloads(SEGMENT + b"\0" * 4096)) == PAYLOADS


def test_an_impossible_length_is_the_end() -> None:
    assert list(payloads(SEGMENT + (LARGEST + 1).to_bytes(4, "little") + b"x" * 100)) == PAYLOADS


def test_a_file_of_another_format_has_no_payloads() -> None:
    assert list(payloads(b"SBLEDG9\n" + SEGMENT[len(MAGIC) :])) == []
