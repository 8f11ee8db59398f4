"""Loading a configuration for a command."""

from __future__ import annotations

import os
from pathlib import Path

import click

from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.errors import ConfigError
from proxy.config.load import load
from proxy.config.loaded import Loaded
from proxy.config.source import default_path


def loaded(path: Path | None) -> Loaded:
    """Return a configuration that compiles, by default that of the service. Exits with 2 if it is not valid."""
    try:
        found = load(path or default_path(), os.environ)
        compile_snapshot(found.settings)
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from exc
    return found
