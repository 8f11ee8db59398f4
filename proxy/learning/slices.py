"""Runs a long computation in the event loop, in slices between which calls are served."""

from __future__ import annotations

import asyncio
from typing import Any


async def sliced(work: Any) -> Any:
    """Run a generator whose every step is a slice, and return what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value
        await asyncio.sleep(0)
