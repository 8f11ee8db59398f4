"""Waiting for what another thread or process does in its own time: until it is so, however slow the machine is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from proxy.core.clock import SystemClock

PATIENCE = 60.0  # seconds for what must happen; only a failing test waits that long

Found = TypeVar("Found")


def until(look: Callable[[], Found]) -> Found:
    """Look again and again until something true is seen, and give it."""
    clock = SystemClock()
    end = clock.monotonic() + PATIENCE
    while not (found := look()):
        assert clock.monotonic() < end, "it never came to that"
    return found
