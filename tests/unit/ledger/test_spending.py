"""Past spending includes the finished calls of this process."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from proxy.ledger.journal import Journal
from proxy.ledger.spending import LONGEST_WAIT, PastSpending
from proxy.ledger.writer import Writer
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio


class Queue:
    """A writer that writes a call at each look, while others finish so that its queue never gets shorter."""

    def __init__(self, calls: int, written: int = 1) -> None:
        self.queued = calls
        self.seen = 100 - written  # what `stored` was at the last look
        self._written = written

    @property
    def stored(self) -> int:
        self.seen += self._written
        return self.seen


class Store:
    """A store that notes how many calls it had when it was asked."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.stored_then: int | None = None

    async def spent(self, scope: str, id: str, start: int, end: int) -> int:
        self.stored_then = self.queue.seen
        return end - start


@pytest.mark.parametrize(("calls", "written", "stored_then"), [(0, 1, 101), (5, 1, 105), (5, 0, 100)])
async def test_the_store_is_asked_once_it_has_the_calls_that_were_finished(
    calls: int, written: int, stored_then: int
) -> None:
    clock, queue = FakeClock(), Queue(calls, written)
    store = Store(queue)

    spent = await PastSpending(cast("Writer", queue), Journal(Path("unused")), store, clock).spent("total", "", 0, 7)

    assert spent == 7
    assert store.stored_then == stored_then
    assert clock.now - FakeClock().now <= LONGEST_WAIT + 0.1


def test_a_journal_that_waits_for_its_recovery_is_missing() -> None:
    journal, queue = Journal(Path("unused")), Queue(0)
    past = PastSpending(cast("Writer", queue), journal, Store(queue), FakeClock())
    before = past.is_complete

    journal.others_bytes = 1

    assert (before, past.is_complete) == (True, False)
