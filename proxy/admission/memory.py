"""Memory in use, and the limit above which the kernel kills: read from cgroups, or from the processes themselves.

A container's limit is that of its cgroup. Both versions are read, and the process's cgroup as well as its ancestors.
Page cache that the kernel would drop first does not count as memory in use.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

SHARE = 0.85  # of a cgroup's limit: the watermark
UNLIMITED = 2**60  # cgroup v1 writes "no limit" as a number near 2**63


class Reading(NamedTuple):
    """Bytes in use, and the bytes above which new calls are rejected."""

    used: int
    watermark: int


class Memory(Protocol):
    """A source of readings."""

    def read(self) -> Reading:
        """Return the current reading. Raises `OSError` or `ValueError` if the system does not provide it."""
        ...


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One cgroup with a limit: its folder, and the names of its files and of the members of `memory.stat`."""

    folder: Path
    limit: int
    usage: str
    cache: tuple[str, ...]

    def read(self) -> Reading:
        used = int((self.folder / self.usage).read_bytes())
        with suppress(OSError, ValueError):
            used -= self._page_cache()
        return Reading(max(0, used), int(self.limit * SHARE))

    def _page_cache(self) -> int:
        rows = (line.partition(" ") for line in (self.folder / "memory.stat").read_text().splitlines())
        return sum(int(value) for name, _, value in rows if name in self.cache)


class ContainerMemory:
    """The memory of several nested cgroups; the one that is nearest to its watermark counts."""

    def __init__(self, cgroups: Iterable[Cgroup]) -> None:
        self._cgroups = list(cgroups)

    def read(self) -> Reading:
        return max((cgroup.read() for cgroup in self._cgroups), key=lambda reading: reading.used / reading.watermark)


class ProcessMemory:
    """The resident memory of processes, added up; `watermark` is the configured size."""

    def __init__(self, watermark: int, processes: Callable[[], Iterable[int | str]] = lambda: ("self",)) -> None:
        self._watermark = watermark
        self._processes = processes

    def read(self) -> Reading:
        used = sum(map(resident, self._processes()))
        if not used:
            raise OSError("this system has no /proc")
        return Reading(used, self._watermark)


def memory_source(
    watermark: int, processes: Callable[[], Iterable[int | str]], root: Path = Path("/")
) -> Memory | None:
    """Return the source for `server.memory_watermark`; `None` if there is nothing to watch.

    0 watches the cgroup's limit; without one, memory is not watched. `processes` are all processes of the service.
    """
    if watermark:
        return ProcessMemory(watermark, processes)
    cgroups = list(limited_cgroups(root))
    return ContainerMemory(cgroups) if cgroups else None


def resident(process: int | str) -> int:
    """Return the resident memory of a process in bytes; 0 if it has ended, and without `/proc`."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_bytes().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * resource.getpagesize()


def limited_cgroups(root: Path = Path("/")) -> Iterator[Cgroup]:
    """Yield the process's cgroup and its ancestors, as far as they have a memory limit."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                yield from _version_1(root / "sys/fs/cgroup/memory", path)
            elif (number, controllers) == ("0", ""):
                yield from _version_2(root / "sys/fs/cgroup", path)


def _version_1(base: Path, path: str) -> Iterator[Cgroup]:
    for folder in _upwards(base, path):
        limit = _number(folder / "memory.limit_in_bytes")
        if limit is not None and limit < UNLIMITED:
            cache = ("total_active_file", "total_inactive_file")
            yield Cgroup(folder, limit, "memory.usage_in_bytes", cache)


def _version_2(base: Path, path: str) -> Iterator[Cgroup]:
    for folder in _upwards(base, path):
        limits = (_number(folder / "memory.max"), _number(folder / "memory.high"))  # above `high` it is slowed down
        if known := [limit for limit in limits if limit is not None]:
            yield Cgroup(folder, min(known), "memory.current", ("active_file", "inactive_file"))


def _upwards(base: Path, path: str) -> Iterator[Path]:
    """Yield the cgroup's folder and its ancestors up to `base`.

    Containers show only their own cgroup, at `base`, whatever the path says.
    """
    folder = base / path.strip("/")
    if ".." in path.split("/") or not folder.is_dir():
        folder = base
    while folder != base:
        yield folder
        folder = folder.parent
    yield base


def _number(file: Path) -> int | None:
    """Return the positive number in a file; `None` for `max`, for 0, and for a file that cannot be read."""
    try:
        return int(file.read_bytes()) or None
    except (OSError, ValueError):
        return None
