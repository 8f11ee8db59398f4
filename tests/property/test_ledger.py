"""Any interleaving of calls, failures of store and disk, crashes and recoveries records each attempt exactly once."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.record import Outcome, Record
from proxy.ledger.assembly import BuiltLedger
from tests.support.fakes import FakeClock
from tests.support.ledgers import Down, MemoryStore, answered, begun, die, ledger, segments

STEPS = st.lists(
    st.sampled_from(["call", "retry", "end", "change", "close", "write", "recover", "crash", "down", "up"]),
    min_size=5,
    max_size=60,
)


class Service:
    """A process after another with the same files, and what clients and upstreams have seen."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.folder = folder
        self.sent: set[str] = set()  # attempts that the upstream has received
        self.answered: dict[str, str] = {}  # calls whose answer the client has, and its outcome
        self.calls: list[Record] = []  # in progress
        self.number = 0
        self.built = self.new()

    def new(self) -> BuiltLedger:
        """A new process."""
        built = ledger(self.folder, self.store, self.clock, segment_bytes=3000)
        built.writer.most_queued = 2
        built.journal.open()
        return built

    async def step(self, name: str) -> None:
        """Do one thing."""
        record = self.calls[0] if self.calls else None
        recorder = self.built.recorder
        if name == "call":
            self.number += 1
            record, attempt = begun(self.number, self.clock)
            recorder.begin(record, attempt)
            self.sent.add(attempt.id)
            self.calls.append(record)
        elif name == "retry" and record is not None and record.outcome is Outcome.STARTED:
            attempt = record.attempt(record.attempts[0].deployment, "main", self.clock.monotonic())
            recorder.begin(record, attempt)
            self.sent.add(attempt.id)
        elif name == "end" and record is not None and record.outcome is Outcome.STARTED:
            answered(record)
            recorder.end(record)
            self.answered[record.id] = "ok"
        elif name == "change" and record is not None and record.outcome is Outcome.OK:
            record.end(Outcome.CLIENT_CLOSED, status=499)
            self.answered[record.id] = "either"
        elif name == "close" and record is not None:
            record.end(Outcome.ERROR, status=502) if record.outcome is Outcome.STARTED else None
            self.calls.pop(0)
            recorder.close(record)
            self.answered[record.id] = record.outcome
        elif name == "write":
            await self.drain()
        elif name == "recover":
            await self.built.recovery.recover()
        elif name == "crash":
            die(self.built)
            self.calls = []
            self.built = self.new()
        else:
            self.store.down = name == "down"

    async def drain(self) -> None:
        """Write what is finished, if the store works."""
        try:
            await self.built.writer.drain()
        except Down:
            return

    async def finish(self) -> None:
        """The store works again, and the process has ended."""
        self.store.down = False
        await self.drain()
        die(self.built)
        self.built = self.new()
        await self.built.recovery.recover()
        self.built.journal.close()


@settings(max_examples=150)
@given(STEPS)
def test_each_attempt_is_recorded_exactly_once(steps: list[str]) -> None:
    async def play() -> Service:
        service = Service(Path(folder))
        for name in steps:
            await service.step(name)
        await service.finish()
        return service

    with tempfile.TemporaryDirectory() as folder:
        service = asyncio.run(play())
        left = segments(Path(folder))

    store = service.store
    assert set(store.attempts) == service.sent
    assert {row.call_id for row in store.attempts.values()} <= set(store.calls)
    wrong = {
        call_id: (outcome, store.calls[call_id].outcome)
        for call_id, outcome in service.answered.items()
        if outcome != "either" and store.calls[call_id].outcome != outcome
    }
    assert wrong == {}
    assert left == []
