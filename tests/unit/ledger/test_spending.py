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
    """A writer whose queue shrinks by one at each look."""

    def __init__(self, calls: int, written: int = 1) -> None:
        self.calls = calls
        self._written = written

    @property
    def queued(self) -> int:
        self.calls -= self._written
        return max(0, self.calls)


class Store:
    """A store that notes what was queued when it was asked."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.queued_then: int | None = None

    async def spent(self, scope: str, id: str, start: int, end: int) -> int:
        self.queued_then = max(0, self.queue.calls)
        return end - start


@pytest.mark.parametrize(("calls", "written", "queued_then"), [(0, 1, 0), (5, 1, 0), (5, 0, 5)])
async def test_the_store_is_asked_once_the_queue_is_empty(calls: int, written: int, queued_then: int) -> None:
    clock, queue = FakeClock(), Queue(calls, written)
    store = Store(queue)

    spent = await PastSpending(cast("Writer", queue), Journal(Path("unused")), store, clock).spent("total", "", 0, 7)

    assert spent == 7
    assert store.queued_then == queued_then
    assert clock.now - FakeClock().now <= LONGEST_WAIT + 0.1


def test_a_journal_that_waits_for_its_recovery_is_missing() -> None:
    journal, queue = Journal(Path("unused")), Queue(0)
    past = PastSpending(cast("Writer", queue), journal, Store(queue), FakeClock())
    before = past.is_complete

    journal.others_bytes = 1

    assert (before, past.is_complete) == (True, False)
