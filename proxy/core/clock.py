"""Time: the only module that reads a clock. Everything else is given one, so that tests own the time."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds that never go back, for durations."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, for records."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until `event` is set, at most so long (infinity: for ever); whether it was set."""
        ...


class SystemClock:
    """The machine's clock."""

    monotonic = staticmethod(time.monotonic)  # without a frame of ours: one call reads it some thirty times
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
