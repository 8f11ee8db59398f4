"""Overrides of models: settings that the admin API changed, kept in the store and laid over the file's.

Every process reads them from the store every few seconds, so that a change reaches all replicas.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from proxy.config.errors import ConfigError
from proxy.core.clock import Clock
from proxy.core.errors import InvalidRequest, NotFound
from proxy.following import Follower
from proxy.reload import Configuration, Reloader

_LOG = logging.getLogger(__name__)


class OverrideStore(Protocol):
    """Where overrides are kept (`proxy/store/models.py`)."""

    async def all(self) -> dict[str, dict[str, Any]]:
        """Return the overridden fields of each model."""
        ...

    async def put(self, id: str, fields: Mapping[str, Any], actor: str) -> None:
        """Store the overridden fields of a model in place of its earlier ones."""
        ...

    async def delete(self, id: str, actor: str) -> None:
        """Remove the override of a model. Raises `Missing`."""
        ...


class ModelOverrides(Follower):
    """The overrides in force, and their changes. Methods raise `InvalidRequest` and `NotFound`."""

    def __init__(self, store: OverrideStore, live: Configuration, reloader: Reloader, clock: Clock) -> None:
        super().__init__(clock)
        self._store = store
        self._live = live
        self._reloader = reloader
        self._lock = asyncio.Lock()  # one change after another, each from the state that the one before left

    async def refresh(self) -> None:
        """Read the store, and activate what has changed."""
        overrides, loaded = await self._store.all(), self._live.loaded
        if overrides != self._live.overrides and not loaded.has_settings:
            await asyncio.to_thread(lambda: loaded.settings)  # calls would wait for the imports
            overrides = await self._store.all()  # the admin API may have changed them meanwhile
        self._reloader.override(overrides)

    def rows(self) -> list[dict[str, Any]]:
        """Return all models: effective values, their origins, the file's values and the override's."""
        from proxy.config.overrides import model_rows  # pydantic

        return model_rows(self._live.file, self._live.overrides)

    def row(self, id: str) -> dict[str, Any]:
        """Return one model."""
        for row in self.rows():
            if row["id"] == id:
                return row
        raise NotFound(f"There is no model `{id[:300]}`; `GET /admin/models` lists all.")

    async def create(self, id: str, fields: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """Override a model of the file, or add one, and return it."""
        async with self._lock:
            await self.refresh()
            if id in self._live.overrides:
                raise InvalidRequest(f"`id`: `{id}` is overridden already; change it with PATCH.", param="id")
            return await self._put(id, fields, actor)

    async def change(self, id: str, fields: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """Override more fields of a model; `None` ends the override of a field."""
        async with self._lock:
            await self.refresh()
            self.row(id)
            merged = {**self._live.overrides.get(id, {}), **fields}
            return await self._put(id, {name: value for name, value in merged.items() if value is not None}, actor)

    async def delete(self, id: str, actor: str) -> None:
        """End the override of a model: the file's values apply again."""
        async with self._lock:
            await self.refresh()
            self.row(id)
            if id not in self._live.overrides:
                raise InvalidRequest("The model has no override; what the file configures is changed there.")
            await self._store.delete(id, actor)
            await self.refresh()

    def warn(self, error: str) -> None:
        """Log that the store cannot be read."""
        _LOG.warning(
            "overrides of models cannot be read; keeping the previous ones", extra={"fields": {"error": error}}
        )

    async def _put(self, id: str, fields: Mapping[str, Any], actor: str) -> dict[str, Any]:
        from proxy.config.overrides import OverrideError, check_override  # pydantic

        try:
            check_override(self._live.file, id, fields)
        except OverrideError as exc:
            message = f"`{exc.field}`: {exc}"
            raise InvalidRequest(message if message.endswith("?") else f"{message}.", param=exc.field) from exc
        before = self._live.overrides
        try:
            self._reloader.override({**before, id: dict(fields)})
        except ConfigError as exc:
            raise InvalidRequest(f"The model cannot be used with this configuration: {exc}") from exc
        try:
            await self._store.put(id, fields, actor)
        except BaseException:
            self._reloader.override(before)
            raise
        return self.row(id)
