"""Points in time as text: ISO 8601 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

_LAST = 253_402_300_799.0  # the end of the year 9999


def iso(seconds: float | None) -> str | None:
    """Return seconds since 1970 as ISO 8601 in UTC, with milliseconds unless they are 0."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00").removesuffix(".000") + "Z"


def seconds_of(text: str) -> float:
    """Return a time in ISO 8601 as seconds since 1970; without a time zone it is UTC. Raises `ValueError`."""
    try:
        time = datetime.fromisoformat(text)
        value = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("must be a time in ISO 8601, such as 2027-01-31T00:00:00Z") from None
    if not 0 <= value <= _LAST:
        raise ValueError("must be a time after 1970")
    return value
