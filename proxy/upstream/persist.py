"""State that outlives the process: breakers, resting keys, learned limits and what limits have counted, in one file.

A restart in the middle of an outage then does not ask everybody again what is known to be down, and a limit of a day is
one of a day however often we start. Times are written by the wall's clock, since a monotonic one begins anew. The file
is replaced in whole (written beside it, synced, renamed), so a reader sees the old one or the new one, whenever we are
killed; it holds names of keys and what tells whether they, or the way to their provider, have been replaced since (what
was held against the old one is not the new one's fault; what was taken with it is its account's still), never values.

Windows of a minute are written at the end of the process only: what they hold changes all the time, is most of the
file, and is hardly worth anything a minute after we are killed.

Whatever is wrong with the file is a warning, and what cannot be read is not there: state is a convenience, not a
condition. What lies further ahead than it could (a clock was set, a hand was at work) is cut to the longest it may be.
A file that says that it was saved later than now was saved under a clock that has been set back: its times count from
that moment.

A lock beside the file keeps a second process from writing it, and a file of a newer version is never replaced.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import stat
import weakref
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from proxy.core.clock import Clock
from proxy.core.saved import saved_seconds
from proxy.core.types import Snapshot
from proxy.upstream.health import Health
from proxy.upstream.identity import identities
from proxy.upstream.limits import MINUTE, Limits, limited_key

_LOG = logging.getLogger(__name__)

VERSION = 1
EVERY = 5.0  # seconds between two looks for a change
DRIFT = (
    0.25  # seconds that the two clocks may drift apart before all times are written anew; parts of a minute are longer
)
MARK = 4  # hexadecimal digits: enough to see a change, and of hardly any help in guessing at a weak password
LARGEST = 64 * 1024 * 1024  # bytes; ten thousand breakers have a few


class StateFile:
    """One file, written by one process."""

    def __init__(self, path: Path, clock: Clock, snapshot: Callable[[], Snapshot]) -> None:
        self._path = path
        self._snapshot = snapshot
        self._beside = path.with_name(path.name + ".tmp")
        self._clock = clock
        self._shift = clock.time() - clock.monotonic()
        self._lock = path.with_name(path.name + ".lock")
        self._saved: bytes | None = None  # what is in the file
        self._failing = False
        self._mine: bool | None = None  # whether this process holds the lock; None: not tried yet
        self._newer = False  # the file is of a version that this one does not know

    async def load(self, health: Health, limits: Limits) -> bool:
        """Take over what the file says; False, after a warning, if it cannot be used. A missing file is no fault."""
        try:
            await anyio.to_thread.run_sync(self._take)
            raw = await anyio.to_thread.run_sync(self._read)
            if raw is None:
                self._saved = _made(self._values(health, limits))  # as long as nothing happens, nothing is written
                return False
            values = json.loads(raw)
            if values["version"] != VERSION:
                return self._refuse_version(values["version"])
            replaced = self._replaced(dict(values["keys"]))
            now = self._clock.time()
            shift = self._clocks() + max(0.0, saved_seconds(values.get("saved_at", now)) - now)
            Health(self._clock, health.policy).restore(values["health"], shift)  # raises before anything is changed
            # whatever the drift was, a limit holds too long rather than too short
            await limits.restore(_without(values["limits"], replaced), shift - DRIFT)
            health.restore(values["health"], shift)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as exc:
            return self._refuse(f"{type(exc).__name__}: {exc}")
        for provider, key_id in replaced:
            health.reset(provider, key=key_id)
        return True

    def _replaced(self, saved: Mapping[str, Any]) -> set[tuple[str, str]]:
        """Provider and id of each key that is new, another than when the file was written, or leads elsewhere."""
        marks = _marks(self._snapshot())
        names = (name.partition("/") for name, mark in marks.items() if saved.get(name) != mark)
        return {(provider, key_id) for provider, _, key_id in names}

    async def save(self, health: Health, limits: Limits) -> bool:
        """Write what has changed since the last time, in a thread; whether there was anything and it went well."""
        return await anyio.to_thread.run_sync(self._save, self._values(health, limits, longer_than=MINUTE))

    def flush(self, health: Health, limits: Limits) -> None:
        """The same at once and with the windows of a minute, for the end; safe where nothing may be awaited."""
        self._save(self._values(health, limits))

    async def run(self, health: Health, limits: Limits) -> None:
        """Save every few seconds until cancelled, and then once more."""
        try:
            while True:
                await self._clock.sleep(EVERY)
                await self.save(health, limits)
        finally:
            self.flush(health, limits)

    def _values(self, health: Health, limits: Limits, *, longer_than: float = 0.0) -> dict[str, Any]:
        """What is to be written, of the windows those of more seconds than that."""
        shift = self._clocks()
        return {
            "version": VERSION,
            "health": health.export(shift),
            "limits": limits.export(shift, longer_than=longer_than),
            "keys": _marks(self._snapshot()),
        }

    def _save(self, values: dict[str, Any]) -> bool:
        made = _made(values)
        return made != self._saved and not self._newer and self._take() and self._write(made)

    def _take(self) -> bool:
        """Whether this process may write: take the lock if it is free. It is held until the process ends."""
        if self._mine:
            return True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self._lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError:
            return True  # no lock can be had here; whether the file can be written shows when it is
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(lock)
            if exc.errno not in (errno.EACCES, errno.EAGAIN):
                return True  # this file system has no locks
            if self._mine is None:
                fields = {"path": str(self._path.parent)}
                _LOG.warning("another process uses data_dir; state is not saved", extra={"fields": fields})
            self._mine = False
            return False
        weakref.finalize(self, os.close, lock)
        if self._mine is False:
            _LOG.info("state is saved again", extra={"fields": {"path": str(self._path)}})
        self._mine = True
        return True

    def _clocks(self) -> float:
        """The wall's clock less the monotonic one, the same as before while they hardly drift: that is no change."""
        shift = self._clock.time() - self._clock.monotonic()
        if abs(shift - self._shift) > DRIFT:
            self._shift = shift
        return self._shift

    def _read(self) -> bytes | None:
        try:
            # without waiting for the writer of a pipe, should it be one
            found = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with open(found, "rb") as file:
            status = os.fstat(found)
            if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
                raise ValueError("it is not a file of ours")
            return file.read(LARGEST)

    def _write(self, made: bytes) -> bool:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._beside.unlink(missing_ok=True)  # left by a process that was killed
            opened = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(opened, "wb") as file:
                file.write(b'{"saved_at":%.2f,' % self._clock.time() + made[1:])
                file.flush()
                os.fsync(file.fileno())
                if not os.path.samestat(os.fstat(file.fileno()), os.stat(self._beside)):
                    raise OSError("another process writes it too")
            os.replace(self._beside, self._path)
            _sync_folder(self._path.parent)
        except OSError as exc:
            if not self._failing:  # once, not every few seconds
                _LOG.warning("state cannot be saved", extra={"fields": {"path": str(self._path), "why": str(exc)}})
            self._failing = True
            return False
        self._saved, self._failing = made, False
        return True

    def _refuse_version(self, version: Any) -> bool:
        self._newer = isinstance(version, int) and version > VERSION
        kept = "; it is kept, and no state is saved" if self._newer else ""
        return self._refuse(f"it has version {str(version)[:20]}, and this one reads {VERSION}{kept}")

    def _refuse(self, why: str) -> bool:
        fields = {"path": str(self._path), "why": why[:300]}
        _LOG.warning("saved state cannot be used; starting without it", extra={"fields": fields})
        return False


def _made(values: dict[str, Any]) -> bytes:
    return _text(values, 3).encode()


def _text(value: Any, depth: int) -> str:
    """JSON, down to `depth` made in pieces: only between them a thread lets others run, calls among them."""
    if depth and isinstance(value, dict):
        return "{" + ",".join([f"{json.dumps(name)}:{_text(each, depth - 1)}" for name, each in value.items()]) + "}"
    if depth and isinstance(value, list):
        return "[" + ",".join([_text(each, depth - 1) for each in value]) + "]"
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _sync_folder(folder: Path) -> None:
    """The rename itself must outlive a power cut."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _without(limits: Mapping[str, Any], replaced: Collection[tuple[str, str]]) -> dict[str, Any]:
    """What is saved of limits, without what was learned with keys that are not there any more; counts stay."""
    told = {
        what: [row for row in limits[what] if limited_key(row["name"]) not in replaced] for what in ("learned", "rests")
    }
    return {**limits, **told}


def _marks(snapshot: Snapshot) -> dict[str, str]:
    """By provider and key id: a digest of who it is, too short to be of use for anything but a comparison."""
    return {f"{provider}/{key_id}": who[:MARK] for (provider, key_id), who in identities(snapshot).items()}
