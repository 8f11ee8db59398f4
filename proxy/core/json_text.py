"""JSON of others, in which anything may stand, and our own, as short as it can be."""

from __future__ import annotations

import json
from typing import Any


def value_of(text: bytes | str) -> Any:
    """The value that `text` stands for; None if it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def object_of(text: bytes | str) -> dict[str, Any] | None:
    """The object that `text` stands for; None if it is none."""
    value = value_of(text)
    return value if isinstance(value, dict) else None


def compact(value: Any) -> bytes:
    """`value` without a space, in UTF-8; half of a surrogate pair, as `\\ud800` may bring it, becomes a `?`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
