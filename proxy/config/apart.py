"""Loads the configuration in a child process, so that what validates it does not stay in the memory of the service.

pydantic, the types of all settings and the YAML library are a fifth of an idle service's memory. The child sends the
configuration as plain data; it runs while its parent imports the rest of the service.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from proxy.config.compile.auth import process_key
from proxy.config.errors import ConfigError, Problem
from proxy.config.loaded import Loaded


class LoadedApart:
    """A configuration that a child process loads. Create it before this process has threads."""

    def __init__(self, path: Path, environ: Mapping[str, str], workers: int | None = None) -> None:
        process_key()  # the child compiles it into the snapshot
        self._answer, answer = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            _send(answer, path, environ, workers)
        os.close(answer)

    def result(self) -> Loaded:
        """Wait for the configuration. Raises `ConfigError` with every problem of the file."""
        with open(self._answer, "rb") as answer:
            received = answer.read()
        os.waitpid(self._child, 0)
        if not received:
            raise RuntimeError("the process that loads the configuration has ended early")
        loaded: Loaded | tuple[Problem, ...] = pickle.loads(received)
        if isinstance(loaded, Loaded):
            return loaded
        raise ConfigError(loaded)


def _send(answer: int, path: Path, environ: Mapping[str, str], workers: int | None) -> None:
    """In the child: load the configuration, send it, and exit."""
    status = 1
    try:
        from proxy.config.load import load

        try:
            loaded: Loaded | tuple[Problem, ...] = load(path, environ, workers)
        except ConfigError as exc:
            loaded = exc.problems
        with open(answer, "wb") as pipe:
            pipe.write(_pickled(loaded))
        status = 0
    except Exception as exc:
        sys.excepthook(type(exc), exc, exc.__traceback__)
    finally:
        os._exit(status)


def _pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer)
    pickler.dispatch_table = copyreg.dispatch_table | {MappingProxyType: _reduced}
    pickler.dump(value)
    return buffer.getvalue()


def _reduced(view: MappingProxyType[Any, Any]) -> tuple[Callable[[dict[Any, Any]], Any], tuple[dict[Any, Any]]]:
    return _view, (dict(view),)


def _view(items: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    """Return a read-only view; its type itself has no name that pickle finds."""
    return MappingProxyType(items)
