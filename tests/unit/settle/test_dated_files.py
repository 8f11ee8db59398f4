"""Files of lines by day: rotation, pruning, a full disk, several writers."""

from __future__ import annotations

import resource
import stat
from pathlib import Path

import pytest

from proxy.settle.dated_files import DatedFiles


def contents(folder: Path) -> dict[str, bytes]:
    """What is in each file."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_each_day_has_a_file_with_a_header(tmp_path: Path) -> None:
    files = DatedFiles(tmp_path / "logs", "requests", "csv", header=b"h\n")

    files.append("2026-11-28", b"a\n")
    files.append("2026-11-28", b"b\n")
    files.append("2026-11-29", b"c\n")

    assert contents(tmp_path / "logs") == {
        "requests-2026-11-28.csv": b"h\na\nb\n",
        "requests-2026-11-29.csv": b"h\nc\n",
    }


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    DatedFiles(tmp_path / "logs", "requests", "jsonl").append("2026-11-28", b"a\n")

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "logs", *(tmp_path / "logs").iterdir())]

    assert modes == [0o700, 0o600]


def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    files = DatedFiles(tmp_path, "requests", "jsonl", largest=5)
    for line in (b"aaa\n", b"bb\n", b"too long\n", b"c\n"):
        files.append("2026-11-28", line)

    assert list(contents(tmp_path).values()) == [b"bb\n", b"too long\n", b"c\n", b"aaa\n"]
    assert sorted(contents(tmp_path)) == [f"requests-2026-11-28{number}.jsonl" for number in (".1", ".2", ".3", "")]


def test_a_file_with_another_header_is_followed_by_another(tmp_path: Path) -> None:
    DatedFiles(tmp_path, "calls", "csv", header=b"a,b\n").append("2026-11-28", b"1,2\n")

    for _ in range(2):
        DatedFiles(tmp_path, "calls", "csv", header=b"a,b,c\n").append("2026-11-28", b"1,2,3\n")

    assert (tmp_path / "calls-2026-11-28.csv").read_bytes() == b"a,b\n1,2\n"
    assert (tmp_path / "calls-2026-11-28.1.csv").read_bytes() == b"a,b,c\n1,2,3\n1,2,3\n"


def test_the_oldest_files_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_bytes(b"kept")
    files = DatedFiles(tmp_path, "requests", "jsonl", largest=1, most_files=3)
    for date in ("2026-11-27", "2026-11-28"):
        for _ in range(12):
            files.append(date, b"a\n")

    assert sorted(contents(tmp_path)) == ["other.txt", *(f"requests-2026-11-28.{n}.jsonl" for n in (10, 11, 9))]


def test_several_writers_share_a_file(tmp_path: Path) -> None:
    one, other = (DatedFiles(tmp_path, "requests", "csv", header=b"h\n", largest=8) for _ in range(2))

    one.append("2026-11-28", b"a\n")
    other.append("2026-11-28", b"b\n")
    other.append("2026-11-28", b"long\n")
    one.append("2026-11-28", b"c\n")

    assert contents(tmp_path) == {
        "requests-2026-11-28.csv": b"h\na\nb\nc\n",
        "requests-2026-11-28.1.csv": b"h\nlong\n",
    }


def test_lines_that_do_not_fit_on_the_disk_leave_nothing(tmp_path: Path) -> None:
    files = DatedFiles(tmp_path, "requests", "jsonl")
    files.append("2026-11-28", b"aaaa\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (7, before[1]))
    try:
        with pytest.raises(OSError, match="File too large|No space left"):
            files.append("2026-11-28", b"bbbb\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    files.append("2026-11-28", b"c\n")

    assert contents(tmp_path) == {"requests-2026-11-28.jsonl": b"aaaa\nc\n"}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"")
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "requests-2026-11-28.jsonl").symlink_to(target)

    with pytest.raises(OSError, match="symbolic links"):
        DatedFiles(folder, "requests", "jsonl").append("2026-11-28", b"a\n")

    assert target.read_bytes() == b""
