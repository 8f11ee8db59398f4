"""Reads JSON of clients and upstreams, which may contain anything, and writes compact, strict JSON.

Python reads and writes `NaN`, `Infinity` and numbers too large for a double; other JSON parsers do not. The functions
here never write them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import DecodeError
from msgspec.json import Decoder, Encoder

from proxy.core.work import exceeds

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_MOST_DIGITS = 300  # of an integer that is read exactly; the server limits Python's reader to 640
_VERY_LARGE: int = 10**_MOST_DIGITS
_BLANK = re.compile(r"[ \t\n\r]*")
SMALL = 64 * 1024  # bytes; a text of this size is cheap to read
DECODE_ERRORS = (DecodeError, UnicodeDecodeError, RecursionError)  # of JSON that does not fit a typed view
_T = TypeVar("_T")
MAX_WORK = 8_000_000  # units: an item of a list is 1, a list or object 5, a member 20; large embeddings have 6 million
_MOST_QUOTES = 2_000_000  # quotes above which a text is expensive
MAX_NESTED_WORK = 500_000  # units of `core/work.py`, of such a value
MAX_NESTED = 100  # levels of a value that is encoded as text in a body


class NotStrict(ValueError):
    """A value that strict JSON cannot express: NaN, an infinite number."""


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("the number is too large")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
_decode_any = Decoder().decode
_encode = Encoder().encode


def loads(text: bytes | str) -> Any:
    """Return the value of the JSON `text`; an integer with too many digits becomes a very large one.

    Raises `ValueError` or `RecursionError` if it is not JSON.
    """
    if len(text) > SMALL and is_expensive(text):
        raise ValueError("it has too many values")
    try:
        return _decode_any(text)
    except (DecodeError, ValueError, RecursionError):
        return _python_loads(text)


def finite_loads(text: bytes) -> Any:
    """Return the value of the JSON `text` like `loads`, but reject other encodings and infinite numbers."""
    if len(text) > SMALL and is_expensive(text):
        raise ValueError("it has too many values")
    try:
        return _decode_any(text)
    except (DecodeError, ValueError, RecursionError):
        return _python_loads(text.decode(), parse_constant=_refuse, parse_float=_finite)


def _python_loads(text: bytes | str, **hooks: Any) -> Any:
    """Read with Python's reader, which accepts more than `msgspec`."""
    try:
        return json.loads(text, **hooks)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:
        return json.loads(text, parse_int=_integer, **hooks)


def is_expensive(text: bytes | str) -> bool:
    """Whether a large text has so many values that reading it would block the event loop for too long."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    first = raw[:SMALL].lstrip()[:1]
    if b"!" <= first <= b"~" and first not in (b"{", b"["):  # other bytes may begin UTF-16
        return False  # at most one value, or not JSON at all: events, a page
    if _work(raw) <= MAX_WORK:
        return False
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"")  # every remaining quote begins or ends a string
    return plain.count(b'"') > _MOST_QUOTES or _work(b"".join(plain.split(b'"')[::2])) > MAX_WORK


def _work(raw: bytes) -> int:
    return raw.count(b",") + 20 * raw.count(b":") + 5 * (raw.count(b"[") + raw.count(b"{"))


def typed(decode: Callable[[bytes], _T], data: bytes) -> _T | None:
    """Return the typed view of `data` by `decode` (of a `msgspec.json.Decoder`); `None` if it does not fit.

    A view declares ordinary members with their ordinary values, and means the same as the value that `loads` returns.
    """
    try:
        if not data.isascii():
            data.decode()  # strings that are skipped are not checked for UTF-8
        return decode(data)
    except DECODE_ERRORS:
        return None


def value_at(text: str, at: int) -> tuple[Any, int]:
    """Return the value that begins after white space at `at`, and its end. Raises `ValueError`."""
    start = _BLANK.match(text, at)
    return _ANY.raw_decode(text, start.end() if start else at)


def value_of(text: bytes | str) -> Any:
    """Return the value of the JSON `text`; `None` if it is invalid."""
    try:
        return loads(text)
    except (ValueError, RecursionError):
        return None


def object_of(text: bytes | str) -> dict[str, Any] | None:
    """Return the object of the JSON `text`; `None` if it is not an object."""
    try:
        value = loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def strict_value_of(text: str) -> Any:
    """Return the value of `text` if it can be written into a body again; else `None`.

    A value that is nested deeper than `MAX_NESTED` cannot: with the levels around it, a reader may reject it. A text
    with too many values is not read, because that would block other calls.
    """
    if nested_is_expensive(text):
        return None
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return None if text.count("[") + text.count("{") > MAX_NESTED and _is_deep(value) else value


def nested_is_expensive(text: str) -> bool:
    """Whether `text` is JSON of so many values that reading it would make other calls wait."""
    return len(text) > SMALL and exceeds(text.encode("utf-8", "replace"), MAX_NESTED_WORK)


def strict_object_of(text: str) -> dict[str, Any] | None:
    """Return the object of the JSON `text`, if it can be written again; else `None`."""
    value = strict_value_of(text)
    return value if isinstance(value, dict) else None


def compact(value: Any) -> bytes:
    """Return `value` as JSON without spaces, in UTF-8; half of a surrogate pair, such as `\\ud800`, becomes `?`.

    Raises `NotStrict` for a number that JSON does not have.
    """
    try:
        text = _ENCODER.encode(value)
    except ValueError as exc:
        raise NotStrict("a number is not finite") from exc
    return text.encode("utf-8", "replace")


def compact_nulled(value: Any) -> bytes:
    """Return `value` like `compact`, with null in place of numbers that JSON does not have."""
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError):  # half of a surrogate pair, a very large integer
        return compact(_nulled(value))


def _integer(text: str) -> int:
    if len(text) <= _MOST_DIGITS:
        return int(text)
    return -_VERY_LARGE if text.startswith("-") else _VERY_LARGE


_ANY = json.JSONDecoder(parse_int=_integer)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_NESTED):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return True


def _nulled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _nulled(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nulled(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
