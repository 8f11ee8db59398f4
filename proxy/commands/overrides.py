"""The overrides of models in the store that a configuration names."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from proxy.config.settings.schema import Settings
from proxy.core.clock import SystemClock
from proxy.core.location import Location, locate
from proxy.store.database import Database
from proxy.store.errors import StoreUnavailable
from proxy.store.models import ModelStore


def stored_overrides(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the overridden fields of each model; none, with a warning, if the store does not answer."""
    location = locate(settings.store, settings.data_dir)
    if location is None:
        return {}
    try:
        return asyncio.run(_read(location))
    except StoreUnavailable as exc:
        click.echo(f"warning: overrides of models are not shown: {exc}", err=True)
        return {}


async def _read(location: Location) -> dict[str, dict[str, Any]]:
    clock = SystemClock()
    database = Database(location, clock)
    try:
        return await ModelStore(database, clock).all()
    finally:
        await database.close()
