"""Durations and sizes as people write them: `500ms`, `30s`, `10m`, `1d`; `20MiB`, `1GB`. Nothing else is guessed."""

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
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
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", re.ASCII)
_BYTES_BY_LOWER = {unit.lower(): factor for unit, factor in BYTES.items()}
_LARGEST = 10.0**12  # seconds: beyond any use, and still exact enough to add to a clock


def seconds(value: Any) -> float:
    """Read a duration; a plain number is seconds."""
    amount, unit = _parts(value, "a duration such as `500ms`, `30s`, `10m` or `1d`")
    factor = SECONDS.get(unit or "s")
    if factor is None or not math.isfinite(amount) or amount * factor > _LARGEST:
        raise ValueError("must be a duration such as `500ms`, `30s`, `10m` or `1d`")
    return round(amount * factor, 9)


def positive_seconds(value: Any) -> float:
    """Read a duration that must be longer than nothing."""
    duration = seconds(value)
    if duration <= 0:
        raise ValueError("must be longer than 0, for example `30s`")
    return duration


def size(value: Any) -> int:
    """Read a size; a plain number is bytes."""
    amount, unit = _parts(value, "a size such as `20MiB`, `1GB` or `65536`")
    factor = _BYTES_BY_LOWER.get(unit.lower() or "b")
    if factor is None or not math.isfinite(amount) or amount * factor > 2**62:
        raise ValueError("must be a size such as `20MiB`, `1GB` or `65536`")
    return int(amount * factor)


def _parts(value: Any, what: str) -> tuple[float, str]:
    """The number and its unit; a bool, a list or free text is refused."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be {what}")
    if not isinstance(value, str):
        if value < 0:
            raise ValueError(f"must be {what}, not negative")
        return (float(value) if abs(value) < 2**63 else math.inf), ""
    if value.strip().startswith("-"):
        raise ValueError(f"must be {what}, not negative")
    match = _AMOUNT.fullmatch(value.strip())
    if match is None or len(value) > 40:
        raise ValueError(f"must be {what}")
    return float(match[1]), match[2]


_DURATION_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9.]+\s*(ms|s|m|h|d)?$|\$\{"}]}
)
_SIZE_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9.]+\s*([KMGT]i?)?B?$|\$\{"}]}
)

Duration = Annotated[float, BeforeValidator(seconds), _DURATION_SCHEMA]
"""Seconds, 0 or more."""

PositiveDuration = Annotated[float, BeforeValidator(positive_seconds), _DURATION_SCHEMA]
"""Seconds, more than 0."""

Size = Annotated[int, BeforeValidator(size), _SIZE_SCHEMA]
"""Bytes."""
