"""The journal of one process: an append-only set of files in `data_dir/journal`, which survives the process.

    data_dir/journal/lock                   held for a moment by a process that creates or claims a journal
    data_dir/journal/journal-XXXX/lock      held by the process that writes it: if it is free, that has ended
    data_dir/journal/journal-XXXX/N.log     segments of frames (`frames.py`); the last one grows

A record is one unbuffered write, or one copy to a mapping of the file (`mapped.py`), so it survives a kill at any
point. A background thread syncs new records every `SYNC_SECONDS`: a power failure loses at most those. A segment is
deleted once everything in it is in the store.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path

from proxy.ledger.frames import MAGIC, framed, payloads
from proxy.ledger.mapped import MappedEnd, is_safe

MIB = 1024 * 1024
SEGMENT_BYTES = 4 * MIB
JOURNAL_BYTES = 256 * MIB  # of one process, with the journals of ended ones that it has found
SYNC_SECONDS = 0.1
_PREFIX = "journal-"
_LOCK = "lock"


class JournalFull(OSError):
    """The journal has reached its size limit, because the store has not taken its records for long."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, "the journal has reached its size limit")


class Segment:
    """One file of a journal, and the number of calls in it that are not in the store."""

    __slots__ = ("calls", "descriptor", "mapped", "outdated", "path", "size", "spilled", "torn")

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor  # -1: closed
        self.size = 0
        self.mapped: MappedEnd | None = None  # `None`: records are written
        self.calls = 0  # not in the store yet
        self.spilled = 0  # of these, the finished ones that are in this file only and must be read from it
        self.outdated: set[str] = set()  # calls of which a later segment has a newer outcome
        self.torn = False  # its end is damaged: nothing after it could be read


