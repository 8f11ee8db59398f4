"""A conversation under any sequence of turns, of two replicas, contains whole turns in their order."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.json import decode

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.core.location import Location
from proxy.core.turn import Turn
from proxy.dialogs.turns import StoredTurns
from proxy.store.conversations import ConversationStore
from proxy.store.database import Database
from proxy.store.dialogs import LOCK_SECONDS, DialogStore
from proxy.store.errors import Locked, Missing
from proxy.store.items import Item
from proxy.store.migrate import migrate_to
from tests.support import calls
from tests.support.fakes import FakeClock

RECORD = calls.record()
TURNS, REPLICAS = st.integers(0, 1), st.integers(0, 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), TURNS, REPLICAS),
        st.tuples(st.just("commit"), TURNS, st.sampled_from(["completed", "completed", "incomplete", "failed"])),
        st.tuples(st.just("end"), TURNS, st.none()),
        st.tuples(st.just("renew"), REPLICAS, st.none()),
        st.tuples(st.just("wait"), st.sampled_from([1.0, LOCK_SECONDS + 1]), st.none()),
        st.tuples(st.just("add"), st.none(), st.none()),
        st.tuples(st.just("remove"), st.none(), st.none()),
    ),
    min_size=4,
    max_size=12,
)

STALLED: list[Any] = [("begin", 0, 0), ("wait", LOCK_SECONDS + 1, None)]


@dataclass(eq=False)
class Running:
    """A turn that has begun."""

    call: Call
    replica: int


@dataclass
class Model:
    """What must be in the conversation, and who may change it."""

    items: list[str] = field(default_factory=list)
    holder: Running | None = None
    until: float = 0.0
    known: list[dict[int, Running]] = field(default_factory=lambda: [{}, {}])  # of each replica, not written or ended

    def is_free(self, now: float) -> bool:
        return self.holder is None or self.until < now


def new_call(number: int) -> Call:
    made = replace(calls.call(), id=f"req_{number}")

    def complete(before: Sequence[Any]) -> Call:
        return replace(made, model=",".join(item["id"] for item in before), turn=turn)

    turn = Turn(f"resp_{number}", [{"id": f"in{number}"}], complete, conversation="conv_1")
    made.turn = turn
    return made


class Steps:
    """One sequence of steps."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self._clock = clock
        self._conversations = ConversationStore(database, clock)
        self._replicas = [StoredTurns(DialogStore(database, clock), clock) for _ in range(2)]
        self._model = Model()
        self._turns: dict[int, Running] = {}
        self._number = 0

    async def run(self, steps: list[Any]) -> None:
        await self._conversations.create("conv_1", "-", {}, [])
        for name, first, second in steps:
            await getattr(self, name)(first, second)
            page = await self._conversations.page("-", "conv_1", after=None, limit=100, ascending=True)
            assert [decode(item)["id"] for item in page.items] == self._model.items

    async def begin(self, slot: int, replica: int) -> None:
        if slot in self._turns:
            return
        self._number += 1
        call, model = new_call(self._number), self._model
        allowed = model.is_free(self._clock.now) and not model.known[replica]
        try:
            begun = await self._replicas[replica].begin(call)
        except InvalidRequest:
            assert not allowed
            await self._replicas[replica].end(call, RECORD)
            return
        assert allowed
        assert begun.model.split(",") == (model.items or [""])
        running = self._turns[slot] = Running(begun, replica)
        model.holder, model.until = running, self._clock.now + LOCK_SECONDS
        model.known[replica][slot] = running

    async def commit(self, slot: int, status: str) -> None:
        running, model = self._turns.get(slot), self._model
        if running is None or slot not in model.known[running.replica]:
            return
        turn = running.call.turn
        assert turn is not None
        number = turn.id.removeprefix("resp_")
        turn.output, turn.document = [{"id": f"out{number}"}], {"id": turn.id, "status": status}
        expected = status == "failed" or model.holder is running
        try:
            await self._replicas[running.replica].commit(running.call, RECORD)
        except InvalidRequest:
            assert not expected
            return
        assert expected
        if status != "failed":
            model.items += [f"in{number}", f"out{number}"]
            model.holder = None
            del model.known[running.replica][slot]

    async def end(self, slot: int, _: None) -> None:
        running, model = self._turns.pop(slot, None), self._model
        if running is None:
            return
        await self._replicas[running.replica].end(running.call, RECORD)
        model.known[running.replica].pop(slot, None)
        if model.holder is running:
            model.holder = None

    async def renew(self, replica: int, _: None) -> None:
        await self._replicas[replica].renew()
        if self._model.holder in self._model.known[replica].values():
            self._model.until = self._clock.now + LOCK_SECONDS

    async def wait(self, seconds: float, _: None) -> None:
        self._clock.pass_(seconds)

    async def add(self, _: None, __: None) -> None:
        self._number += 1
        id, allowed = f"x{self._number}", self._model.is_free(self._clock.now)
        try:
            await self._conversations.add("-", "conv_1", [Item(id, b'{"id":"%b"}' % id.encode())])
        except Locked:
            assert not allowed
            return
        assert allowed
        self._model.items.append(id)
        self._model.holder = None

    async def remove(self, _: None, __: None) -> None:
        id = self._model.items[0] if self._model.items else "unknown"
        allowed = self._model.is_free(self._clock.now)
        try:
            await self._conversations.remove("-", "conv_1", id)
        except Locked:
            assert not allowed
            return
        except Missing:
            assert id == "unknown"
            return
        assert allowed
        del self._model.items[0]
        self._model.holder = None


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with empty tables."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    asyncio.run(migrate_to(Location("sqlite", "file", str(path)), None))
    return path


@settings(max_examples=50)
@example([*STALLED, ("add", None, None), ("commit", 0, "completed")])
@example([*STALLED, ("begin", 1, 1), ("commit", 0, "completed"), ("commit", 1, "completed")])
@given(STEPS)
def test_a_conversation_has_whole_turns_in_order(template: Path, steps: list[Any]) -> None:
    async def run() -> None:
        clock = FakeClock()
        file = shutil.copy(template, template.with_name("signalbox.db"))
        database = Database(Location("sqlite", "file", str(file)), clock)
        async with database.running():
            await Steps(database, clock).run(steps)

    asyncio.run(run())
