"""A store of ledger rows in memory, with failures on command, and records of calls for the ledger."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from proxy.core.clock import Clock, SystemClock
from proxy.core.ledger import AttemptRow, CallRow
from proxy.core.model import Deployment
from proxy.core.principal import Identified
from proxy.core.record import AttemptOutcome, AttemptRecord, Outcome, Record, Timings
from proxy.core.usage import Usage
from proxy.ledger.assembly import BuiltLedger, build_ledger
from proxy.ledger.journal import SEGMENT_BYTES
from tests.support import calls
from tests.support.fakes import turn
from tests.support.waiting import PATIENCE

CALLER = Identified("key_1", key_id="key_1", user="ann", team="red")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Down(Exception):
    """The store does not work now."""


class MemoryStore:
    """Rows by id. A row may be written again, but only unchanged."""

    def __init__(self) -> None:
        self.calls: dict[str, CallRow] = {}
        self.attempts: dict[str, AttemptRow] = {}
        self.batches: list[int] = []  # calls in each transaction
        self.down = False
        self.rejects: set[str] = set()  # ids of calls that make a transaction fail

    async def write(self, calls: Sequence[CallRow], attempts: Sequence[AttemptRow]) -> None:
        """Raises `Down`, or `ValueError` for a rejected call."""
        if self.down:
            raise Down("the store is down")
        if self.rejects & {row.id for row in calls}:
            raise ValueError("a row is not accepted")
        self.batches.append(len(calls))
        for row in calls:
            assert self.calls.setdefault(row.id, row) == row, "a call is written again, but changed"
        for attempt in attempts:
            assert self.attempts.setdefault(attempt.id, attempt) == attempt, "an attempt is written again, but changed"

    def outcomes(self) -> dict[str, str]:
        """The outcome of each call."""
        return {row.id: row.outcome for row in self.calls.values()}


def ledger(
    folder: Path, store: MemoryStore, clock: Clock, *, closed: bool = False, segment_bytes: int = SEGMENT_BYTES
) -> BuiltLedger:
    """A ledger in `folder`, not started."""
    return build_ledger(folder, store, clock, unavailable=Down, closed=closed, segment_bytes=segment_bytes)


def begun(number: int, clock: Clock, of: Deployment | None = None) -> tuple[Record, AttemptRecord]:
    """A call that has been routed, and its first attempt."""
    target = of or calls.deployment()
    record = Record(f"req_{number}", f"theirs-{number}", Timings(clock.monotonic()), int(clock.time() * 1e6))
    record.principal = CALLER
    record.call = calls.call(on=calls.snapshot(target))
    record.plan = calls.plan(target, chosen=target.name)
    return record, record.attempt(target, "main", clock.monotonic())


def answered(record: Record, *, output: int = 5) -> None:
    """The newest attempt of a call ends well."""
    attempt = record.attempts[-1]
    attempt.status = 200
    attempt.usage = Usage(input=10, output=output)
    attempt.end(AttemptOutcome.OK)
    record.end(Outcome.OK, status=200)


def failed(record: Record, code: str = "upstream_error") -> None:
    """A call ends with an error."""
    for attempt in record.attempts:
        attempt.end(AttemptOutcome.CANCELLED)
    record.end(Outcome.ERROR, status=502, code=code)


async def eventually(look: Callable[[], object]) -> None:
    """Wait until `look` returns something true."""
    async with asyncio.timeout(PATIENCE):
        while not look():
            await SystemClock().sleep(0.001)


@asynccontextmanager
async def running(built: BuiltLedger) -> AsyncIterator[BuiltLedger]:
    """Start the ledger and run its services until the block ends."""
    await built.start()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(service.run()) for service in built.services]
        await turn()
        try:
            yield built
        finally:
            for task in tasks:
                task.cancel()


def die(built: BuiltLedger) -> None:
    """End the ledger as a killed process does: its lock is free, and its files stay as they are."""
    built.journal.release()


def segments(folder: Path) -> list[Path]:
    """The segments of all journals."""
    return sorted(folder.rglob("*.log"))
