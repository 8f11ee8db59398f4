"""Watches the configuration file and its `.env` by polling, and loads them when their content changes.

It compares the results of `stat`, and reads only if they differ. Links are followed, so that a file replaced by an
editor and a switched link of a mounted volume are both detected. Callbacks run in the event loop; files are read in a
thread.

A pipe is never opened, because that could block forever: a configuration from a pipe is not reloaded.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from proxy.config.errors import ConfigError
from proxy.config.loaded import Loaded
from proxy.config.source import fetch, file_error
from proxy.core.clock import Clock

logger = logging.getLogger(__name__)

_RECENT = 2.0  # seconds; two changes within one tick of the file system can have the same time

_READ_ONCE = "the configuration came from a pipe, which can be read only once; use a file if it is to be reloaded"

_Mark = tuple[int, int, int, int] | None  # mtime in ns, size, inode, device


class Watcher:
    """Calls `on_load` with every changed configuration, and `on_error` for every invalid one.

    `prepare` is called before `on_load`, in the thread that has read the file, for what takes long.
    `loaded` is the configuration in use; a change since it was read is detected.
    """

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        *,
        clock: Clock,
        interval: float = 0.5,
        on_load: Callable[[Loaded], None],
        on_error: Callable[[ConfigError], None],
        prepare: Callable[[Loaded], None] = lambda loaded: None,
        loaded: Loaded | None = None,
    ) -> None:
        self._path = path
        self._environ = environ
        self._clock = clock
        self._interval = interval
        self._on_load = on_load
        self._on_error = on_error
        self._prepare = prepare
        self._marks: tuple[_Mark, _Mark] | None = None if loaded is not None else self._current_marks()
        self._seen = loaded.fingerprint if loaded is not None else self._fingerprint()
        self._workers = loaded.workers if loaded is not None else 1
        self._fixed_workers = loaded.fixed_workers if loaded is not None else None
        self._from_pipe = loaded is not None and loaded.from_pipe
        self._missing_polls = 0  # consecutive polls that found no file
        self._forced = False

    def reload(self) -> None:
        """Load at the next poll, even without a change; safe in a signal handler."""
        self._forced = True

    async def run(self) -> None:
        """Poll until cancelled. Raises no errors of its own."""
        while True:
            await self._clock.sleep(self._interval)
            try:
                self._notify(await asyncio.to_thread(self._poll))
            except Exception as exc:
                # without the traceback, which could contain text of the file
                fields = {"error": type(exc).__name__}
                logger.error("the configuration could not be read or activated", extra={"fields": fields})

    def refresh(self, last: Loaded | None) -> None:
        """Load `last`, what the file had when it was last loaded, if given; then poll once."""
        if last is not None:
            self._seen, self._marks = last.fingerprint, None
            self._notify(last)
        self.check()

    def check(self, *, force: bool = False) -> None:
        """Poll once; with `force`, load even without a change."""
        self._forced = self._forced or force
        self._notify(self._poll())

    def _poll(self) -> Loaded | ConfigError | None:
        """Return a new configuration or an error; `None` if nothing changed."""
        forced, self._forced = self._forced, False
        if self._from_pipe and not self._path.is_file():
            return file_error(self._path, _READ_ONCE) if forced else None
        marks = self._current_marks()
        if marks[0] is None:
            return self._missing(forced=forced)
        if marks == self._marks and not forced and not self._is_recent(marks):
            self._missing_polls = 0
            return None
        try:
            source = fetch(self._path)
        except ConfigError as exc:
            if not self._path.exists():
                return self._missing(forced=forced)
            new = self._is_new(marks, str(exc))
            self._marks = None  # the error may be temporary: read again at the next poll
            return exc if new or forced else None
        if not self._is_new(marks, source.fingerprint) and not forced:
            return None
        from proxy.config.load import parse  # only for a changed file: it imports pydantic

        try:
            loaded = parse(source, self._environ, self._fixed_workers, running=self._workers)
            self._prepare(loaded)
            return loaded
        except ConfigError as exc:
            return exc

    def _is_new(self, marks: tuple[_Mark, _Mark], fingerprint: str) -> bool:
        """Store the fingerprint, and return whether it differs from the previous one."""
        before, self._seen = self._seen, fingerprint
        self._marks, self._missing_polls = marks, 0
        return before != fingerprint

    def _missing(self, *, forced: bool) -> ConfigError | None:
        """A file missing at one poll may be being replaced; at the second it is an error, reported once."""
        self._missing_polls += 1
        if self._missing_polls != 2 and not forced:
            return None
        self._missing_polls = max(self._missing_polls, 2)
        self._marks, self._seen = None, ""
        return file_error(self._path, "the configuration file is missing; keeping the previous configuration")

    def _notify(self, outcome: Loaded | ConfigError | None) -> None:
        if outcome is None:
            return
        if isinstance(outcome, ConfigError):
            self._on_error(outcome)
            return
        try:
            self._on_load(outcome)
        except ConfigError as exc:
            self._on_error(exc)

    def _current_marks(self) -> tuple[_Mark, _Mark]:
        return _mark(self._path), _mark(self._path.parent / ".env")

    def _fingerprint(self) -> str:
        try:
            return fetch(self._path).fingerprint
        except ConfigError:
            return ""

    def _is_recent(self, marks: tuple[_Mark, _Mark]) -> bool:
        now = self._clock.time()
        return any(mark is not None and abs(now - mark[0] / 1e9) < _RECENT for mark in marks)


def _mark(path: Path) -> _Mark:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
