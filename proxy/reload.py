"""The configuration in force, and the activation of a changed one in a running service."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from proxy.config.errors import ConfigError, Problem
from proxy.config.loaded import Loaded
from proxy.core.agents import Agents
from proxy.core.snapshot import Live, Snapshot
from proxy.observe.metrics import Metrics
from proxy.upstream.assembly import Upstream
from proxy.upstream.identity import changed_keys

if TYPE_CHECKING:  # they import pydantic
    from proxy.config.overrides import Overrides
    from proxy.config.settings.schema import Settings

_LOG = logging.getLogger(__name__)

AT_START = ("server", "data_dir", "store", "state", "dependencies")  # settings that a reload does not apply


class Configuration(Live):
    """The configuration in force in one of several workers: a reload replaces the file's, and with it the snapshot.

    `settings` and `file` need pydantic, which is imported when they are first used; calls use the snapshot only.
    """

    def __init__(self, loaded: Loaded, workers: int = 1) -> None:
        self.loaded = loaded
        self.overrides: Overrides = {}  # of models, by the admin API
        self.agents: Agents = {}  # of the store, by the admin API
        self.workers = workers
        self._at_start = loaded
        super().__init__(self.compiled(loaded, {}))

    @property
    def file(self) -> Settings:
        """The settings of the file."""
        return self.loaded.settings

    @property
    def settings(self) -> Settings:
        """The settings of the file, with the overrides of models."""
        from proxy.config.overrides import overlay

        return overlay(self.file, self.overrides)

    def compiled(self, loaded: Loaded, overrides: Overrides) -> Snapshot:
        """Return the snapshot of a file and of overrides: this worker's share of the calls, and all agents.

        Raises `ConfigError`.
        """
        snapshot = loaded.snapshot
        if overrides:
            from proxy.config.compile.snapshot import compile_snapshot
            from proxy.config.overrides import overlay

            snapshot = compile_snapshot(overlay(loaded.settings, overrides))
        share = -(-snapshot.max_in_flight // self.workers)
        return replace(snapshot, max_in_flight=share, agents=self.with_stored(snapshot.agents))

    def with_stored(self, own: Agents) -> Agents:
        """Return agents of a file and those of the store; the file's have priority."""
        ids = {agent.id for agent in own.values()}
        return {**{name: agent for name, agent in self.agents.items() if agent.id not in ids}, **own}

    def shown(self) -> dict[str, Any]:
        """Return the settings in effect, with secrets as `***`.

        A reload applies all settings but `AT_START`, which need a restart; `server.max_in_flight` does not.
        """
        from proxy.config.settings.redact import redacted

        now, first = self.settings, self._at_start.settings
        server = first.server.model_copy(update={"max_in_flight": now.server.max_in_flight})
        kept = {name: getattr(first, name) for name in AT_START}
        return redacted(now.model_copy(update={**kept, "server": server}))


class Reloader:
    """Receives each changed configuration from the watcher."""

    def __init__(self, live: Configuration, upstream: Upstream, metrics: Metrics) -> None:
        self._live = live
        self._upstream = upstream
        self._metrics = metrics

    def prepare(self, loaded: Loaded) -> None:
        """Do what `take` needs and what takes long; in a thread."""
        self._upstream.dialects.load(loaded.snapshot)
        for each in (self._live.loaded, loaded):
            _ = each.settings  # the first use imports pydantic

    def take(self, loaded: Loaded) -> None:
        """Activate `loaded`. Raises `ConfigError`, and changes nothing, if it cannot be compiled or needs a restart."""
        live = self._live
        before = live.file
        if problem := _needs_restart(before, loaded.settings):
            raise ConfigError([Problem(str(loaded.path), None, *problem)])
        self._activate(loaded, live.overrides)
        live.error = None
        self._metrics.reload_success.set(1)
        for warning in loaded.warnings:
            _LOG.warning("configuration", extra={"fields": {"warning": warning}})
        if changed := [name for name in AT_START if getattr(loaded.settings, name) != getattr(before, name)]:
            _LOG.warning("settings take effect at the next start", extra={"fields": {"settings": changed}})

    def override(self, overrides: Overrides) -> None:
        """Activate overrides of models. Raises `ConfigError`, and changes nothing, if they cannot be compiled."""
        if overrides != self._live.overrides:
            self._activate(self._live.loaded, overrides)

    def use_agents(self, agents: Agents) -> None:
        """Activate the agents of the store."""
        live = self._live
        live.agents = agents
        live.snapshot = replace(live.snapshot, agents=live.with_stored(live.loaded.snapshot.agents))

    def _activate(self, loaded: Loaded, overrides: Overrides) -> None:
        """Put a file and overrides in force. All other components read the new snapshot when they next need it."""
        live, upstream = self._live, self._upstream
        snapshot = live.compiled(loaded, overrides)
        outdated = live.snapshot
        live.loaded, live.overrides, live.snapshot = loaded, overrides, snapshot
        upstream.dialects.prepare(snapshot)
        for provider, key in changed_keys(outdated, snapshot):
            # failures and limits of the old key or address do not apply to the new one
            upstream.limits.forget(provider, key)
            upstream.health.reset(provider, key=key)
        if not snapshot.testing:
            upstream.simulator.stop()  # without `testing` there is no endpoint to stop it
        upstream.queue.notify()  # limits may have changed
        self._metrics.initialise(snapshot)
        _LOG.info("configuration loaded", extra={"fields": {"version": snapshot.version}})

    def keep(self, error: ConfigError) -> None:
        """Report that the new configuration was rejected; the previous one stays active."""
        self._live.error = str(error)
        self._metrics.reload_success.set(0)
        _LOG.error("configuration rejected; keeping the previous one", extra={"fields": {"problems": str(error)}})


def _needs_restart(before: Settings, after: Settings) -> tuple[str, str] | None:
    """Return a changed setting that is used only at the start, and what to do; others of `auth` apply at once."""
    for name in ("mode", "encryption_key", "previous_encryption_keys"):
        if getattr(before.auth, name) != getattr(after.auth, name):
            return f"auth.{name}", "cannot change while the server runs; restart it"
    return None
