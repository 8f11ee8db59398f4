"""Helpers that load a configuration from text, and return its problems."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.errors import ConfigError
from proxy.config.load import load
from proxy.config.loaded import Loaded


def write(folder: Path, text: str | bytes, name: str = "signalbox.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def loaded(folder: Path, text: str, environ: dict[str, str] | None = None) -> Loaded:
    return load(write(folder, text), environ or {})


def problems(folder: Path, text: str | bytes, environ: dict[str, str] | None = None) -> list[str]:
    """The error's lines, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text), environ or {})
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems)
    return [line.removeprefix(f"{folder}/") for line in lines]
