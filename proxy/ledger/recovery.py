"""Recovery: brings the journals of processes that have died to the store.

Calls with an outcome are written as they are. What was started and has no outcome becomes `unknown`: the upstream may
have received the request. Writing rows again changes nothing, and a journal is deleted only when all of it is in the
store, so recovery may itself be interrupted at any point.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
from msgspec import structs

from proxy.core.background import in_thread
from proxy.core.clock import Clock
from proxy.core.ledger import AttemptRow, CallRow
from proxy.ledger.batches import BATCH, Finished, LedgerStore, write_batch
from proxy.ledger.journal import DeadJournal, Journal, claim_dead, read_segment
from proxy.ledger.payloads import INTENT, decode_intent, decode_outcome

_LOG = logging.getLogger(__name__)
CHECK_SECONDS = 2.0  # between two looks for dead journals
START_SECONDS = 10.0  # for the recovery before the first call; the rest is done beside the calls
UNKNOWN = "unknown"


class Recovery:
    """Recovers dead journals in `folder`: those of a previous process, and those of other workers. A service."""

    def __init__(
        self, folder: Path, journal: Journal, store: LedgerStore, clock: Clock, *, unavailable: type[Exception]
    ) -> None:
        self.recovered = 0  # calls
        self._folder = folder
        self._journal = journal
        self._store = store
        self._clock = clock
        self._unavailable = unavailable
        self._failing = False

    async def run(self) -> None:
        """Look for dead journals until cancelled."""
        while True:
            await self._clock.sleep(CHECK_SECONDS)
            await self.recover()

    async def recover(self) -> None:
        """Recover the journals whose owners have died. Those that fail are left to a later look."""
        dead: list[DeadJournal] = []
        try:
            await in_thread(claim_dead, self._folder, dead)
            self._journal.others_bytes = sum([journal.bytes for journal in dead])
            while dead:
                await self._recover(dead[0])
                dead.pop(0).release()
                self._journal.others_bytes = sum([journal.bytes for journal in dead])
        except (OSError, self._unavailable) as exc:
            self._warn(str(exc))
        else:
            self._failing = False
        finally:
            for journal in dead:
                journal.release()

    async def _recover(self, journal: DeadJournal) -> None:
        fields: dict[str, object] = {"journal": journal.path.name}
        try:
            reader = JournalReader(journal.segments())
            await in_thread(reader.read)
        except (ValueError, msgspec.MsgspecError) as exc:
            journal.set_aside()
            _LOG.error("a journal cannot be read; it is kept", extra={"fields": {**fields, "why": str(exc)}})
            return
        calls = 0
        for number in range(len(reader.paths)):
            outcomes = await in_thread(reader.outcomes, number)
            calls += await self._write(outcomes)
        unknown = reader.unknown()
        calls += await self._write(unknown)
        await in_thread(journal.delete)
        self.recovered += calls
        if calls:
            _LOG.warning("a journal was recovered", extra={"fields": {**fields, "calls": calls, UNKNOWN: len(unknown)}})

    async def _write(self, rows: Sequence[Finished]) -> int:
        for start in range(0, len(rows), BATCH):
            await write_batch(self._store, rows[start : start + BATCH], self._unavailable)
        return len(rows)

    def _warn(self, why: str) -> None:
        if not self._failing:  # warn once, not at every look
            _LOG.warning("journals cannot be recovered now", extra={"fields": {"why": why}})
        self._failing = True


class JournalReader:
    """Reads the segments of one journal, one at a time; it keeps only ids, and what has no outcome."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._newest: dict[str, tuple[int, int]] = {}  # by call: segment and position of its newest outcome
        self._calls: dict[str, CallRow] = {}  # without an outcome
        self._attempts: dict[str, AttemptRow] = {}  # without an outcome

    def read(self) -> None:
        """Find out what has an outcome. Raises `ValueError` or `MsgspecError` for another format, and `OSError`."""
        for number, path in enumerate(self.paths):
            for position, payload in enumerate(read_segment(path)):
                if payload[:1] == INTENT:
                    attempt, call = decode_intent(memoryview(payload)[1:])
                    self._attempts[attempt.id] = attempt
                    if call is not None:
                        self._calls[call.id] = call
                else:
                    call, attempts = decode_outcome(memoryview(payload)[1:])
                    self._newest[call.id] = number, position
                    self._calls.pop(call.id, None)
                    for attempt in attempts:
                        self._attempts.pop(attempt.id, None)

    def outcomes(self, number: int) -> list[Finished]:
        """Return the calls whose newest outcome is in this segment."""
        found = []
        for position, payload in enumerate(read_segment(self.paths[number])):
            if payload[:1] != INTENT:
                call, attempts = decode_outcome(memoryview(payload)[1:])
                if self._newest[call.id] == (number, position):
                    found.append((call, attempts))
        return found

    def unknown(self) -> list[Finished]:
        """Return the calls and attempts that were started and have no outcome, as `unknown`."""
        by_call: dict[str, list[AttemptRow]] = {}
        for attempt in self._attempts.values():
            by_call.setdefault(attempt.call_id, []).append(structs.replace(attempt, outcome=UNKNOWN))
        return [(self._unknown_call(call_id, attempts), attempts) for call_id, attempts in by_call.items()]

    def _unknown_call(self, call_id: str, attempts: Sequence[AttemptRow]) -> CallRow | None:
        """Return the row of a call; `None` if it has an outcome, which the journal has already given."""
        if call_id in self._newest:
            return None
        first, last = attempts[0], attempts[-1]
        call = self._calls.get(call_id) or CallRow(
            id=call_id,
            request_id=call_id,
            time=first.time,
            endpoint="",
            key_id=first.key_id,
            user=first.user,
            team=first.team,
        )
        return structs.replace(
            call, outcome=UNKNOWN, provider=last.provider, upstream_model=last.model, attempts=len(attempts)
        )


def outcomes_in(path: Path, open_calls: Collection[str]) -> list[Finished]:
    """Return the newest outcomes of the calls in a segment of this process, but for those that are not finished."""
    newest: dict[str, Finished] = {}
    for payload in read_segment(path):
        if payload[:1] != INTENT:
            call, attempts = decode_outcome(memoryview(payload)[1:])
            newest[call.id] = call, attempts
    return [row for call_id, row in newest.items() if call_id not in open_calls]
