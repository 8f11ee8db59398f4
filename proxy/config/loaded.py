"""A valid configuration: plain data that a service is built from, and the settings for what needs them themselves."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.core.process import ProcessPolicy
from proxy.core.snapshot import Snapshot

if TYPE_CHECKING:  # a service that serves calls does not load what validates settings
    from proxy.config.settings.schema import Settings


@dataclass(frozen=True)
class Loaded:
    """A valid configuration. `fingerprint` identifies the content of the file and its `.env`."""

    snapshot: Snapshot = field(repr=False)
    process: ProcessPolicy = field(repr=False)
    pickled: bytes = field(repr=False)  # the settings
    path: Path
    warnings: tuple[str, ...]
    fingerprint: str
    from_pipe: bool = False  # it cannot be read again
    workers: int = 1  # processes that serve it
    fixed_workers: int | None = None  # `--workers`, which overrides `server.workers`

    @cached_property
    def settings(self) -> Settings:
        """The settings, for the admin API and the commands; the first use imports pydantic."""
        settings: Settings = pickle.loads(self.pickled)
        type(settings).model_rebuild()  # it takes long; the admin API uses this first in a thread, and validates later
        return settings

    @property
    def has_settings(self) -> bool:
        """Whether the settings were used before."""
        return "settings" in vars(self)
