"""A command's access to the store that the configuration names; no server is needed."""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from proxy.admin.actor import Actor
from proxy.admin.keys import Keys
from proxy.admin.teams import Teams
from proxy.admin.users import Users
from proxy.admission.keys import Peppers
from proxy.config.errors import ConfigError
from proxy.config.load import load
from proxy.config.settings.schema import Settings
from proxy.config.source import default_path
from proxy.core.clock import Clock, SystemClock
from proxy.core.errors import ProxyError
from proxy.core.location import locate
from proxy.store.accounts import Accounts
from proxy.store.database import Database
from proxy.store.errors import InvalidValue, StoreUnavailable
from proxy.store.ledger import LedgerStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shell:
    """The open store, and the operations on it."""

    settings: Settings
    database: Database
    clock: Clock
    actor: Actor

    @property
    def keys(self) -> Keys:
        """The virtual keys."""
        peppers = self.settings.auth.peppers
        issue = Peppers(peppers).issue if peppers else None
        return Keys(self.accounts, self.clock.time, _nothing, issue, counts_shared=self._counts_shared)

    @property
    def users(self) -> Users:
        """The users."""
        return Users(self.accounts, self.clock.time, _nothing, counts_shared=self._counts_shared)

    @property
    def teams(self) -> Teams:
        """The teams."""
        return Teams(self.accounts, self.clock.time, _nothing, counts_shared=self._counts_shared)

    @property
    def _counts_shared(self) -> bool:
        return self.settings.state != "memory" or self.settings.server.workers == 1

    @property
    def accounts(self) -> Accounts:
        """The stored keys, users and teams."""
        return Accounts(self.database, self.clock)

    @property
    def ledger(self) -> LedgerStore:
        """The records of calls."""
        return LedgerStore(self.database)


def run(config: Path | None, work: Callable[[Shell], Awaitable[T]]) -> T:
    """Open the store, do the work, and close it. Exits with 2 for invalid input, with 1 if the store does not work."""
    settings = _settings(config)
    try:
        location = locate(settings.store, settings.data_dir)
    except ValueError as exc:
        raise click.UsageError(f"`store`: {exc}") from exc
    if location is None:
        raise click.UsageError("no store is configured (`store: none`); set `store` to `sqlite` or `postgresql://...`")
    logging.getLogger("proxy").addHandler(logging.NullHandler())  # a command prints its error once, and no log
    clock = SystemClock()
    shell = Shell(settings, Database(location, clock), clock, Actor(f"shell:{_user()}"))
    try:
        return asyncio.run(_work(shell, work))
    except (ProxyError, InvalidValue) as exc:
        raise click.UsageError(str(exc)) from exc
    except StoreUnavailable as exc:
        raise click.ClickException(str(exc)) from exc


async def _work(shell: Shell, work: Callable[[Shell], Awaitable[T]]) -> T:
    try:
        return await work(shell)
    finally:
        await shell.database.close()


def _settings(config: Path | None) -> Settings:
    try:
        return load(config or default_path(), os.environ).settings
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from exc


async def _nothing() -> None:
    """There are no caches in this process; servers notice a change within the time for which they cache."""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
