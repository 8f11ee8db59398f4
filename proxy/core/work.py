"""How much work it is to read JSON, counted by its punctuation before it is read.

A JSON reader holds the interpreter's lock until it is done, so a text that is cheap to send and expensive to read stops
every other call. Counting is some fifty times faster than reading.
"""

from __future__ import annotations

LARGE = 256 * 1024  # bytes; work on larger bodies is done in a thread, so that it does not block the event loop

MEMBER_WORK = 20
NESTED_WORK = 5  # an array or object
NUMBER_WORK = 10  # a number with a fraction or an exponent, which needs exact rounding; with both twice
BYTES = 8  # that are a unit of work: of long integers
MAX_STRINGS = 400_000


def skeleton(raw: bytes) -> bytes | None:
    """`raw` without its strings and their quotes; None: it has more than `MAX_STRINGS`."""
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")  # every quote that is left begins or ends a string
    pieces = raw.split(b'"', 2 * MAX_STRINGS + 1)
    return b"".join(pieces[::2]) if len(pieces) <= 2 * MAX_STRINGS + 1 else None


def work_of(bare: bytes) -> int:
    """Units of work to read the JSON whose skeleton is `bare`; an item of a list is one."""
    numbers = bare.count(b".") + bare.count(b"e") + bare.count(b"E")
    length = len(bare.translate(None, b" \t\r\n"))
    separators = bare.count(b",") + MEMBER_WORK * bare.count(b":")
    return separators + NESTED_WORK * nested_in(bare) + NUMBER_WORK * numbers + length // BYTES


def nested_in(bare: bytes) -> int:
    """Arrays and objects in the JSON whose skeleton is `bare`."""
    return bare.count(b"[") + bare.count(b"{")


def exceeds(raw: bytes, most: int) -> bool:
    """Whether reading `raw` takes more than `most` units of work, or it has too many strings."""
    bare = skeleton(raw)
    return bare is None or work_of(bare) > most
