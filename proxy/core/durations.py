"""Durations as readable text, for messages: `0.25 s`, `90 s`, `6 min`, `1 h 30 min`, `1 d`."""

from __future__ import annotations

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def duration_text(seconds: float) -> str:
    """Return `seconds` in at most two units; below two minutes only in seconds."""
    if seconds < 120:
        return f"{max(seconds, 0.0):.3g} s"
    place = next(place for place, (_, size) in enumerate(_UNITS) if seconds >= size)
    (unit, size), (smaller, part) = _UNITS[place], _UNITS[place + 1]
    parts = round(seconds / part)  # of the smaller unit, so that 59.9 min is an hour
    whole, rest = divmod(parts, size // part)
    return f"{whole} {unit} {rest} {smaller}" if rest else f"{whole} {unit}"