class Journal:
    """The journal that this process writes."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        journal_bytes: int = JOURNAL_BYTES,
        mapped: bool = False,
    ) -> None:
        """`mapped`: map the files, where that is safe."""
        self.others_bytes = 0  # of dead journals that are not recovered yet
        self.bytes = 0
        self.notify: Callable[[], None] = lambda: None  # called when there is something new to sync
        self._segment_bytes = segment_bytes
        self._journal_bytes = journal_bytes
        self._mapped = mapped
        self._synced = True
        self._unsynced: list[int] = []  # descriptors of full segments and of the folder
        self._closed: list[Segment] = []
        self._current: Segment | None = None
        self._number = 0
        self._folder = folder
        self._path = _new_path(folder)
        self._lock: int | None = None

    def open(self) -> None:
        """Create the journal and take its lock, if that has not been done. Raises `OSError`."""
        if self._lock is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(self._folder / _LOCK):
            self._path.mkdir(0o700, exist_ok=True)
            lock = _open_lock(self._path / _LOCK)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lock = lock
        self._mapped = self._mapped and is_safe(self._path)

    @property
    def deleted(self) -> bool:
        """Whether the files that this process writes were deleted."""
        descriptors = [self._lock, None if self._current is None else self._current.descriptor]
        return any(each is not None and not os.fstat(each).st_nlink for each in descriptors)

    def begin_again(self) -> None:
        """Leave the files that were deleted: the next record begins a new journal."""
        if self._current is not None:
            self._close_current()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._path = _new_path(self._folder)

    def append(self, payload: bytes, *, within_limit: bool = True) -> Segment:
        """Write a record and return its segment. Raises `OSError` if it could not be written as a whole.

        `within_limit=False`: the record completes others, so it may exceed the size limit.
        """
        frame = framed(payload)
        length = len(frame)
        if within_limit and self.bytes + self.others_bytes + length > self._journal_bytes:
            raise JournalFull
        segment = self._current
        if segment is None or segment.torn or segment.size + length > self._segment_bytes:
            segment = self._rotated()
        if segment.mapped is None or not segment.mapped.put(segment.size, frame):
            _write(segment, frame)
        segment.size += length
        self.bytes += length
        if self._synced:
            self._synced = False
            self.notify()
        return segment

    def unsynced(self) -> list[int]:
        """Return descriptors to sync and close (`sync`): there may be new data behind them."""
        self._synced = True
        descriptors, self._unsynced = self._unsynced, []
        if self._current is not None:
            descriptors.append(os.dup(self._current.descriptor))
        return descriptors

    def disposable(self) -> list[Segment]:
        """Return the first full segments without a call that is not in the store, and forget them: delete their files.

        They go in order, so that no segment is left that has the beginning of a call whose end is gone.
        """
        done = list(takewhile(lambda segment: not segment.calls, self._closed))
        del self._closed[: len(done)]
        self.bytes -= sum([segment.size for segment in done])
        return done

    @property
    def full_segments(self) -> int:
        """The number of segments before the current one."""
        return len(self._closed)

    def is_current(self, segment: Segment) -> bool:
        """Return whether records are written to this segment."""
        return segment is self._current

    def spilled(self) -> Segment | None:
        """Return a segment with spilled calls, closed to new records; `None` without one."""
        if self._current is not None and self._current.spilled:
            self._close_current()
        return next((segment for segment in self._closed if segment.spilled), None)

    def close(self) -> None:
        """Close the journal. Its files are deleted if everything in them is in the store; else they are synced."""
        if self._current is not None:
            self._close_current()
        if any(segment.calls for segment in self._closed):
            with suppress(OSError):
                sync(self.unsynced())
        else:
            _delete(self._path)
        self.release()

    def release(self) -> None:
        """Give up the files and the lock, as the end of the process does."""
        for descriptor in self.unsynced():
            os.close(descriptor)
        if self._current is not None:
            if self._current.mapped is not None:
                self._current.mapped.close(self._current.size)
            os.close(self._current.descriptor)
            self._current = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _rotated(self) -> Segment:
        """Begin a new segment. Raises `OSError`, and keeps the current one, if it cannot be created."""
        self.open()
        path = self._path / f"{self._number + 1:08}.log"
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        segment = Segment(path, descriptor)
        try:
            _write(segment, MAGIC)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        segment.size = len(MAGIC)
        segment.mapped = MappedEnd(descriptor) if self._mapped else None
        self.bytes += len(MAGIC)
        self._number += 1
        if self._current is not None:
            self._close_current()
        self._unsynced.append(os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        self._current = segment
        return segment

    def _close_current(self) -> None:
        assert self._current is not None
        segment, self._current = self._current, None
        if segment.mapped is not None:
            segment.mapped.close(segment.size)
        self._unsynced.append(segment.descriptor)
        segment.descriptor = -1
        self._closed.append(segment)


class DeadJournal:
    """A journal whose owner has died, claimed by this process until `release`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def segments(self) -> list[Path]:
        """Return its files in the order in which they were written."""
        return sorted(self.path.glob("*.log"))

    @property
    def bytes(self) -> int:
        """The size of its files."""
        return sum(path.stat().st_size for path in self.segments())

    def release(self) -> None:
        """Give up the lock: what is left of the journal may be recovered by any process."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def delete(self) -> None:
        """Delete the journal: everything in it is in the store."""
        _delete(self.path)

    def set_aside(self) -> None:
        """Rename the journal, which this release cannot read, so that it is kept and not tried again."""
        self.path.rename(self.path.with_name(f"unreadable-{self.path.name}"))


def claim_dead(folder: Path, claimed: list[DeadJournal]) -> None:
    """Append the journals whose owners have died, with their locks, to `claimed`. Raises `OSError`."""
    if not any(folder.glob(f"{_PREFIX}*")):
        return
    with _locked(folder / _LOCK):
        for path in sorted(folder.glob(f"{_PREFIX}*")):
            try:
                lock = _open_lock(path / _LOCK)
            except FileNotFoundError:  # its owner has just deleted it
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                claimed.append(DeadJournal(path, lock))


def read_segment(path: Path) -> list[bytes]:
    """Return the payloads of a segment. Raises `OSError`, and `ValueError` for the format of another release."""
    data = path.read_bytes()
    if not data.startswith(MAGIC) and not MAGIC.startswith(data):
        raise ValueError("the format of the journal is not known to this release")
    return list(payloads(data))


def sync(descriptors: list[int]) -> None:
    """Sync the files to the disk, and close the descriptors. Raises the first `OSError`."""
    failure: OSError | None = None
    for descriptor in descriptors:
        try:
            os.fdatasync(descriptor)
        except OSError as exc:
            failure = failure or exc
        finally:
            os.close(descriptor)
    if failure is not None:
        raise failure


def _new_path(folder: Path) -> Path:
    return folder / f"{_PREFIX}{secrets.token_hex(8)}"


def _delete(path: Path) -> None:
    """Delete a journal, its segments in order: no segment is left that has the beginning of a call without its end."""
    for segment in sorted(path.glob("*.log")):
        segment.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _write(segment: Segment, data: bytes) -> None:
    """Write all of `data`, or nothing. Raises `OSError`; `segment.torn` if a part of it could not be removed."""
    written = 0
    try:
        written = os.write(segment.descriptor, data)
        if written < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        if written:
            segment.torn = True
            os.ftruncate(segment.descriptor, segment.size)
            segment.torn = False
        raise


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes hold only for moments."""
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
