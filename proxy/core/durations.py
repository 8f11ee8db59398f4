"""Durations as readable text, for messages: `0.25 s`, `90 s`, `6 min`, `1 h 30 min`, `1 d`."""

from __future__ import annotations

import math

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


def go_duration(seconds: float) -> str:
    """Return `seconds`, rounded up, in the form of OpenAI's headers: `20ms`, `7.66s`, `6m0s`, `24h0m0s`."""
    milliseconds = math.ceil(max(seconds, 0.0) * 1000 - 1e-6)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:g}s"
    minutes, rest = divmod(math.ceil(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
