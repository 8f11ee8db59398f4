"""Limits of Python's JSON reader, checked without building the value: depth of nesting, and digits of an integer.

Python recurses into nested values, and refuses to read integers that are longer than `sys.get_int_max_str_digits()`.
Usual values have so few brackets that counting them is enough; others are split level by level, as far as they have
many.
"""

from __future__ import annotations

import re

from msgspec import Raw
from msgspec.json import Decoder

MAX_DIGITS = 640  # the least limit that Python can be set to

_LIST, _OBJECT = b"[{"
_RUNS = ((211, re.compile(rb"[0-9]{3}")), (19, re.compile(rb"[0-9]{33}")))  # see `may_have_a_long_integer`
_items = Decoder(list[Raw]).decode
_members = Decoder(dict[str, Raw]).decode


def may_exceed(value: Raw, levels: int) -> bool:
    """Return whether `value` is nested deeper than `levels`, or may have an integer that is too long.

    Raises `RecursionError` if msgspec cannot read it either.
    """
    return is_deep(value, levels) or may_have_a_long_integer(value)


def is_deep(value: Raw, levels: int) -> bool:
    """Return whether `value` is nested deeper than `levels`; of repeated members, the last counts."""
    if len(value) <= 2 * levels:  # each level has two brackets
        return False
    opening = memoryview(value)[0]
    if opening not in (_LIST, _OBJECT):
        return False
    if not has_more_brackets(bytes(value), levels):
        return False
    if levels == 0:
        return True
    inner = _items(value) if opening == _LIST else _members(value).values()
    return any(is_deep(item, levels - 1) for item in inner if len(item) > 2 * (levels - 1))


def has_more_brackets(text: bytes, most: int) -> bool:
    """Return whether more than `most` arrays and objects seem to begin in `text`; brackets in strings count too."""
    for bracket in (b"{", b"["):
        at = text.find(bracket)
        while at >= 0:
            most -= 1
            if most < 0:
                return True
            at = text.find(bracket, at + 1)
    return False


def may_have_a_long_integer(value: Raw) -> bool:
    """Return whether there may be more than `MAX_DIGITS` digits in a row; digits in strings count too.

    So many digits contain 3 samples in a row of every 211th byte, and 33 of every 19th.
    """
    if len(value) <= MAX_DIGITS:
        return False
    text = bytes(value)
    return all(run.search(text[::step]) for step, run in _RUNS)
