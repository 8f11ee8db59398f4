"""The mapped end of a journal's file: records are copied to it in memory, which takes a tenth of the time of a write.

What is in a mapping of a file is in the file as soon as it is copied: it survives the process like written data, and
`fdatasync` makes it durable against power failures. The space is allocated first, because a copy to a mapping cannot
report a full disk: the process would be killed. So files are mapped only where allocated space remains their own
(`is_safe`), and are written where it cannot be allocated. On XFS and Btrfs `cp` makes copies that share the space of
the original, which then needs new space for a change. After the last record, an allocated file has zeros.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path

WINDOW = 256 * 1024  # bytes that are allocated and mapped together
_PAGE = mmap.ALLOCATIONGRANULARITY
_IN_PLACE = ("ext4", "tmpfs")  # file systems where allocated space belongs to one file, and is written in place
_MOUNTS = Path("/proc/self/mountinfo")


def is_safe(folder: Path, mounts: Path = _MOUNTS) -> bool:
    """Return whether files in `folder` may be mapped."""
    try:
        device = os.stat(folder).st_dev
        rows = [line.split(" ") for line in mounts.read_text().splitlines()]
    except (OSError, ValueError):
        return False
    name = f"{os.major(device)}:{os.minor(device)}"
    kinds = {row[row.index("-") + 1] for row in rows if row[2:3] == [name] and "-" in row}
    return bool(kinds) and kinds.issubset(_IN_PLACE)


class MappedEnd:
    """The end of one file, which must be open for reading and writing."""

    __slots__ = ("_descriptor", "_end", "_map", "_start")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map: mmap.mmap | None = None
        self._start = self._end = 0  # of the mapping, in the file

    def put(self, at: int, data: bytes) -> bool:
        """Copy `data` to a position; return false, and let the file end there, if there is no space for it."""
        end = at + len(data)
        if (self._map is None or end > self._end) and not self._allocate(at, end):
            return False
        assert self._map is not None
        self._map[at - self._start : end - self._start] = data
        return True

    def close(self, size: int) -> None:
        """Give the mapping up, and let the file end at `size`."""
        if self._map is not None:
            self._map.close()
            self._map = None
        with suppress(OSError):
            os.ftruncate(self._descriptor, size)

    def _allocate(self, at: int, end: int) -> bool:
        """Map the space from `at` to `end` and beyond; return false if that is not possible."""
        start = at - at % _PAGE
        length = max(WINDOW, end - start + -(end - start) % _PAGE)
        try:
            os.posix_fallocate(self._descriptor, start, length)
            mapping = mmap.mmap(self._descriptor, length, offset=start)
        except (OSError, ValueError):
            self.close(at)
            return False
        if self._map is not None:
            self._map.close()
        self._map, self._start, self._end = mapping, start, start + length
        return True
