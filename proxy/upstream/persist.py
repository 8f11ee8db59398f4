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
import logging
import os
import stat
import weakref
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from proxy.capacity.kinds import MINUTE
from proxy.capacity.limits import Limits
from proxy.capacity.memory import MemoryCounters
from proxy.core.background import in_thread
from proxy.core.clock import Clock
from proxy.core.saved import SavedExhaustion, SavedLimit, SavedLimits, SavedState, SavedVersion, route_named
from proxy.core.snapshot import Live, Snapshot
from proxy.upstream.health import Health
from proxy.upstream.identity import identities

T = TypeVar("T")

_LOG = logging.getLogger(__name__)

VERSION = 1
SAVE_INTERVAL_SECONDS = 5.0  # seconds between two checks for changes
DRIFT = 0.25  # seconds of drift between the clocks before all times are rewritten
DIGEST_LENGTH = 4  # hexadecimal digits of the digest: enough to detect a change, too few to guess a weak key
MAX_BYTES = 64 * 1024 * 1024  # bytes; ten thousand breakers take a few MB


class StateFile:
    """The state file of one process; `counters` is `None` if a shared store keeps them."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        live: Live,
        *,
        health: Health,
        limits: Limits,
        counters: MemoryCounters | None = None,
    ) -> None:
        self._path = path
        self._live = live
        self._health = health
        self._limits = limits
        self._counters = counters
        self._draft = path.with_name(path.name + ".tmp")
        self._clock = clock
        self._shift = clock.time() - clock.monotonic()
        self._lock = path.with_name(path.name + ".lock")
        self._content: bytes | None = None  # of the file
        self._failing = False
        self._locked: bool | None = None  # whether this process holds the lock; `None`: not tried yet
        self._newer = False  # the file has a newer, unknown version
        self.read_only = False  # another worker of this service writes

    async def load(self) -> bool:
        """Restore the file's state; return `False` if it is missing or, after a warning, if it is invalid."""
        try:
            if not self.read_only:
                await in_thread(self._take_lock)
            raw = await in_thread(self._read)
            if raw is None:
                self._content = _encoded(self._state())  # write nothing until something changes
                return False
            version = msgspec.json.decode(raw, type=SavedVersion).version
            if version != VERSION:
                return self._reject_version(version)
            saved = msgspec.json.decode(raw, type=SavedState)
            now = self._clock.time()
            shift = self._clocks() + max(0.0, (saved.saved_at or now) - now)
            # subtract the drift so that a limit never ends too early
            if self._counters is not None:
                self._counters.restore(saved.limits.counts, shift - DRIFT)  # may raise before anything is changed
        except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as exc:
            return self._reject(f"{type(exc).__name__}: {exc}")
        replaced = self._replaced(saved.keys)
        self._limits.restore(_without(saved.limits, replaced), shift - DRIFT)
        self._health.restore(saved.health, shift)
        for provider, key_id in replaced:
            self._health.reset(provider, key=key_id)
        return True

    def _replaced(self, saved: Mapping[str, str]) -> set[tuple[str, str]]:
        """Return (provider, key id) for each key that is new, or whose value or base URL has changed since."""
        digests = _key_digests(self._live.snapshot)
        names = (name.partition("/") for name, digest in digests.items() if saved.get(name) != digest)
        return {(provider, key_id) for provider, _, key_id in names}

    async def save(self) -> bool:
        """Write changed state in a thread; return whether something was written."""
        return await in_thread(self._save, self._state(longer_than=MINUTE))

    def flush(self) -> None:
        """Write the state synchronously, with the windows of a minute; used at shutdown."""
        self._save(self._state())

    async def run(self) -> None:
        """Save changed state every `SAVE_INTERVAL_SECONDS` until cancelled, and then once more."""
        try:
            while True:
                await self._clock.sleep(SAVE_INTERVAL_SECONDS)
                await self.save()
        finally:
            self.flush()

    def _state(self, *, longer_than: float = 0.0) -> SavedState:
        """Return the state to write, without windows of at most `longer_than` seconds."""
        shift = self._clocks()
        limits = self._limits.export(shift)
        if self._counters is not None:
            counts = self._counters.export(shift, longer_than=longer_than)
            limits = msgspec.structs.replace(limits, counts=counts)
        return SavedState(VERSION, self._health.export(shift), limits, _key_digests(self._live.snapshot))

    def _save(self, state: SavedState) -> bool:
        content = _encoded(state)
        may_write = not self._newer and not self.read_only
        return content != self._content and may_write and self._take_lock() and self._write(content)

    def _take_lock(self) -> bool:
        """Take the lock if it is free, until the process ends; return whether this process may write."""
        if self._locked:
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
            if self._locked is None:
                fields = {"path": str(self._path.parent)}
                _LOG.warning("another process uses data_dir; state is not saved", extra={"fields": fields})
            self._locked = False
            return False
        weakref.finalize(self, os.close, lock)
        if self._locked is False:
            _LOG.info("state is saved again", extra={"fields": {"path": str(self._path)}})
        self._locked = True
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
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
                raise ValueError("it is not a regular file, or it is too large")
            return file.read(MAX_BYTES)

    def _write(self, content: bytes) -> bool:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._draft.unlink(missing_ok=True)  # left by a process that was killed
            descriptor = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(b'{"saved_at":%.2f,' % self._clock.time() + content[1:])
                file.flush()
                os.fsync(file.fileno())
                if not os.path.samestat(os.fstat(file.fileno()), os.stat(self._draft)):
                    raise OSError("another process writes to it")
            os.replace(self._draft, self._path)
            _sync_folder(self._path.parent)
        except OSError as exc:
            if not self._failing:  # warn once, not at every attempt
                _LOG.warning("state cannot be saved", extra={"fields": {"path": str(self._path), "why": str(exc)}})
            self._failing = True
            return False
        self._content, self._failing = content, False
        return True

    def _reject_version(self, version: object) -> bool:
        self._newer = isinstance(version, int) and version > VERSION
        kept = "; it is kept, and no state is saved" if self._newer else ""
        return self._reject(f"its version is {str(version)[:20]}, and this release reads version {VERSION}{kept}")

    def _reject(self, why: str) -> bool:
        fields = {"path": str(self._path), "why": why[:300]}
        _LOG.warning("saved state cannot be used; starting without it", extra={"fields": fields})
        return False


