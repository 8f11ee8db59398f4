"""Parses durations, sizes and numbers: `500ms`, `1m30s`, `1d`; `20MiB`, `20M`; `128k`, `1_000_000`."""

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
BYTES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_WORDS = {
    "ms": ("msec", "msecs", "millisecond", "milliseconds"),
    "s": ("sec", "secs", "second", "seconds"),
    "m": ("min", "mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "d": ("day", "days"),
    "w": ("week", "weeks"),
}
_FACTORS = SECONDS | {word: SECONDS[unit] for unit, words in _WORDS.items() for word in words}
_NUMBER = r"[0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?"
_AMOUNT = re.compile(rf"({_NUMBER})\s*([A-Za-z]*)", re.ASCII)
_AMOUNTS = re.compile(rf"(?:{_NUMBER}\s*[a-z]+\s*)+", re.ASCII)
_BYTES_BY_LOWER = {unit.lower(): factor for unit, factor in BYTES.items()}
_BYTES_BY_LOWER |= {unit[:-1].lower(): factor for unit, factor in BYTES.items() if len(unit) > 1}
_COUNTS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "b": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_LARGEST = 10.0**12  # seconds; longer than any use, and still exact when added to a clock
_LONGEST = 40  # characters
_DURATION = "a duration such as `500ms`, `30s`, `10m` or `1d`"
_SIZE = "a size such as `20MiB`, `1GB` or `65536`"


def seconds(value: Any) -> float:
    """Read a duration; a plain number is seconds."""
    parts = _several(value) or [_parts(value, _DURATION)]
    total = 0.0
    smallest = math.inf
    for amount, unit in parts:
        factor = _FACTORS.get(unit or "s")
        if factor is None or not math.isfinite(amount) or factor >= smallest:
            raise ValueError(f"must be {_DURATION}")
        total, smallest = total + amount * factor, factor
    if total > _LARGEST:
        raise ValueError(f"must be {_DURATION}")
    return round(total, 9)


def positive_seconds(value: Any) -> float:
    """Read a duration that must be longer than 0."""
    duration = seconds(value)
    if duration <= 0:
        raise ValueError("must be longer than 0, for example `30s`")
    return duration


def size(value: Any) -> int:
    """Read a size; a plain number is bytes."""
    amount, unit = _parts(value, _SIZE)
    factor = _BYTES_BY_LOWER.get(unit.lower() or "b")
    if factor is None or not math.isfinite(amount) or amount * factor > 2**62:
        raise ValueError(f"must be {_SIZE}")
    return int(amount * factor)


def count(value: Any) -> Any:
    """Read a number with a suffix, such as `128k` or `2M`; the schema checks anything else."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return value
    match = _AMOUNT.fullmatch(value.strip())
    factor = _COUNTS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        return value
    amount = round(float(match[1]) * factor, 6) if "." in match[1] else int(match[1]) * factor
    return int(amount) if amount == int(amount) else amount


def share(value: Any) -> Any:
    """Read a percentage as a share; the schema checks anything else."""
    if isinstance(value, str) and len(value) <= _LONGEST and re.fullmatch(rf"{_NUMBER}\s*%", value.strip(), re.ASCII):
        return float(value.strip().rstrip("% ").replace("_", "")) / 100
    return value


def _several(value: Any) -> list[tuple[float, str]]:
    """The parts of a duration such as `1h30m`; empty for other notations."""
    if not isinstance(value, str) or len(value) > _LONGEST or not _AMOUNTS.fullmatch(value.strip()):
        return []
    return [(float(amount), unit) for amount, unit in _AMOUNT.findall(value.strip())]


def _parts(value: Any, what: str) -> tuple[float, str]:
    """The number and its unit. Raises `ValueError` for a bool, a list or free text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be {what}")
    if not isinstance(value, str):
        if value < 0:
            raise ValueError(f"must be {what}, not negative")
        return (float(value) if abs(value) < 2**63 else math.inf), ""
    if value.strip().startswith("-"):
        raise ValueError(f"must be {what}, not negative")
    match = _AMOUNT.fullmatch(value.strip())
    if match is None or len(value) > _LONGEST:
        raise ValueError(f"must be {what}")
    return float(match[1]), match[2]


_NUMBER_SCHEMA = {"type": "number", "minimum": 0}
_DURATION_SCHEMA = WithJsonSchema(
    {"anyOf": [_NUMBER_SCHEMA, {"type": "string", "pattern": r"^[0-9][0-9._a-z ]*$|\$\{"}]}
)
_SIZE_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": r"^[0-9._]+\s*([KMGTkmgt]i?)?[Bb]?$|\$\{"},
        ]
    }
)

Duration = Annotated[float, BeforeValidator(seconds), _DURATION_SCHEMA]
"""Seconds, 0 or more."""

PositiveDuration = Annotated[float, BeforeValidator(positive_seconds), _DURATION_SCHEMA]
"""Seconds, more than 0."""

Size = Annotated[int, BeforeValidator(size), _SIZE_SCHEMA]
"""Bytes."""
