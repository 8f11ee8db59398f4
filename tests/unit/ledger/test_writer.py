"""The writer: batches, a store that is down, spilling, and the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from proxy.core.ledger import AttemptRow, CallRow
from proxy.core.record import Outcome
from proxy.ledger import writer as module
from proxy.ledger.assembly import BuiltLedger
from tests.support.fakes import FakeClock
from tests.support.ledgers import MemoryStore, answered, begun, die, eventually, ledger, running, segments

pytestmark = pytest.mark.anyio
SHORT = 4096  # bytes of a segment


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def small(built: BuiltLedger) -> BuiltLedger:
    """Let it have memory for a few calls only."""
    built.writer.most_queued, built.writer.most_unjournaled = 3, 5
    return built


def call(built: BuiltLedger, number: int, clock: FakeClock, *, close: bool = True) -> None:
    """A call that is answered, and closed."""
    record, attempt = begun(number, clock)
    built.recorder.begin(record, attempt)
    answered(record)
    built.recorder.end(record)
    if close:
        built.recorder.close(record)


async def test_finished_calls_are_written_once(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    async with running(ledger(tmp_path, store, clock)) as built:
        for number in range(700):
            call(built, number, clock)
        await eventually(lambda: len(store.calls) == 700)

    assert sum(store.batches) == 700
    assert max(store.batches) <= 500
    assert len(store.attempts) == 700
    assert set(store.outcomes().values()) == {"ok"}


class Busy(MemoryStore):
    """A store during whose first writes further calls finish."""

    def __init__(self, meanwhile: list[int]) -> None:
        super().__init__()
        self.meanwhile = meanwhile  # that finish during each write
        self.finish: Callable[[int], None] = lambda number: None

    async def write(self, calls: Sequence[CallRow], attempts: Sequence[AttemptRow]) -> None:
        await super().write(calls, attempts)
        first = len(self.calls) + 1000
        for number in range(self.meanwhile.pop(0) if self.meanwhile else 0):
            self.finish(first + number)


@pytest.mark.parametrize(
    ("meanwhile", "batches", "waits"),
    [([3, 2, 1], [1, 3, 2, 1], 4), ([500, 7], [1, 500, 7], 2)],
    ids=["few", "a-full-batch"],
)
async def test_calls_that_finish_during_a_write_collect_for_a_batch(
    tmp_path: Path, meanwhile: list[int], batches: list[int], waits: int
) -> None:
    clock, store = FakeClock(), Busy(meanwhile)
    async with running(ledger(tmp_path, store, clock)) as built:
        store.finish = lambda number: call(built, number, clock)
        call(built, 1, clock)
        await eventually(lambda: len(store.calls) == sum(batches))

    assert store.batches == batches
    assert clock.slept.count(module.BATCH_SECONDS) == waits


async def test_calls_that_finish_during_the_last_write_are_written(tmp_path: Path) -> None:
    clock, store = FakeClock(), Busy([3, 2])
    built = ledger(tmp_path, store, clock)
    store.finish = lambda number: call(built, number, clock)
    call(built, 1, clock)

    await built.writer.drain(rest=True)

    assert store.batches == [1, 3, 2]
    assert built.writer.queued == 0


async def test_a_call_that_is_not_closed_is_not_written(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    async with running(ledger(tmp_path, store, clock)) as built:
        call(built, 1, clock, close=False)
        call(built, 2, clock)
        await eventually(lambda: store.calls)

    assert list(store.calls) == ["req_2"]


async def test_segments_are_deleted_once_their_calls_are_stored(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    async with running(ledger(tmp_path, store, clock, segment_bytes=SHORT)) as built:
        for number in range(100):
            call(built, number, clock)
        await eventually(lambda: len(store.calls) == 100)
        await eventually(lambda: len(segments(tmp_path)) == 1)

        assert built.journal.bytes < 2 * SHORT


async def test_rows_wait_while_the_store_is_down(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    store.down = True
    async with running(ledger(tmp_path, store, clock)) as built:
        call(built, 1, clock)
        await eventually(lambda: sum(clock.slept) > 60)
        waiting = built.writer.queued
        store.down = False
        await eventually(lambda: store.calls)

    assert waiting == 1
    assert module.LONGEST_PAUSE in clock.slept
    assert store.outcomes() == {"req_1": "ok"}


async def test_calls_beyond_the_memory_are_read_from_the_journal(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    store.down = True
    async with running(small(ledger(tmp_path, store, clock, segment_bytes=SHORT))) as built:
        for number in range(60):
            call(built, number, clock)
        queued = built.writer.queued
        store.down = False
        await eventually(lambda: len(store.calls) == 60)
        await eventually(lambda: len(segments(tmp_path)) <= 1)

    assert queued == 3
    assert set(store.outcomes().values()) == {"ok"}
    assert built.writer.lost == 0


async def test_a_deleted_journal_is_begun_again(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    store.down = True
    async with running(small(ledger(tmp_path, store, clock, segment_bytes=SHORT))) as built:
        for number in range(60):
            call(built, number, clock)
        # Moved first, so that the journal's thread creates no file in a folder that is being deleted.
        shutil.rmtree((tmp_path / "journal").rename(tmp_path / "deleted"))
        await eventually(lambda: call(built, 1000, clock) or segments(tmp_path))
        store.down = False
        await eventually(lambda: len(store.calls) + built.writer.lost >= 61)
        call(built, 2000, clock)
        await eventually(lambda: "req_2000" in store.calls)

    assert {"req_0", "req_1", "req_2"} <= store.calls.keys()
    assert 50 <= built.writer.lost < 60
    assert not segments(tmp_path)


async def test_a_call_in_progress_is_not_read_from_the_journal(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    store.down = True
    async with running(small(ledger(tmp_path, store, clock))) as built:
        record, attempt = begun(1000, clock)
        built.recorder.begin(record, attempt)
        answered(record)
        built.recorder.end(record)
        for number in range(10):
            call(built, number, clock)
        store.down = False
        await eventually(lambda: len(store.calls) == 10)
        early = "req_1000" in store.calls
        record.end(Outcome.CLIENT_CLOSED, status=499)
        built.recorder.close(record)
        await eventually(lambda: len(store.calls) == 11)

    assert not early
    assert store.outcomes()["req_1000"] == "client_closed"


async def test_an_outcome_replaced_in_another_segment_stays_in_memory(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    store.down = True
    async with running(small(ledger(tmp_path, store, clock, segment_bytes=SHORT))) as built:
        record, attempt = begun(1000, clock)
        built.recorder.begin(record, attempt)
        answered(record)
        built.recorder.end(record)
        for number in range(30):
            call(built, number, clock)
        record.end(Outcome.CLIENT_CLOSED, status=499)
        built.recorder.close(record)
        store.down = False
        await eventually(lambda: len(store.calls) == 31)

    assert store.outcomes()["req_1000"] == "client_closed"


async def test_what_has_no_place_at_all_is_counted_as_lost(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    store.down = True
    (tmp_path / "journal").write_text("not a folder")
    async with running(small(ledger(tmp_path, store, clock))) as built:
        for number in range(9):
            call(built, number, clock)
        store.down = False
        await eventually(lambda: len(store.calls) == 5)

    assert built.writer.lost == 4
    assert built.recorder.unjournaled >= 9


async def test_a_call_that_the_store_rejects_does_not_keep_others_from_it(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    store.rejects = {"req_3"}
    async with running(ledger(tmp_path, store, clock)) as built:
        for number in range(8):
            call(built, number, clock)
        await eventually(lambda: len(store.calls) == 7)
        await eventually(lambda: not built.writer.queued)

    assert "req_3" not in store.calls
    assert built.writer.lost == 1


async def test_the_end_writes_what_is_left_and_removes_the_journal(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    async with running(ledger(tmp_path, store, clock)) as built:
        call(built, 1, clock)

    assert store.outcomes() == {"req_1": "ok"}
    assert segments(tmp_path) == []


async def test_the_end_keeps_the_journal_while_the_store_is_down(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    store.down = True
    async with running(ledger(tmp_path, store, clock)) as built:
        call(built, 1, clock)
    kept = segments(tmp_path)
    store.down = False
    async with running(ledger(tmp_path, store, clock)):
        pass

    assert len(kept) == 1
    assert store.outcomes() == {"req_1": "ok"}
    assert segments(tmp_path) == []


async def test_a_long_call_does_not_keep_old_segments(tmp_path: Path, store: MemoryStore) -> None:
    clock = FakeClock()
    async with running(ledger(tmp_path, store, clock, segment_bytes=SHORT)) as built:
        long_call, attempt = begun(1000, clock)
        built.recorder.begin(long_call, attempt)
        built.recorder.begin(long_call, long_call.attempt(attempt.deployment, "other", clock.monotonic()))
        undelivered, first = begun(1001, clock)
        built.recorder.begin(undelivered, first)
        answered(undelivered)
        built.recorder.end(undelivered)
        for number in range(100):
            call(built, number, clock)
            if number % 10 == 0:
                await eventually(lambda expected=number + 1: len(store.calls) == expected)
        await eventually(lambda: len(store.calls) == 100)
        await eventually(lambda: len(segments(tmp_path)) <= module.MOST_FULL_SEGMENTS + 1)
        die(built)
        await eventually(lambda: {"req_1000", "req_1001"} <= store.calls.keys())

    assert store.outcomes()["req_1000"] == "unknown"
    assert store.outcomes()["req_1001"] == "ok"
    assert store.attempts["req_1000-2"].provider_key == "other"
