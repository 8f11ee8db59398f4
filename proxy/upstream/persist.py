"""The state file: saves breakers, cooldowns, learned limits and limit counters across restarts.

A restart during an outage thus does not call failing targets again, and a limit per day holds across restarts. Times
are written as wall-clock times, because a monotonic clock starts anew. The file is replaced atomically (written to a
temporary file, synced, renamed), so it is never read half-written. It contains the ids of keys and a short digest of
each key and its base URL, never key values. If the digest has changed, cooldowns and learned limits of the key are
dropped, while its counters stay, because they belong to the account.

Windows of a minute are written only when the process ends: they change constantly, are most of the file, and are nearly
worthless one minute later.

A damaged or unreadable file causes a warning and is treated as missing: the service runs without it. Times too far in
the future (after a change of the clock or of the file) are cut to the longest possible value. A file with a `saved_at`
in the future was saved before the clock was set back: its times count from that moment.

A lock file keeps a second process from writing, and a file of a newer version is never replaced.
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
from proxy.core.snapshot import Snapshot
from proxy.upstream.health import Health
from proxy.upstream.identity import identities
from proxy.upstream.limits import MINUTE, Limits, limited_key

_LOG = logging.getLogger(__name__)

VERSION = 1
EVERY = 5.0  # seconds between two checks for changes
DRIFT = 0.25  # seconds of drift between the clocks before all times are rewritten
MARK = 4  # hexadecimal digits of the digest: enough to detect a change, too few to guess a weak key
LARGEST = 64 * 1024 * 1024  # bytes; ten thousand breakers take a few MB


class StateFile:
    """The state file of one process."""

    def __init__(self, path: Path, clock: Clock, snapshot: Callable[[], Snapshot]) -> None:
        self._path = path
        self._snapshot = snapshot
        self._beside = path.with_name(path.name + ".tmp")
        self._clock = clock
        self._shift = clock.time() - clock.monotonic()
        self._lock = path.with_name(path.name + ".lock")
        self._saved: bytes | None = None  # the file's content
        self._failing = False
        self._mine: bool | None = None  # whether this process holds the lock; `None`: not tried yet
        self._newer = False  # the file has a newer, unknown version
        self.read_only = False  # another worker of this service writes

    async def load(self, health: Health, limits: Limits) -> bool:
        """Restore the file's state; return `False` if it is missing or, after a warning, if it is invalid."""
        try:
            if not self.read_only:
                await anyio.to_thread.run_sync(self._take)
            raw = await anyio.to_thread.run_sync(self._read)
            if raw is None:
                self._saved = _made(self._values(health, limits))  # write nothing until something changes
                return False
            values = json.loads(raw)
            if values["version"] != VERSION:
                return self._refuse_version(values["version"])
            replaced = self._replaced(dict(values["keys"]))
            now = self._clock.time()
            shift = self._clocks() + max(0.0, saved_seconds(values.get("saved_at", now)) - now)
            Health(self._clock, health.policy).restore(values["health"], shift)  # raises before anything is changed
            # subtract the drift so that a limit never ends too early
            await limits.restore(_without(values["limits"], replaced), shift - DRIFT)
            health.restore(values["health"], shift)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as exc:
            return self._refuse(f"{type(exc).__name__}: {exc}")
        for provider, key_id in replaced:
            health.reset(provider, key=key_id)
        return True

    def _replaced(self, saved: Mapping[str, Any]) -> set[tuple[str, str]]:
        """Return (provider, key id) for each key that is new, or whose value or base URL has changed since."""
        marks = _marks(self._snapshot())
        names = (name.partition("/") for name, mark in marks.items() if saved.get(name) != mark)
        return {(provider, key_id) for provider, _, key_id in names}

    async def save(self, health: Health, limits: Limits) -> bool:
        """Write changed state in a thread; return whether something was written."""
        return await anyio.to_thread.run_sync(self._save, self._values(health, limits, longer_than=MINUTE))

    def flush(self, health: Health, limits: Limits) -> None:
        """Write the state synchronously, with the windows of a minute; used at shutdown."""
        self._save(self._values(health, limits))

    async def run(self, health: Health, limits: Limits) -> None:
        """Save changed state every `EVERY` seconds until cancelled, and then once more."""
        try:
            while True:
                await self._clock.sleep(EVERY)
                await self.save(health, limits)
        finally:
            self.flush(health, limits)

    def _values(self, health: Health, limits: Limits, *, longer_than: float = 0.0) -> dict[str, Any]:
        """Return the state to write, without windows of at most `longer_than` seconds."""
        shift = self._clocks()
        return {
            "version": VERSION,
            "health": health.export(shift),
            "limits": limits.export(shift, longer_than=longer_than),
            "keys": _marks(self._snapshot()),
        }

    def _save(self, values: dict[str, Any]) -> bool:
        made = _made(values)
        return made != self._saved and not (self._newer or self.read_only) and self._take() and self._write(made)

    def _take(self) -> bool:
        """Take the lock if it is free, until the process ends; return whether this process may write."""
        if self._mine:
            return True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self._lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError:
            return True  # locking is impossible; writing may still succeed
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(lock)
            if exc.errno not in (errno.EACCES, errno.EAGAIN):
                return True  # the file system does not support locks
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
        """Return wall-clock time minus monotonic time; small drift keeps the previous value."""
        shift = self._clock.time() - self._clock.monotonic()
        if abs(shift - self._shift) > DRIFT:
            self._shift = shift
        return self._shift

    def _read(self) -> bytes | None:
        try:
            # do not block if the path is a named pipe
            found = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with open(found, "rb") as file:
            status = os.fstat(found)
            if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
                raise ValueError("it is not a regular file, or it is too large")
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
                    raise OSError("another process writes to it")
            os.replace(self._beside, self._path)
            _sync_folder(self._path.parent)
        except OSError as exc:
            if not self._failing:  # warn once, not at every attempt
                _LOG.warning("state cannot be saved", extra={"fields": {"path": str(self._path), "why": str(exc)}})
            self._failing = True
            return False
        self._saved, self._failing = made, False
        return True

    def _refuse_version(self, version: Any) -> bool:
        self._newer = isinstance(version, int) and version > VERSION
        kept = "; it is kept, and no state is saved" if self._newer else ""
        return self._refuse(f"its version is {str(version)[:20]}, and this release reads version {VERSION}{kept}")

    def _refuse(self, why: str) -> bool:
        fields = {"path": str(self._path), "why": why[:300]}
        _LOG.warning("saved state cannot be used; starting without it", extra={"fields": fields})
        return False


def _made(values: dict[str, Any]) -> bytes:
    return _text(values, 3).encode()


def _text(value: Any, depth: int) -> str:
    """Return JSON, encoded in pieces down to `depth`, so that the encoding thread can yield to the event loop."""
    if depth and isinstance(value, dict):
        return "{" + ",".join([f"{json.dumps(name)}:{_text(each, depth - 1)}" for name, each in value.items()]) + "}"
    if depth and isinstance(value, list):
        return "[" + ",".join([_text(each, depth - 1) for each in value]) + "]"
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _sync_folder(folder: Path) -> None:
    """Sync the folder, so that the rename survives a power failure."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _without(limits: Mapping[str, Any], replaced: Collection[tuple[str, str]]) -> dict[str, Any]:
    """Return the saved limits without those learned with replaced keys; counters stay."""
    told = {
        what: [row for row in limits[what] if limited_key(row["name"]) not in replaced] for what in ("learned", "rests")
    }
    return {**limits, **told}


def _marks(snapshot: Snapshot) -> dict[str, str]:
    """Return a short digest of each key and base URL, by provider and key id; it only detects changes."""
    return {f"{provider}/{key_id}": who[:MARK] for (provider, key_id), who in identities(snapshot).items()}
