"""Background work of the application."""

from __future__ import annotations

from typing import Protocol


class BackgroundService(Protocol):
    """Work that runs beside the calls, from the start of the application to its end."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...
