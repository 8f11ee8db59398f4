"""Validation of values from the state file, which may contain anything."""

from __future__ import annotations

import math
from typing import Any

MOST_COUNT = 1_000_000
MOST_AMOUNT = 10**15 - 1
LATEST = 1e11  # seconds since the epoch: about three thousand years


def saved_seconds(value: Any) -> float:
    """Return a time or duration in seconds. Raises `ValueError` unless it is a finite number in range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a time must be a number")
    if not -LATEST <= value <= LATEST:
        raise ValueError("a time lies too far away")
    return float(value)


def saved_count(value: Any) -> int:
    """Return a count. Raises `ValueError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_COUNT:
        raise ValueError("a count must be a whole number, and not too large")
    return value


def saved_amount(value: Any) -> int:
    """Return a limit or an amount. Raises `ValueError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_AMOUNT:
        raise ValueError("an amount must be a whole number, and not too large")
    return value


def saved_text(value: Any, longest: int = 500) -> str:
    """Return a name. Raises `ValueError` for anything else."""
    if not isinstance(value, str) or not value or len(value) > longest:
        raise ValueError("a name must be a text, and not too long")
    return value
