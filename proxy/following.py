"""Following the store: what a process reads from it before the first call, and again every few seconds."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from proxy.config.errors import ConfigError
from proxy.core.clock import Clock
from proxy.store.errors import StoreError

EVERY = 5.0  # seconds between two looks into the store
START_SECONDS = 3.0


class Follower(ABC):
    """A background service; while the store does not answer, what was read last stays in force."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @abstractmethod
    async def refresh(self) -> None:
        """Read the store, and activate what has changed."""

    async def start(self) -> None:
        """Read the store before the first call; if it does not answer in time, only the file applies."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self.refresh()
        except (StoreError, TimeoutError, ConfigError) as exc:
            self._warn(exc)

    async def run(self) -> None:
        """Follow the store until cancelled."""
        while True:
            await self._clock.sleep(EVERY)
            try:
                await self.refresh()
            except Exception as exc:
                self._warn(exc)

    @abstractmethod
    def warn(self, error: str) -> None:
        """Log that the store cannot be read."""

    def _warn(self, exc: Exception) -> None:
        self.warn(str(exc) or type(exc).__name__)
