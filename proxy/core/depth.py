"""How deeply a JSON value is nested, found out without building it.

Python recurses into nested values, so that a body that is nested too deeply would exhaust the stack of whatever reads
it. Usual values have so few brackets that counting them is enough; others are split level by level, as far as they have
many.
"""

from __future__ import annotations

from msgspec import Raw
from msgspec.json import Decoder

_LIST, _OBJECT = b"[{"
_items = Decoder(list[Raw]).decode
_members = Decoder(dict[str, Raw]).decode


def is_deep(value: Raw, levels: int) -> bool:
    """Return whether `value` is nested deeper than `levels`; of repeated members, the last counts.

    Raises `RecursionError` if msgspec cannot read it either.
    """
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
