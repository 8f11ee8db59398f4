"""The configuration in force, and the activation of a changed one in a running service."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from proxy.config.compile.agents import compile_agents
from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.errors import ConfigError, Problem
from proxy.config.load import Loaded
from proxy.config.overrides import Overrides, overlay
from proxy.config.settings.redact import redacted
from proxy.config.settings.schema import Settings
from proxy.core.agents import Agents
from proxy.core.snapshot import Live, Snapshot
from proxy.observe.metrics import Metrics
from proxy.upstream.assembly import Upstream
from proxy.upstream.identity import changed_keys

_LOG = logging.getLogger(__name__)

AT_START = ("server", "data_dir", "store", "state", "dependencies")  # settings that a reload does not apply


class Configuration(Live):
    """The settings and the snapshot in force in one of several workers; a reload replaces both."""

    def __init__(self, loaded: Loaded, workers: int = 1) -> None:
        super().__init__(compile_snapshot(loaded.settings, workers))
        self.settings = loaded.settings  # of the file, with the overrides of models
        self.file = loaded.settings
        self.overrides: Overrides = {}  # of models, by the admin API
        self.agents: Agents = {}  # of the store, by the admin API
        self.workers = workers
        self._at_start = loaded.settings

    def with_agents(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot with the agents of the file and of the store; the file's have priority."""
        own, ids = compile_agents(self.settings), self.settings.agents
        return replace(snapshot, agents={n: a for n, a in self.agents.items() if a.id not in ids} | own)

    def shown(self) -> dict[str, Any]:
        """Return the settings in effect, with secrets as `***`.

        A reload applies all settings but `AT_START`, which need a restart; `server.max_in_flight` does not.
        """
        now, first = self.settings, self._at_start
        server = first.server.model_copy(update={"max_in_flight": now.server.max_in_flight})
        kept = {name: getattr(first, name) for name in AT_START}
        return redacted(now.model_copy(update={**kept, "server": server}))


class Reloader:
    """Receives each changed configuration from the watcher."""

    def __init__(self, live: Configuration, upstream: Upstream, metrics: Metrics) -> None:
        self._live = live
        self._upstream = upstream
        self._metrics = metrics

    def take(self, loaded: Loaded) -> None:
        """Activate `loaded`. Raises `ConfigError`, and changes nothing, if it cannot be compiled or needs a restart."""
        live = self._live
        before = live.settings
        if problem := _needs_restart(before, loaded.settings):
            raise ConfigError([Problem(str(loaded.path), None, *problem)])
        self._activate(overlay(loaded.settings, live.overrides))
        live.file, live.error = loaded.settings, None
        self._metrics.reload_success.set(1)
        for warning in loaded.warnings:
            _LOG.warning("configuration", extra={"fields": {"warning": warning}})
        if changed := [name for name in AT_START if getattr(loaded.settings, name) != getattr(before, name)]:
            _LOG.warning("settings take effect at the next start", extra={"fields": {"settings": changed}})

    def override(self, overrides: Overrides) -> None:
        """Activate overrides of models. Raises `ConfigError`, and changes nothing, if they cannot be compiled."""
        if overrides != self._live.overrides:
            self._activate(overlay(self._live.file, overrides))
            self._live.overrides = overrides

    def use_agents(self, agents: Agents) -> None:
        """Activate the agents of the store."""
        self._live.agents = agents
        self._live.snapshot = self._live.with_agents(self._live.snapshot)

    def _activate(self, settings: Settings) -> None:
        """Put settings in force. All other components read the new snapshot when they next need it."""
        live, upstream = self._live, self._upstream
        snapshot = compile_snapshot(settings, live.workers)
        outdated = live.snapshot
        live.settings = settings
        live.snapshot = snapshot = live.with_agents(snapshot) if live.agents else snapshot
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
