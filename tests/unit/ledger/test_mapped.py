"""Journals whose files are mapped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.ledger.frames import MAGIC, OVERHEAD
from proxy.ledger.journal import Journal, read_segment
from proxy.ledger.mapped import WINDOW, MappedEnd, is_safe
from tests.support.ledgers import largest_file
from tests.support.servers import ROOT

RECORD = b"x" * 100
SIZE = len(RECORD) + OVERHEAD


def read(folder: Path) -> list[bytes]:
    return [payload for path in sorted(folder.glob("journal-*/*.log")) for payload in read_segment(path)]


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A file with the bytes `head`, open for a mapping."""
    path.write_bytes(b"head")
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def mounts(tmp_path: Path, kind: str) -> Path:
    """A list of mounts where the file system of `tmp_path` has this kind."""
    device = os.stat(tmp_path).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    path = tmp_path / "mountinfo"
    path.write_text(
        "21 20 0:19 / /proc rw,relatime shared:1 - proc proc rw\n"
        f"36 35 {name} / /data rw,noatime master:1 - {kind} /dev/root rw,errors=continue\n"
    )
    return path


def test_what_is_put_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    with opened(path) as descriptor:
        end = MappedEnd(descriptor)

        assert end.put(4, b"one")
        assert end.put(7, b"two")

        assert path.read_bytes()[:10] == b"headonetwo"
        assert not any(path.read_bytes()[10:])
        end.close(10)
    assert path.read_bytes() == b"headonetwo"


def test_records_may_cross_windows_and_exceed_them(tmp_path: Path) -> None:
    path, pieces = tmp_path / "1.log", [b"a" * (WINDOW - 10), b"b" * 100, b"c" * (3 * WINDOW), b"d"]
    with opened(path) as descriptor:
        end, at = MappedEnd(descriptor), 4
        for piece in pieces:
            assert end.put(at, piece)
            at += len(piece)
        end.close(at)

    assert path.read_bytes() == b"head" + b"".join(pieces)


def test_a_closed_mapping_leaves_no_descriptor_open(tmp_path: Path) -> None:
    with opened(tmp_path / "1.log") as descriptor:
        before = len(os.listdir("/proc/self/fd"))
        end = MappedEnd(descriptor)
        end.put(4, b"x" * WINDOW)
        end.put(4 + WINDOW, b"y")

        end.close(5 + WINDOW)

        assert len(os.listdir("/proc/self/fd")) == before


def test_without_space_nothing_is_put_and_the_file_ends_there(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    with opened(path) as descriptor:
        end = MappedEnd(descriptor)
        with largest_file(WINDOW):
            assert end.put(4, b"x" * (WINDOW - 4))
            assert not end.put(WINDOW, b"y")

        assert path.stat().st_size == WINDOW
        assert end.put(WINDOW, b"later")
        end.close(WINDOW + 5)
    assert path.read_bytes()[WINDOW:] == b"later"


@pytest.mark.parametrize("space", [1, OVERHEAD, SIZE - 1])
def test_a_journal_writes_records_that_still_fit_on_a_full_disk(tmp_path: Path, space: int) -> None:
    journal = Journal(tmp_path, mapped=True)

    with largest_file(len(MAGIC) + SIZE + space):
        journal.append(RECORD)
        with pytest.raises(OSError, match="File too large|No space left"):
            journal.append(RECORD)
    journal.append(b"later")
    journal.append(RECORD)

    assert read(tmp_path) == [RECORD, b"later", RECORD]
    journal.close()


def test_full_and_closed_segments_have_only_their_records(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=len(MAGIC) + 2 * SIZE, mapped=True)
    for _ in range(3):
        journal.append(RECORD).calls += 1

    journal.close()

    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("journal-*/*.log"))]
    assert sizes == [len(MAGIC) + 2 * SIZE, len(MAGIC) + SIZE]
    assert journal.bytes == sum(sizes)
    assert read(tmp_path) == [RECORD] * 3


def test_the_records_of_a_killed_process_can_be_read(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from proxy.ledger.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]), mapped=True); journal.append(b'one'); journal.append(b'two')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, check=False)

    assert read(tmp_path) == [b"one", b"two"]


@pytest.mark.parametrize(
    ("kind", "safe"), [("ext4", True), ("tmpfs", True), ("xfs", False), ("btrfs", False), ("overlay", False)]
)
def test_files_are_mapped_where_allocated_space_stays_their_own(tmp_path: Path, kind: str, safe: bool) -> None:
    assert is_safe(tmp_path, mounts(tmp_path, kind)) is safe


def test_files_are_not_mapped_where_the_file_system_is_unknown(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")

    assert not is_safe(tmp_path, empty)
    assert not is_safe(tmp_path, tmp_path / "missing")
    assert not is_safe(tmp_path / "missing", mounts(tmp_path, "ext4"))
