"""Units of work to read JSON, counted by its punctuation before it is read.

A JSON reader holds the interpreter's lock until it is done, so a text that is cheap to send and expensive to read stops
every other call. Most texts are accepted by an upper bound that counts the punctuation in their strings too.
"""

from __future__ import annotations

LARGE = 256 * 1024  # bytes; work on larger bodies is done in a thread, so that it does not block the event loop

MEMBER_WORK = 20
NESTED_WORK = 5  # an array or object
NUMBER_WORK = 10  # a number with a fraction or an exponent, which needs exact rounding; with both twice
BYTES = 8  # that are a unit of work: of long integers
MAX_STRINGS = 400_000
_OTHERS = bytes(set(range(256)) - set(b",:[{0123456789"))  # neither punctuation nor digits


def exceeds(raw: bytes, most: int) -> bool:
    """Return whether reading `raw` takes more than `most` units of work, or it has more than `MAX_STRINGS`."""
    if not _may_exceed(raw, most):
        return False
    bare = skeleton(raw)
    return bare is None or work_of(bare) > most


def _may_exceed(raw: bytes, most: int) -> bool:
    """Return whether an upper bound of `work_of` exceeds `most`, or there may be more than `MAX_STRINGS`.

    Strings and values follow a comma, a colon or a bracket. A value that is no string has at most 5 characters that are
    not digits; a number with a fraction or an exponent has at least 2 digits, one with both at least 3.
    """
    marks = raw.translate(None, _OTHERS)
    commas, colons, nested = marks.count(b","), marks.count(b":"), nested_in(marks)
    values = commas + colons + nested + 1
    digits = len(marks) - commas - colons - nested
    numbers = min(2 * NUMBER_WORK * values, 7 * digits)
    length = values + digits // BYTES
    bound = commas + MEMBER_WORK * colons + NESTED_WORK * nested + numbers + length
    return bound > most or values > MAX_STRINGS


def skeleton(raw: bytes) -> bytes | None:
    """Return `raw` without its strings and their quotes, `None` if it has more than `MAX_STRINGS`."""
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")  # every quote that is left begins or ends a string
    pieces = raw.split(b'"', 2 * MAX_STRINGS + 1)
    return b"".join(pieces[::2]) if len(pieces) <= 2 * MAX_STRINGS + 1 else None


def work_of(bare: bytes) -> int:
    """Return the units of work to read the JSON whose skeleton is `bare`; an item of a list is one."""
    literals = bare.count(b"true") + bare.count(b"false")
    numbers = bare.count(b".") + bare.count(b"e") + bare.count(b"E") - literals
    length = len(bare.translate(None, b" \t\r\n"))
    separators = bare.count(b",") + MEMBER_WORK * bare.count(b":")
    return separators + NESTED_WORK * nested_in(bare) + NUMBER_WORK * numbers + length // BYTES


def nested_in(bare: bytes) -> int:
    """Return the number of arrays and objects in the JSON whose skeleton is `bare`."""
    return bare.count(b"[") + bare.count(b"{")
