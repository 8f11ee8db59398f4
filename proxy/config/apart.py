"""Loads the configuration in a child process, so that what validates it does not stay in the memory of the service.

pydantic, the types of all settings and the YAML library are a fifth of an idle service's memory. The child sends the
configuration as plain data; it runs while its parent imports the rest of the service.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from proxy.config.compile.auth import process_key
from proxy.config.errors import ConfigError, Problem
from proxy.config.loaded import Loaded


class LoadedApart:
    """A configuration that a child process loads. Create it before this process has threads.

    Raises `ChildProcessError` if no process can be started.
    """

    def __init__(self, path: Path, environ: Mapping[str, str], workers: int | None = None) -> None:
        process_key()  # the child compiles it into the snapshot
        self._answer, answer = os.pipe()
        try:
            self.child = os.fork()
        except OSError as exc:
            os.close(self._answer)
            os.close(answer)
            message = f"no process can be started to load the configuration: {(exc.strerror or str(exc)).lower()}"
            raise ChildProcessError(message) from exc
        if self.child == 0:
            os.close(self._answer)  # so that this process notices when its parent has ended
            _send(answer, path, environ, workers)
        os.close(answer)

    def result(self) -> Loaded:
        """Wait for the configuration.

        Raises `ConfigError` with every problem of the file, and `ChildProcessError` if the child ended before it had
        sent the configuration.
        """
        with open(self._answer, "rb") as answer:
            received = answer.read()
        status = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        if status:
            how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
            raise ChildProcessError(f"the process that loads the configuration ended {how}; start again")
        loaded: Loaded | tuple[Problem, ...] = pickle.loads(received)
        if isinstance(loaded, Loaded):
            return loaded
        raise ConfigError(loaded)


def _send(answer: int, path: Path, environ: Mapping[str, str], workers: int | None) -> None:
    """In the child: load the configuration, send it, and exit."""
    status = 1
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        threading.Thread(target=_exit_without_reader, args=(answer,), daemon=True).start()
        from proxy.config.load import load

        try:
            loaded: Loaded | tuple[Problem, ...] = load(path, environ, workers)
        except ConfigError as exc:
            loaded = exc.problems
        with open(answer, "wb") as pipe:
            pipe.write(pickled(loaded))
        status = 0
    except BrokenPipeError:  # the parent has ended
        pass
    except Exception as exc:
        sys.excepthook(type(exc), exc, exc.__traceback__)
    finally:
        os._exit(status)


def _exit_without_reader(answer: int) -> None:
    """Exit when the parent has ended: reading a pipe could wait for ever."""
    poll = select.poll()
    poll.register(answer, 0)  # reports errors: the pipe has no reader
    poll.poll()
    os._exit(1)


def pickled(value: Loaded | tuple[Problem, ...]) -> bytes:
    """Return a configuration, without settings that are in use, or its problems in a form that `pickle.loads` reads."""
    if isinstance(value, Loaded):
        value = replace(value)
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
