"""Clocks: the only module that reads the time. All other code takes a clock as an argument, so tests control it."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def monotonic(self) -> float:
        """Return monotonic seconds, for durations."""
        ...

    def time(self) -> float:
        """Return seconds since the epoch, for records."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        ...

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until `event` is set, at most that many seconds (may be infinite); return whether it was set."""
        ...


class SystemClock:
    """The system's clock."""

    monotonic = staticmethod(time.monotonic)  # no extra frame: a call reads it about thirty times
    time = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True
