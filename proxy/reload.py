"""Activates a changed configuration in a running service, or keeps the previous one and reports the error."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

from proxy.admission.gate import Gate
from proxy.capacity.limits import Limits
from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.errors import ConfigError
from proxy.config.load import Loaded
from proxy.config.settings.schema import Settings
from proxy.core.snapshot import Snapshot
from proxy.observe.metrics import Metrics
from proxy.settle.settle import Settler
from proxy.upstream.health import Health
from proxy.upstream.identity import identities
from proxy.upstream.simulate import Simulator

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Current:
    """The active configuration. A reload replaces it; calls keep the snapshot with which they began."""

    loaded: Loaded
    snapshot: Snapshot
    error: str | None = None  # why the newest configuration file was rejected


class Upstream(Protocol):
    """The components that keep state across configurations."""

    @property
    def health(self) -> Health: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def simulator(self) -> Simulator: ...

    def adopt(self, snapshot: Snapshot) -> None:
        """Apply another configuration and keep the collected state."""
        ...


class Reloader:
    """Receives each changed configuration from the watcher."""

    def __init__(
        self, current: Current, upstream: Upstream, *, gate: Gate, settler: Settler, metrics: Metrics, workers: int = 1
    ) -> None:
        self._current = current
        self._upstream = upstream
        self._gate = gate
        self._settler = settler
        self._metrics = metrics
        self._workers = workers

    def take(self, loaded: Loaded) -> None:
        """Activate `loaded`. Raises `ConfigError`, and changes nothing, if it cannot be compiled."""
        snapshot = compile_snapshot(loaded.settings)
        before, outdated = self._current.loaded.settings, self._current.snapshot
        self._current.loaded, self._current.snapshot, self._current.error = loaded, snapshot, None
        self._upstream.adopt(snapshot)
        for provider, key in _changed_keys(outdated, snapshot):
            # failures and limits of the old key or address do not apply to the new one
            self._upstream.limits.forget(provider, key)
            self._upstream.health.reset(provider, key=key)
        if not loaded.settings.testing:
            self._upstream.simulator.stop()  # without `testing` there is no endpoint to stop it
        self._gate.most = share_of_calls(loaded.settings, self._workers)
        self._settler.access_log = loaded.settings.logs.access
        self._metrics.reload_success.set(1)
        self._metrics.initialise(snapshot)
        _LOG.info("configuration loaded", extra={"fields": {"version": snapshot.version}})
        for warning in loaded.warnings:
            _LOG.warning("configuration", extra={"fields": {"warning": warning}})
        if (loaded.settings.server, loaded.settings.auth) != (before.server, before.auth):
            _LOG.warning("settings of server and auth take effect at the next start")

    def keep(self, error: ConfigError) -> None:
        """Report that the new configuration was rejected; the previous one stays active."""
        self._current.error = str(error)
        self._metrics.reload_success.set(0)
        _LOG.error("configuration rejected; keeping the previous one", extra={"fields": {"problems": str(error)}})


def _changed_keys(before: Snapshot, now: Snapshot) -> list[tuple[str, str]]:
    """Return (provider, key id) for each key that is new, has another value, or has another base URL."""
    old = identities(before)
    return [name for name, identity in identities(now).items() if identity != old.get(name)]


def share_of_calls(settings: Settings, workers: int) -> int:
    """Return the calls that each of several workers may have in flight."""
    return -(-settings.server.max_in_flight // workers)
