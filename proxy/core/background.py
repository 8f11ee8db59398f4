"""Background work of the application, and work in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class BackgroundService(Protocol):
    """Work that runs beside the calls, from the start of the application to its end."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run `function` in a thread; when cancelled, wait for its end, so that it never runs beside a later one."""
    future = asyncio.get_running_loop().run_in_executor(None, function, *args)
    try:
        return await asyncio.shield(future)
    finally:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        future.exception()  # after a cancellation its error is not reported
