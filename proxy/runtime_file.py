"""The runtime file: `signalbox serve` writes its address there, and `signalbox healthcheck` asks that address.

One small JSON file for each process, in a folder of the user below the system's folder for temporary files.
It names the address, the configuration and the process, and holds nothing secret. It is written once connections are
accepted and removed at the end; a file whose process is gone is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_PREFIX = "signalbox-"


@dataclass(frozen=True, slots=True)
class Running:
    """A service that was started: the file it was started with, its address as a client here reaches it."""

    config: str
    url: str
    pid: int


@contextmanager
def announced(config: Path) -> Iterator[Announcement]:
    """Yield what writes the file; remove it in the end."""
    announcement = Announcement(config)
    try:
        yield announcement
    finally:
        announcement.withdraw()


class Announcement:
    """Writes and removes the runtime file of one process. Failures are ignored: serving does not depend on it."""

    def __init__(self, config: Path) -> None:
        self._config = os.path.abspath(config)

    def write(self, url: str) -> None:
        """Write the address."""
        running = Running(self._config, reachable(url), os.getpid())
        with suppress(OSError):
            folder = _own_folder()
            folder.mkdir(mode=0o700, exist_ok=True)
            if not _is_safe(folder):
                return
            target = folder / _name(self._config)
            draft = target.with_suffix(f".{running.pid}")
            draft.write_text(json.dumps(asdict(running)))
            draft.replace(target)
            _remove_stale(folder)

    def withdraw(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            (_own_folder() / _name(self._config)).unlink()


def find(config: Path) -> Running | None:
    """The running service that was started with this configuration, by any of its paths; the latest of several."""
    wanted, services = os.path.abspath(config), running_services()
    named = [running for running in services if running.config == wanted]
    real = os.path.realpath(wanted)
    same = [running for running in services if os.path.realpath(running.config) == real]
    return next(iter(named or same), None)


def running_services() -> list[Running]:
    """Every service of this user (of all users, for root) whose process lives, the latest first."""
    processes: list[Running] = []
    with suppress(OSError):
        folders = [_own_folder()]
        if os.getuid() == 0:
            folders = sorted(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"))
        for folder in filter(_is_safe, folders):
            processes += filter(None, map(_read, sorted(folder.glob("*.json"), key=_written, reverse=True)))
    return [running for running in processes if _lives(running.pid)]


def reachable(url: str) -> str:
    """The address to ask on this machine: a wildcard is replaced by loopback.

    `::` accepts IPv4 too, and containers often have no `::1`.
    """
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//127.0.0.1:")


def _remove_stale(folder: Path) -> None:
    """Remove what killed processes have left."""
    for path in folder.glob("*.json"):
        running = _read(path)
        if running is None or not _lives(running.pid):
            path.unlink(missing_ok=True)


def _own_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"{_PREFIX}{os.getuid()}"


def _is_safe(folder: Path) -> bool:
    """Whether it is a folder that only its owner can write to, and the owner is the user in its name (or root)."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    owned = status.st_uid in (os.getuid(), 0) or (os.getuid() == 0 and folder.name == f"{_PREFIX}{status.st_uid}")
    return stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o022 and owned


def _name(config: str) -> str:
    return f"{hashlib.sha256(config.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}-{os.getpid()}.json"


def _written(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_mtime_ns
    return 0


def _read(path: Path) -> Running | None:
    try:
        row = json.loads(path.read_text())
        running = Running(str(row["config"]), str(row["url"]), int(row["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return running if running.url.startswith("http://") and running.pid > 0 else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # it is another user's
    return True
