"""State that outlives the process: breakers, resting keys and learned limits, in one small file.

A restart in the middle of an outage then does not ask everybody again what is known to be down. Times are written by
the wall's clock, since a monotonic one begins anew. The file is replaced in whole (written beside it, synced, renamed),
so a reader sees the old one or the new one, whenever we are killed; it holds names of keys and what tells whether they
have been replaced since (what was held against the old one is not the new one's fault), never their values.

Whatever is wrong with the file is a warning, and what cannot be read is not there: state is a convenience, not a
condition. What lies further ahead than it could (a clock was set, a hand was at work) is cut to the longest it may be.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from proxy.core.clock import Clock
from proxy.core.types import Snapshot
from proxy.upstream.health import Health
from proxy.upstream.limits import Limits, limited_key

_LOG = logging.getLogger(__name__)

VERSION = 1
EVERY = 5.0  # seconds between two looks for a change
DRIFT = 1.0  # seconds that the two clocks may drift apart before all times are written anew
LARGEST = 64 * 1024 * 1024  # bytes; ten thousand breakers have a few


class StateFile:
    """One file, written by one process."""

    def __init__(self, path: Path, clock: Clock, snapshot: Callable[[], Snapshot]) -> None:
        self._path = path
        self._snapshot = snapshot
        self._beside = path.with_name(path.name + ".tmp")
        self._clock = clock
        self._shift = clock.time() - clock.monotonic()
        self._saved: bytes | None = None  # what is in the file
        self._failing = False

    async def load(self, health: Health, limits: Limits) -> bool:
        """Take over what the file says; False, after a warning, if it cannot be used. A missing file is no fault."""
        try:
            raw = await anyio.to_thread.run_sync(self._read)
            if raw is None:
                self._saved = _made(self._values(health, limits))  # as long as nothing happens, nothing is written
                return False
            values = json.loads(raw)
            if values["version"] != VERSION:
                return self._refuse(f"it has version {str(values['version'])[:20]}, and this one reads {VERSION}")
            replaced = self._replaced(dict(values["keys"]))
            await limits.restore(_without(values["limits"], replaced), self._clocks())
            health.restore(values["health"], self._clocks())
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as exc:
            return self._refuse(f"{type(exc).__name__}: {exc}")
        for provider, key_id in replaced:
            health.reset(provider, key=key_id)
        return True

    def _replaced(self, saved: Mapping[str, Any]) -> set[tuple[str, str]]:
        """Provider and id of each key that is another than when the file was written."""
        marks = _marks(self._snapshot())
        names = (name.partition("/") for name, mark in marks.items() if saved.get(name, mark) != mark)
        return {(provider, key_id) for provider, _, key_id in names}

    async def save(self, health: Health, limits: Limits) -> bool:
        """Write what has changed since the last time, in a thread; whether there was anything and it went well."""
        return await anyio.to_thread.run_sync(self._save, self._values(health, limits))

    def flush(self, health: Health, limits: Limits) -> None:
        """The same at once, for the end of the process; safe where nothing may be awaited any more."""
        self._save(self._values(health, limits))

    async def run(self, health: Health, limits: Limits) -> None:
        """Save every few seconds until cancelled, and then once more."""
        try:
            while True:
                await self._clock.sleep(EVERY)
                await self.save(health, limits)
        finally:
            self.flush(health, limits)

    def _values(self, health: Health, limits: Limits) -> dict[str, Any]:
        shift = self._clocks()
        marks = _marks(self._snapshot())
        return {"version": VERSION, "health": health.export(shift), "limits": limits.export(shift), "keys": marks}

    def _save(self, values: dict[str, Any]) -> bool:
        made = _made(values)
        return made != self._saved and self._write(made)

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
                file.write(made)
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

    def _refuse(self, why: str) -> bool:
        fields = {"path": str(self._path), "why": why[:300]}
        _LOG.warning("saved state cannot be used; starting without it", extra={"fields": fields})
        return False


def _made(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=True, separators=(",", ":")).encode()


def _sync_folder(folder: Path) -> None:
    """The rename itself must outlive a power cut."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _without(limits: Mapping[str, Any], replaced: Collection[tuple[str, str]]) -> dict[str, Any]:
    """What is saved of limits, without what was learned with keys that are not there any more."""
    return {what: [row for row in rows if limited_key(row["name"]) not in replaced] for what, rows in limits.items()}


def _marks(snapshot: Snapshot) -> dict[str, str]:
    """By provider and key id: a digest of the key, too short to be of use for anything but a comparison."""
    return {
        f"{provider.name}/{key.id}": hashlib.sha256(f"{provider.name}/{key.id}/{key.value}".encode()).hexdigest()[:12]
        for provider in snapshot.providers.values()
        for key in provider.keys
    }
