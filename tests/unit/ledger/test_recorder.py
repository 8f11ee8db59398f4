"""The recorder: intents before outcomes, one row of each call, and errors of the journal."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from proxy.core.errors import Unavailable
from proxy.core.record import Outcome, Record, Timings
from proxy.core.usage import Usage
from proxy.ledger.journal import Journal, JournalFull, read_segment
from proxy.ledger.payloads import INTENT, OUTCOME, decode_intent, decode_outcome
from proxy.ledger.recorder import Entry, Recorder
from tests.support.fakes import FakeClock
from tests.support.ledgers import answered, begun, failed


class Desk:
    """A recorder with its journal."""

    def __init__(self, folder: Path, *, closed: bool = False) -> None:
        self.clock = FakeClock()
        self.folder = folder
        self.journal = Journal(folder)
        self.open: dict[str, Entry] = {}
        self.finished: list[Entry] = []
        self.recorder = Recorder(self.journal, self.clock, self.finished.append, open_calls=self.open, closed=closed)

    def fill(self) -> None:
        """Let the journal be full."""
        self.journal.others_bytes = 10**12

    def empty(self) -> None:
        """Let it have space again."""
        self.journal.others_bytes = 0

    def payloads(self) -> list[bytes]:
        """All records, in order."""
        return [payload for path in sorted(self.folder.rglob("*.log")) for payload in read_segment(path)]

    def kinds(self) -> str:
        """The kinds of all records."""
        return b"".join(payload[:1] for payload in self.payloads()).decode()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_call_is_an_intent_and_an_outcome(desk: Desk) -> None:
    record, attempt = begun(1, desk.clock)

    desk.recorder.begin(record, attempt)
    begun_with = desk.kinds()
    answered(record)
    desk.recorder.end(record)
    ended_with = desk.kinds()
    desk.recorder.close(record)

    assert (begun_with, ended_with, desk.kinds()) == ("I", "IO", "IO")
    assert [entry.call and entry.call.outcome for entry in desk.finished] == ["ok"]
    assert desk.open == {}


def test_an_intent_has_the_row_of_its_call_once(desk: Desk) -> None:
    record, attempt = begun(1, desk.clock)

    desk.recorder.begin(record, attempt)
    desk.recorder.begin(record, record.attempt(attempt.deployment, "other", desk.clock.monotonic()))
    (first, call), (second, none) = [decode_intent(payload[1:]) for payload in desk.payloads()]

    assert (first.id, second.id, second.provider_key, none) == ("req_1-1", "req_1-2", "other", None)
    assert call is not None
    assert (call.id, call.request_id, call.endpoint, call.route) == ("req_1", "theirs-1", "chat", "tier/low")


def test_an_outcome_that_changes_after_the_end_is_recorded_again(desk: Desk) -> None:
    record, attempt = begun(1, desk.clock)
    desk.recorder.begin(record, attempt)
    answered(record)
    desk.recorder.end(record)

    record.end(Outcome.CLIENT_CLOSED, status=499, code="client_closed")
    desk.recorder.close(record)
    call, _ = decode_outcome(desk.payloads()[-1][1:])

    assert desk.kinds() == "IOO"
    assert (call.outcome, call.status) == ("client_closed", 499)
    assert desk.finished[0].call == call


def test_usage_that_arrives_after_the_end_is_recorded(desk: Desk) -> None:
    record, attempt = begun(1, desk.clock)
    desk.recorder.begin(record, attempt)
    answered(record)
    desk.recorder.end(record)

    attempt.usage = Usage(10, 50)
    desk.recorder.close(record)

    assert desk.finished[0].call is not None
    assert desk.finished[0].call.output_tokens == 50
    assert desk.kinds() == "IOO"


def test_a_call_that_fails_without_an_attempt_is_recorded(desk: Desk) -> None:
    record, _ = begun(1, desk.clock)
    record.attempts.clear()
    failed(record)

    desk.recorder.close(record)

    assert desk.kinds() == "O"
    assert [entry.call and entry.call.code for entry in desk.finished] == ["upstream_error"]


def test_a_caller_who_is_not_identified_is_not_recorded(desk: Desk) -> None:
    record = Record("req_1", "theirs", Timings(desk.clock.monotonic()))
    record.end(Outcome.ERROR, status=401, code="invalid_api_key")

    desk.recorder.close(record)

    assert (desk.kinds(), desk.finished, desk.open) == ("", [], {})


def test_a_full_journal_rejects_attempts_with_fail_closed(tmp_path: Path) -> None:
    desk = Desk(tmp_path, closed=True)
    record, attempt = begun(1, desk.clock)
    desk.fill()

    with pytest.raises(Unavailable, match="ledger") as caught:
        desk.recorder.begin(record, attempt)

    assert caught.value.retry_after is not None
    assert record.attempts == []
    assert (desk.recorder.unjournaled, desk.recorder.rejected) == (1, 1)


def test_a_full_journal_lets_attempts_through_with_fail_open(desk: Desk) -> None:
    record, attempt = begun(1, desk.clock)
    desk.fill()

    desk.recorder.begin(record, attempt)

    assert (desk.recorder.unjournaled, desk.recorder.rejected, desk.kinds()) == (1, 0, "")


def test_a_full_journal_takes_the_outcomes_of_what_was_started(desk: Desk) -> None:
    record, attempt = begun(1, desk.clock)
    desk.recorder.begin(record, attempt)
    desk.fill()

    answered(record)
    desk.recorder.end(record)

    assert desk.kinds() == "IO"


def test_rejected_calls_cannot_exceed_the_limit(desk: Desk) -> None:
    record, _ = begun(1, desk.clock)
    record.attempts.clear()
    desk.fill()

    failed(record, "overloaded")
    desk.recorder.close(record)

    assert desk.kinds() == ""
    assert [entry.journaled for entry in desk.finished] == [False]
    assert desk.recorder.unjournaled == 1


@pytest.mark.parametrize("closed", [True, False])
def test_an_intent_that_cannot_be_encoded_is_one_that_cannot_be_written(tmp_path: Path, *, closed: bool) -> None:
    desk = Desk(tmp_path, closed=closed)
    record, attempt = begun(1, desk.clock)
    attempt.key_id = "\ud800"

    with pytest.raises(Unavailable) if closed else nullcontext():
        desk.recorder.begin(record, attempt)

    assert (desk.recorder.unjournaled, desk.kinds()) == (1, "")


def test_an_outcome_that_cannot_be_written_is_given_to_the_writer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    record, attempt = begun(1, desk.clock)
    desk.recorder.begin(record, attempt)

    def fail(payload: bytes, *, within_limit: bool) -> None:
        raise JournalFull

    monkeypatch.setattr(desk.journal, "append", fail)
    answered(record)
    desk.recorder.end(record)
    desk.recorder.close(record)

    assert [entry.journaled for entry in desk.finished] == [False]
    assert [entry.call and entry.call.outcome for entry in desk.finished] == ["ok"]
    assert desk.recorder.unjournaled == 1


def test_an_intent_without_its_call_row_is_followed_by_one_with_it(desk: Desk) -> None:
    record, attempt = begun(1, desk.clock)
    desk.fill()
    desk.recorder.begin(record, attempt)
    desk.empty()

    desk.recorder.begin(record, record.attempt(attempt.deployment, "main", desk.clock.monotonic()))
    (payload,) = desk.payloads()

    assert decode_intent(payload[1:])[1] is not None


def test_an_error_while_recording_breaks_nothing(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    record, attempt = begun(1, desk.clock)
    desk.recorder.begin(record, attempt)
    record.request_id = object()  # type: ignore[assignment]
    answered(record)

    desk.recorder.end(record)
    desk.recorder.close(record)

    assert [entry.message for entry in caplog.records] == ["a call could not be recorded"]
    assert desk.open == {}


def test_repeated_errors_are_logged_once_a_second(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    for second in range(3):
        for number in range(100):
            record, attempt = begun(100 * second + number, desk.clock)
            record.request_id = object()  # type: ignore[assignment]
            desk.recorder.begin(record, attempt)
            desk.recorder.close(record)
        desk.clock.pass_(1.0)

    fields = [entry.fields for entry in caplog.records]  # type: ignore[attr-defined]
    assert [each["unlogged"] for each in fields] == [0, 199, 199]
    assert desk.open == {}


def test_segments_know_the_calls_that_need_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.journal = Journal(tmp_path, segment_bytes=1)  # each record has its own
    desk.recorder = Recorder(desk.journal, desk.clock, desk.finished.append, open_calls=desk.open, closed=False)
    record, attempt = begun(1, desk.clock)

    desk.recorder.begin(record, attempt)
    desk.recorder.begin(record, record.attempt(attempt.deployment, "main", desk.clock.monotonic()))
    before = len(desk.journal.disposable())
    answered(record)
    desk.recorder.close(record)
    outcome_written = len(desk.journal.disposable())
    desk.finished[0].release()
    desk.journal.append(INTENT + b"x")

    assert (before, outcome_written, len(desk.journal.disposable())) == (0, 2, 1)
    assert OUTCOME != INTENT
