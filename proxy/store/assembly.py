"""Assembly of the store."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proxy.core.background import BackgroundService
from proxy.core.clock import Clock
from proxy.core.location import Location
from proxy.store.database import Database
from proxy.store.errors import StoreUnavailable
from proxy.store.retention import Retention


@dataclass(frozen=True, slots=True)
class Store:
    """The database and its background services. Nothing is opened before the first use, unless it is `eager`."""

    database: Database
    services: Sequence[BackgroundService]
    eager: bool

    async def start(self) -> None:
        """Open the database if the first call would wait for it; a failure makes it degraded."""
        if self.eager:
            with contextlib.suppress(StoreUnavailable):
                await self.database.open()


def build_store(
    location: Location,
    *,
    retention: Callable[[], float | None],
    dialog_retention: Callable[[], float | None],
    required: bool,
    eager: bool,
    on_change: Callable[[bool], None],
    clock: Clock,
    rng: random.Random,
) -> Store:
    """Build it. `retention` returns for how many seconds records are kept, `dialog_retention` the same of dialogs.

    `None` is for ever.

    If it is `required`, `on_change` is called with whether the store is unavailable. If calls look up their callers in
    it, it is `eager`: opening it takes some tenths of a second.
    """
    database = Database(location, clock)
    if required:
        database.on_change = on_change
    services: list[BackgroundService] = [database, Retention(database, retention, dialog_retention, clock, rng)]
    return Store(database, services, required or eager)
