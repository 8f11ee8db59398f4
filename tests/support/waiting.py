"""Waiting for what another thread or process does in its own time: until it is so, however slow the machine is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from proxy.core.clock import SystemClock

PATIENCE = 60.0  # seconds for what must happen; only a failing test waits that long

Value = TypeVar("Value")


def until(look: Callable[[], Value]) -> Value:
    """Call `look` until it returns something true, and return that."""
    clock = SystemClock()
    end = clock.monotonic() + PATIENCE
    while not (value := look()):
        assert clock.monotonic() < end, "the condition never became true"
    return value
