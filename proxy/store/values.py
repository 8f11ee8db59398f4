"""Conversion of values to columns and back."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from proxy.store.errors import InvalidValue

MAX_ID = 256  # characters of an id
MAX_TEXT = 100_000  # characters of any other text
MAX_STATUS = 2**15 - 1
MAX_INTEGER = 2**53  # far below 64 bits, so that sums have room
_MICROSECONDS = 1_000_000


def check_id(value: str, what: str = "id") -> str:
    """Return `value`. Raises `InvalidValue` if it cannot be the id of a row."""
    if not value:
        raise InvalidValue(f"`{what}` must not be empty")
    return check_text(value, what, MAX_ID)


def check_text(value: str, what: str, longest: int = MAX_TEXT) -> str:
    """Return `value`. Raises `InvalidValue` if it cannot be stored."""
    if len(value) > longest:
        raise InvalidValue(f"`{what}` must have at most {longest} characters")
    if "\0" in value:
        raise InvalidValue(f"`{what}` must not contain NUL characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"`{what}` is not valid Unicode") from None
    return value


def microseconds(seconds: float) -> int:
    """Return seconds since 1970 as whole microseconds."""
    return round(seconds * _MICROSECONDS)


def seconds(microseconds: int) -> float:
    """Return microseconds since 1970 as seconds."""
    return microseconds / _MICROSECONDS


def to_json(value: object) -> str:
    """Return `value` as JSON. Raises `InvalidValue` if it has no JSON form that both databases store."""
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise InvalidValue(f"a value cannot be stored as JSON: {exc}") from None
    return check_text(text, "JSON")


Row = TypeVar("Row", bound=msgspec.Struct)


def cleaned(row: Row) -> Row:
    """Return a row with every text and number changed to the nearest one that both databases can store."""
    return msgspec.structs.replace(row, **{name: _clean(name, getattr(row, name)) for name in row.__struct_fields__})


def _clean(name: str, value: object) -> object:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()[:MAX_TEXT]
    if isinstance(value, int) and not isinstance(value, bool):
        most = MAX_STATUS if name == "status" else MAX_INTEGER
        return max(-most, min(value, most))
    return value
