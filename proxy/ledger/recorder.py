"""The recorder: the `Ledger` of a process, which writes to its journal and gives finished calls to the writer.

    begin   an intent, before an attempt is sent
    end     the outcome of a call and its attempts, before the end of the answer is sent
    close   the outcome, if it has changed since; the call is finished, and its rows go to the store

An error of the journal never breaks an answer. It may keep an attempt from being sent (`dependencies.store.fail:
closed`). Rows that could not be written to the journal stay in memory until they are in the store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from proxy.core.clock import Clock
from proxy.core.errors import Unavailable
from proxy.core.ledger import AttemptRow, CallRow
from proxy.core.log_limit import LogLimit
from proxy.core.principal import UNKNOWN_CALLER, Principal
from proxy.core.record import AttemptRecord, Record
from proxy.ledger.journal import Journal, Segment
from proxy.ledger.payloads import INTENT, OUTCOME
from proxy.ledger.rows import attempt_rows, call_row, decision_of, intent_row, started_row

_LOG = logging.getLogger(__name__)
RETRY_AFTER = 2.0  # seconds for clients whose call was rejected


class Entry:
    """A call in the ledger."""

    __slots__ = ("attempts", "call", "journaled", "mark", "pinned", "principal", "record", "replaced", "segment")

    def __init__(self, record: Record, principal: Principal) -> None:
        self.record: Record | None = record  # until the call is finished
        self.principal = principal
        self.segment: Segment | None = None  # of the newest record of this call
        self.pinned: list[Segment] = []  # earlier ones that are needed as long as the outcome is not journaled
        self.call: CallRow | None = None
        self.attempts: list[AttemptRow] = []
        self.mark: object = None  # what the rows depend on; another mark needs other rows
        self.journaled = False  # the rows are in `segment`
        self.replaced = False  # an earlier segment has an outdated outcome of this call

    def note(self, segment: Segment) -> None:
        """Note a record in `segment`, which stays until the call is in the store."""
        if segment is not self.segment:
            segment.calls += 1
            if self.segment is not None:
                self.pinned.append(self.segment)
            self.segment = segment

    def unpin(self) -> None:
        """Let the earlier segments go, because the newest one has all that is needed."""
        if self.pinned:
            for segment in self.pinned:
                segment.calls -= 1
            self.pinned = []

    def release(self) -> None:
        """Let all segments go, because the rows are in the store."""
        self.unpin()
        if self.segment is not None:
            self.segment.calls -= 1
            self.segment = None


class Recorder:
    """Implements `proxy.core.ledger.Ledger`. One instance serves all calls of a process."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        put: Callable[[Entry], None],
        *,
        open_calls: dict[str, Entry],
        closed: bool,
    ) -> None:
        """`put` gets each finished call; `open_calls` holds those that are not finished, by id.

        `closed`: attempts that cannot be journaled are rejected.
        """
        self.unjournaled = 0  # records that could not be written to the journal
        self.rejected = 0  # attempts that were not sent for that reason
        self._open = open_calls
        self._journal = journal
        self._clock = clock
        self._put = put
        self._closed = closed
        self._failing = False
        self._errors = LogLimit()  # internal errors
        self._encode = msgspec.msgpack.Encoder().encode

    def begin(self, record: Record, attempt: AttemptRecord) -> None:
        """Record the intent of an attempt.

        Raises `Unavailable`, and removes the attempt from the record, if it cannot be recorded and such attempts are
        rejected.
        """
        written = False
        try:
            written = self._begin(self._open.get(record.id) or self._opened(record), record, attempt)
        except Exception:
            self.unjournaled += 1
            self._log_error(record)
        if not written and self._closed:
            self.rejected += 1
            record.attempts.remove(attempt)
            message = "The call cannot be recorded: the ledger's journal is full or cannot be written; try again later."
            raise Unavailable(message, code="overloaded", retry_after=RETRY_AFTER)

    def end(self, record: Record) -> None:
        """Record the outcome of a call, before the end of its answer is sent."""
        try:
            self._end(self._open.get(record.id) or self._opened(record), record)
        except Exception:
            self._log_error(record)

    def close(self, record: Record) -> None:
        """Record the outcome of a call if it has changed, and give its rows to the writer.

        Calls of callers who could not be identified are not recorded.
        """
        entry = self._open.get(record.id)
        if entry is None and record.principal is None:
            return
        try:
            entry = entry or self._opened(record)
            self._end(entry, record)
            entry.record = None
            self._put(entry)
        except Exception:
            self._log_error(record)
        finally:
            self._open.pop(record.id, None)

    def carry(self, entry: Entry) -> None:
        """Write what is known of a call in progress to the current segment again, so that earlier ones can go."""
        record = entry.record
        if record is None or entry.segment is None or self._journal.is_current(entry.segment):
            return
        if entry.journaled:
            if not self._write(entry, OUTCOME, (entry.call, entry.attempts), within_limit=False):
                return
        else:
            started: CallRow | None = started_row(record, entry.principal)
            for attempt in record.attempts:
                row = intent_row(record, attempt, entry.principal)
                if not self._write(entry, INTENT, (row, started), within_limit=False):
                    return
                started = None
        entry.unpin()

    def _opened(self, record: Record) -> Entry:
        entry = self._open[record.id] = Entry(record, record.principal or UNKNOWN_CALLER)
        return entry

    def _begin(self, entry: Entry, record: Record, attempt: AttemptRecord) -> bool:
        started = None
        if entry.segment is None:
            started = started_row(record, entry.principal)
        return self._write(entry, INTENT, (intent_row(record, attempt, entry.principal), started), within_limit=True)

    def _end(self, entry: Entry, record: Record) -> None:
        mark = (
            record.outcome,
            record.status,
            record.code,
            record.rating,
            [(each.outcome, each.usage, each.cost_nusd) for each in record.attempts],
        )
        if mark == entry.mark:
            return
        now = self._clock.monotonic()
        rows = attempt_rows(record, entry.principal, now)
        decision = decision_of(record) if entry.call is None else entry.call.decision
        call = call_row(record, rows, entry.principal, now, decision)
        entry.call, entry.attempts = call, rows
        before = entry.segment if entry.journaled else None
        # what has begun may exceed the limit, but not calls that were rejected, of which there may be any number
        entry.journaled = self._write(entry, OUTCOME, (call, rows), within_limit=entry.segment is None)
        if entry.journaled:
            if before is not None and before is not entry.segment:
                before.outdated.add(record.id)
                entry.replaced = True
            entry.unpin()
        entry.mark = mark

    def _write(self, entry: Entry, kind: bytes, pair: tuple[Any, Any], *, within_limit: bool) -> bool:
        """Write a record; return whether it is in the journal."""
        try:
            segment = self._journal.append(kind + self._encode(pair), within_limit=within_limit)
        except OSError as exc:
            self._failed(exc)
            return False
        if self._failing:
            self._failing = False
            _LOG.info("the journal can be written again", extra={"fields": {"unjournaled": self.unjournaled}})
        entry.note(segment)
        return True

    def _log_error(self, record: Record) -> None:
        """Log the exception that is being handled, at most once a second: it may repeat at every call."""
        unlogged = self._errors.passes(self._clock.monotonic())
        if unlogged is not None:
            fields = {"id": record.id, "unlogged": unlogged}
            _LOG.exception("a call could not be recorded", extra={"fields": fields})

    def _failed(self, exc: OSError) -> None:
        self.unjournaled += 1
        if not self._failing:  # warn once, not at every record
            self._failing = True
            policy = "rejected" if self._closed else "served"
            fields = {"why": exc.strerror or str(exc), "calls": policy}
            _LOG.error("the journal cannot be written", extra={"fields": fields})
