"""Files of lines, one or more for each day (UTC), of which the newest are kept. Several processes may append to them.

requests-2026-11-28.jsonl, requests-2026-11-28.1.jsonl, ...
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

MIB = 1024 * 1024
LARGEST = 64 * MIB  # bytes of a file
MOST_FILES = 30


class DatedFiles:
    """Appends to the newest file; `header` begins each one. Only the owner may read them."""

    def __init__(
        self,
        folder: Path,
        stem: str,
        suffix: str,
        *,
        header: bytes = b"",
        largest: int = LARGEST,
        most_files: int = MOST_FILES,
    ) -> None:
        self._folder = folder
        self._stem = stem
        self._suffix = suffix
        self._header = header
        self._largest = largest
        self._most_files = most_files
        self._date = ""
        self._number = 0  # of the newest file of that day

    def append(self, date: str, lines: bytes) -> None:
        """Append whole lines to the file of `date`, such as 2026-11-28. Raises `OSError`, and writes none then."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if date != self._date:
            self._date, self._number = date, 0
        while True:
            path = self._path(date, self._number)
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                size = os.fstat(descriptor).st_size
                if not size or (size + len(lines) <= self._largest and self._has_header(descriptor)):
                    _write(descriptor, lines if size else self._header + lines, size)
                    if not size:
                        self._prune()
                    return
            finally:
                os.close(descriptor)
            self._number += 1

    def _has_header(self, descriptor: int) -> bool:
        """Return whether a file begins with the header; that of an earlier version may have other columns."""
        return os.pread(descriptor, len(self._header), 0) == self._header

    def _path(self, date: str, number: int) -> Path:
        return self._folder / f"{self._stem}-{date}{f'.{number}' if number else ''}.{self._suffix}"

    def _prune(self) -> None:
        """Delete the oldest files."""
        paths = sorted(self._folder.glob(f"{self._stem}-*.{self._suffix}"), key=self._age)
        for path in paths[: -self._most_files]:
            path.unlink(missing_ok=True)

    def _age(self, path: Path) -> tuple[str, int]:
        date, _, number = path.name.removeprefix(f"{self._stem}-").removesuffix(f".{self._suffix}").partition(".")
        return date, int(number) if number.isdigit() else 0


def _write(descriptor: int, data: bytes, size: int) -> None:
    written = 0
    try:
        written = os.write(descriptor, data)
        if written < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        if written:
            os.ftruncate(descriptor, size)
        raise
