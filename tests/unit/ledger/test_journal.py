"""The journal's files: rotation, limits, errors of the disk, locks."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.ledger.frames import MAGIC, OVERHEAD
from proxy.ledger.journal import DeadJournal, Journal, JournalFull, claim_dead, read_segment, sync
from tests.support.ledgers import largest_file
from tests.support.servers import ROOT

RECORD = b"x" * 100
SIZE = len(RECORD) + OVERHEAD


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("journal-*/*.log"))


def read(folder: Path) -> list[bytes]:
    return [payload for path in segments(folder) for payload in read_segment(path)]


def claimed(folder: Path) -> list[DeadJournal]:
    """The journals of dead processes, claimed."""
    found: list[DeadJournal] = []
    claim_dead(folder, found)
    return found


def test_records_are_in_the_file_as_soon_as_they_are_written(folder: Path) -> None:
    journal = Journal(folder)

    journal.append(b"one")
    journal.append(b"two")

    assert read(folder) == [b"one", b"two"]
    journal.close()


def test_only_the_owner_may_read_the_files(folder: Path) -> None:
    journal = Journal(folder)
    journal.append(b"one")

    modes = {stat.S_IMODE(path.stat().st_mode) for path in [*folder.rglob("*"), folder] if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in [*folder.rglob("*"), folder] if path.is_dir()}

    assert modes == {0o600}
    assert folders == {0o700}
    journal.close()


def test_a_full_segment_is_followed_by_another(folder: Path) -> None:
    journal = Journal(folder, segment_bytes=len(MAGIC) + 2 * SIZE)

    written = [journal.append(RECORD) for _ in range(5)]

    assert [len(read_segment(path)) for path in segments(folder)] == [2, 2, 1]
    assert written[0] is written[1] is not written[2]
    assert journal.bytes == sum(path.stat().st_size for path in segments(folder))
    journal.close()


def test_full_segments_whose_calls_are_stored_are_disposable_in_order(folder: Path) -> None:
    journal = Journal(folder, segment_bytes=len(MAGIC) + SIZE)
    first, second, third = (journal.append(RECORD) for _ in range(3))
    for segment in (first, second, third):
        segment.calls += 1

    second.calls -= 1
    third.calls -= 1
    before = journal.disposable()
    first.calls -= 1

    assert before == []
    assert journal.disposable() == [first, second]
    assert journal.bytes == third.size
    journal.close()


def test_a_journal_at_its_limit_takes_only_records_that_complete_others(folder: Path) -> None:
    journal = Journal(folder, journal_bytes=len(MAGIC) + 2 * SIZE)
    journal.append(RECORD)
    journal.append(RECORD)

    with pytest.raises(JournalFull):
        journal.append(RECORD)
    journal.append(RECORD, within_limit=False)

    assert read(folder) == [RECORD] * 3
    journal.close()


def test_journals_of_dead_processes_count_against_the_limit(folder: Path) -> None:
    journal = Journal(folder, journal_bytes=10 * SIZE)
    journal.others_bytes = 10 * SIZE

    with pytest.raises(JournalFull):
        journal.append(RECORD)

    journal.others_bytes = 0
    journal.append(RECORD)
    journal.close()


@pytest.mark.parametrize("space", range(1, SIZE))
def test_a_record_that_does_not_fit_on_the_disk_leaves_nothing(folder: Path, space: int) -> None:
    journal = Journal(folder)
    journal.append(RECORD)

    with largest_file(len(MAGIC) + SIZE + space), pytest.raises(OSError, match="File too large|No space left"):
        journal.append(RECORD)
    journal.append(b"later")

    assert read(folder) == [RECORD, b"later"]
    assert journal.bytes == sum(path.stat().st_size for path in segments(folder))
    journal.close()


def test_a_segment_that_cannot_be_created_leaves_nothing(folder: Path) -> None:
    journal = Journal(folder, segment_bytes=len(MAGIC) + SIZE)
    journal.append(RECORD)

    with largest_file(len(MAGIC) - 1), pytest.raises(OSError, match="File too large|No space left"):
        journal.append(RECORD)
    journal.append(b"later")

    assert read(folder) == [RECORD, b"later"]
    journal.close()


def test_a_journal_whose_folder_was_removed_reports_an_error(folder: Path) -> None:
    journal = Journal(folder, segment_bytes=len(MAGIC) + SIZE)
    journal.append(RECORD)
    for path in segments(folder):
        path.unlink()
    (segments_folder,) = folder.glob("journal-*")
    for path in segments_folder.iterdir():
        path.unlink()
    segments_folder.rmdir()

    with pytest.raises(FileNotFoundError):
        journal.append(RECORD)
    journal.close()


def test_new_records_are_reported_once_until_they_are_synced(folder: Path) -> None:
    journal, reports = Journal(folder), []
    journal.notify = lambda: reports.append(1)

    journal.append(b"one")
    journal.append(b"two")
    sync(journal.unsynced())
    journal.append(b"three")

    assert reports == [1, 1]
    journal.close()


def test_syncing_includes_full_segments_and_leaves_no_descriptor_open(folder: Path) -> None:
    journal = Journal(folder, segment_bytes=len(MAGIC) + SIZE)
    journal.append(RECORD)
    sync(journal.unsynced())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        journal.append(RECORD)

    sync(journal.unsynced())

    assert len(os.listdir("/proc/self/fd")) == before
    journal.close()


def test_a_journal_with_everything_stored_is_deleted_at_its_end(folder: Path) -> None:
    journal = Journal(folder)
    journal.append(RECORD)

    journal.close()

    assert list(folder.glob("journal-*")) == []


def test_a_journal_with_calls_that_are_not_stored_stays(folder: Path) -> None:
    journal = Journal(folder)
    journal.append(RECORD).calls += 1

    journal.close()
    (dead,) = claimed(folder)

    assert read(folder) == [RECORD]
    dead.delete()
    dead.release()
    assert list(folder.glob("journal-*")) == []


def test_a_living_journal_cannot_be_claimed(folder: Path) -> None:
    journal = Journal(folder)
    journal.append(RECORD)

    assert claimed(folder) == []
    journal.close()


def test_the_journal_of_a_killed_process_can_be_claimed_once(folder: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from proxy.ledger.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1])); journal.append(b'one'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT, check=False)

    (first,) = claimed(folder)
    again = claimed(folder)
    first.release()
    (later,) = claimed(folder)

    assert again == []
    assert later.path == first.path
    assert [read_segment(path) for path in later.segments()] == [[b"one"]]
    later.release()


def test_a_segment_of_an_unknown_format_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    path.write_bytes(b"SBLEDG9\n" + b"x" * 100)

    with pytest.raises(ValueError, match="format"):
        read_segment(path)


@pytest.mark.parametrize("length", range(len(MAGIC)))
def test_a_segment_without_a_whole_head_is_empty(tmp_path: Path, length: int) -> None:
    path = tmp_path / "1.log"
    path.write_bytes(MAGIC[:length])

    assert read_segment(path) == []
