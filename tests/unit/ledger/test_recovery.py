"""Recovery of journals whose processes have died."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.ledger.assembly import BuiltLedger
from proxy.ledger.frames import MAGIC
from tests.support.fakes import FakeClock
from tests.support.ledgers import Down, MemoryStore, answered, begun, die, eventually, failed, ledger, running, segments

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def leave(folder: Path, store: MemoryStore, clock: FakeClock, *, segment_bytes: int = 1 << 20) -> BuiltLedger:
    """A process that dies after four calls: answered, failed, closed and written nowhere, and started."""
    built = ledger(folder, store, clock, segment_bytes=segment_bytes)
    for number in (1, 2, 3, 4):
        record, attempt = begun(number, clock)
        built.recorder.begin(record, attempt)
        if number == 4:
            built.recorder.begin(record, record.attempt(attempt.deployment, "main", clock.monotonic()))
            continue
        failed(record) if number == 2 else answered(record)
        built.recorder.end(record)
        if number == 3:
            built.recorder.close(record)
    die(built)
    return built


EXPECTED = {"req_1": "ok", "req_2": "error", "req_3": "ok", "req_4": "unknown"}


async def test_a_dead_journal_is_recovered_before_the_start(
    tmp_path: Path, store: MemoryStore, clock: FakeClock
) -> None:
    leave(tmp_path, store, clock)

    built = ledger(tmp_path, store, clock)
    await built.start()

    assert store.outcomes() == EXPECTED
    assert {row.id: row.outcome for row in store.attempts.values() if row.outcome == "unknown"} == {
        "req_4-1": "unknown",
        "req_4-2": "unknown",
    }
    unknown = store.calls["req_4"]
    assert (unknown.attempts, unknown.endpoint, unknown.request_id, unknown.user) == (2, "chat", "theirs-4", "ann")
    assert (unknown.provider, unknown.upstream_model, unknown.route) == ("acme", "small", "tier/low")
    assert built.recovery.recovered == 4
    built.journal.close()


async def test_a_journal_with_many_segments_is_recovered(tmp_path: Path, store: MemoryStore, clock: FakeClock) -> None:
    leave(tmp_path, store, clock, segment_bytes=1)

    built = ledger(tmp_path, store, clock)
    await built.start()

    assert store.outcomes() == EXPECTED
    assert segments(tmp_path) == []
    built.journal.close()


async def test_recovering_twice_changes_nothing(tmp_path: Path, store: MemoryStore, clock: FakeClock) -> None:
    leave(tmp_path, store, clock)
    (path,) = segments(tmp_path)
    content = path.read_bytes()
    built = ledger(tmp_path, store, clock)
    await built.start()
    before = dict(store.calls), dict(store.attempts)

    path.parent.mkdir()
    path.write_bytes(content)
    await built.recovery.recover()

    assert (store.calls, store.attempts) == before
    built.journal.close()


async def test_a_journal_is_kept_until_the_store_has_all_of_it(
    tmp_path: Path, store: MemoryStore, clock: FakeClock
) -> None:
    leave(tmp_path, store, clock)
    store.down = True

    built = ledger(tmp_path, store, clock)
    await built.start()
    size = built.journal.others_bytes
    store.down = False
    await built.recovery.recover()

    assert size > 0
    assert built.journal.others_bytes == 0
    assert store.outcomes() == EXPECTED
    built.journal.close()


class Failing(MemoryStore):
    """Fails after a number of transactions, as a process does that is killed in between."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    async def write(self, calls: object, attempts: object) -> None:
        if self.left <= 0:
            raise Down
        self.left -= 1
        await super().write(calls, attempts)  # type: ignore[arg-type]


@pytest.mark.parametrize("after", range(9))
async def test_recovery_may_be_interrupted_anywhere(tmp_path: Path, clock: FakeClock, after: int) -> None:
    store = Failing(after)
    leave(tmp_path, store, clock, segment_bytes=1)
    first = ledger(tmp_path, store, clock)
    await first.start()
    die(first)

    store.left = 1000
    second = ledger(tmp_path, store, clock)
    await second.start()

    assert store.outcomes() == EXPECTED
    assert len(store.attempts) == 5
    second.journal.close()


async def test_the_journal_of_a_sibling_is_recovered_while_serving(
    tmp_path: Path, store: MemoryStore, clock: FakeClock
) -> None:
    async with running(ledger(tmp_path, store, clock)):
        leave(tmp_path, store, clock)
        await eventually(lambda: len(store.calls) == 4)

    assert store.outcomes() == EXPECTED


async def test_a_living_journal_is_left_alone(tmp_path: Path, store: MemoryStore, clock: FakeClock) -> None:
    owner = ledger(tmp_path, store, clock)
    record, attempt = begun(1, clock)
    owner.recorder.begin(record, attempt)

    other = ledger(tmp_path, store, clock)
    await other.start()

    assert store.calls == {}
    owner.journal.close()
    other.journal.close()


@pytest.mark.parametrize("content", [b"SBLEDG9\n" + b"x" * 50, MAGIC[:-1] + b"2\nxxxx"])
async def test_a_journal_of_an_unknown_format_is_kept_aside(
    tmp_path: Path, store: MemoryStore, clock: FakeClock, content: bytes
) -> None:
    leave(tmp_path, store, clock)
    (path,) = segments(tmp_path)
    path.write_bytes(content)

    built = ledger(tmp_path, store, clock)
    await built.start()
    await built.recovery.recover()
    (kept,) = segments(tmp_path)

    assert kept.parent.name.startswith("unreadable-")
    assert kept.read_bytes() == content
    assert store.calls == {}
    built.journal.close()


async def test_a_torn_end_is_cut_off(tmp_path: Path, store: MemoryStore, clock: FakeClock) -> None:
    leave(tmp_path, store, clock)
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])

    built = ledger(tmp_path, store, clock)
    await built.start()

    assert store.outcomes() == EXPECTED
    assert sorted(store.attempts) == ["req_1-1", "req_2-1", "req_3-1", "req_4-1"]  # the second intent was torn
    built.journal.close()