def _encoded(state: SavedState) -> bytes:
    """Return JSON, encoded row by row, so that the encoding thread can yield to the event loop."""
    health, limits = state.health, state.limits
    return b"".join(
        (
            b'{"version":%d,"health":{"breakers":' % state.version,
            _rows(health.breakers),
            b',"rests":',
            _rows(health.cooldowns),
            b'},"limits":{"learned":',
            _rows(limits.learned),
            b',"rests":',
            _rows(limits.cooldowns),
            b',"counts":',
            _rows(limits.counts),
            b'},"keys":',
            msgspec.json.encode(state.keys),
            b"}",
        )
    )


def _rows(rows: Iterable[msgspec.Struct]) -> bytes:
    encoded = []
    for row in rows:
        with suppress(UnicodeEncodeError):  # a model name of a client that is not valid Unicode
            encoded.append(msgspec.json.encode(row))
    return b"[" + b",".join(encoded) + b"]"


def _sync_folder(folder: Path) -> None:
    """Sync the folder, so that the rename survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _without(limits: SavedLimits, replaced: Collection[tuple[str, str]]) -> SavedLimits:
    """Return the saved limits without those learned with replaced keys."""

    def stays(row: SavedLimit | SavedExhaustion) -> bool:
        route = route_named(row.name)
        return (route.provider, route.key_id) not in replaced

    learned = [row for row in limits.learned if stays(row)]
    return SavedLimits(learned, [row for row in limits.cooldowns if stays(row)])


def _key_digests(snapshot: Snapshot) -> dict[str, str]:
    """Return a short digest of each key and base URL, by provider and key id; it only detects changes."""
    return {
        f"{provider}/{key_id}": digest[:DIGEST_LENGTH] for (provider, key_id), digest in identities(snapshot).items()
    }
