"""Turns of dialogs, on a SQLite file: what a call reads, what it writes, and when a conversation is free."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest, NotFound, ProxyError, Unavailable
from proxy.core.location import Location
from proxy.core.principal import Identified, Principal
from proxy.core.turn import Turn
from proxy.dialogs.owners import Owners
from proxy.dialogs.turns import COMMIT_ATTEMPTS, StoredTurns
from proxy.store import dialogs
from proxy.store.conversations import ConversationStore
from proxy.store.database import Database
from proxy.store.dialogs import LOCK_SECONDS, DialogStore
from proxy.store.errors import StoreUnavailable
from proxy.store.items import Item
from proxy.store.migrate import migrate_to
from tests.support import calls
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

RED = Identified("red", team="red")
BLUE = Identified("blue", team="blue")
RECORD = calls.record()


class Store(DialogStore):
    """The store of dialogs, which fails as often as a test wants, before or after it has done its work."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        super().__init__(database, clock)
        self.broken = False
        self.commits_lost = 0
        self.commits_refused = 0
        self.locking = asyncio.Event()

    async def ready(self) -> None:
        if self.broken:
            raise StoreUnavailable("the store is unavailable: gone")
        await super().ready()

    async def lock(self, tenant: str, conversation: str, owner: str) -> dialogs.History:
        self.locking.set()
        return await super().lock(tenant, conversation, owner)

    async def commit(self, turn: dialogs.Turn) -> None:
        if self.commits_refused:
            self.commits_refused -= 1
            raise StoreUnavailable("the store is unavailable: gone")
        await super().commit(turn)
        if self.commits_lost:
            self.commits_lost -= 1
            raise StoreUnavailable("the store is unavailable: the connection was lost")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with empty tables: to create them takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "signalbox.db"
    asyncio.run(migrate_to(Location("sqlite", "file", str(path)), None))
    return path


@pytest.fixture
async def database(template: Path, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Database]:
    file = shutil.copy(template, tmp_path)
    database = Database(Location("sqlite", "file", str(file)), clock)
    async with database.running():
        yield database


@pytest.fixture
def store(database: Database, clock: FakeClock) -> Store:
    return Store(database, clock)


@pytest.fixture
def turns(store: Store, clock: FakeClock) -> StoredTurns:
    return StoredTurns(store, clock)


@pytest.fixture
async def conversation(database: Database, clock: FakeClock) -> str:
    await ConversationStore(database, clock).create("conv_1", "team:red", {}, [Item("a", b'{"id":"a"}')])
    return "conv_1"


def call(number: int, *, caller: Principal = RED, **fields: Any) -> Call:
    """A call whose completed form names the items before its own."""
    made = replace(calls.call(), id=f"req_{number}", principal=caller)

    def complete(before: Sequence[Any]) -> Call:
        return replace(made, model=",".join(item["id"] for item in before), turn=turn)

    turn = Turn(f"resp_{number}", [{"id": f"in{number}"}], complete, **fields)
    made.turn = turn
    return made


def answered(call: Call, status: str = "completed") -> Call:
    """The same call after its answer, as an encoder leaves it."""
    turn = call.turn
    assert turn is not None
    turn.output = [{"id": turn.id.replace("resp_", "out")}]
    turn.document = {"id": turn.id, "status": status}
    return call


async def done(turns: StoredTurns, call: Call, status: str = "completed") -> str:
    """Run a whole turn; return the ids of the items before it."""
    begun = await turns.begin(call)
    try:
        await turns.commit(answered(begun, status), RECORD)
    finally:
        await turns.end(begun, RECORD)
    return begun.model


async def refusal(turns: StoredTurns, call: Call) -> tuple[type, str | None, str | None]:
    with pytest.raises(ProxyError) as caught:
        await turns.begin(call)
    await turns.end(call, RECORD)
    return type(caught.value), caught.value.param, caught.value.error_code


async def test_a_turn_continues_the_response_that_it_names(turns: StoredTurns) -> None:
    assert await done(turns, call(1, store=True)) == "auto"
    assert await done(turns, call(2, store=True, previous="resp_1")) == "in1,out1"
    assert await done(turns, call(3, previous="resp_2")) == "in1,out1,in2,out2"
    assert await refusal(turns, call(4, previous="resp_3")) == (
        InvalidRequest,
        "previous_response_id",
        "previous_response_not_found",
    )


@pytest.mark.parametrize("id", ["resp_9", "", "x" * 300, "resp_1"])
async def test_an_unknown_response_is_rejected(turns: StoredTurns, id: str) -> None:
    await done(turns, call(1, caller=BLUE, store=True))

    assert await refusal(turns, call(2, previous=id)) == (
        InvalidRequest,
        "previous_response_id",
        "previous_response_not_found",
    )


async def test_a_turn_continues_its_conversation(turns: StoredTurns, conversation: str) -> None:
    assert await done(turns, call(1, conversation=conversation)) == "a"
    assert await done(turns, call(2, conversation=conversation, store=True), "incomplete") == "a,in1,out1"
    assert await done(turns, call(3, conversation=conversation)) == "a,in1,out1,in2,out2"


@pytest.mark.parametrize("status", ["failed", "cancelled", None])
async def test_a_turn_that_fails_adds_nothing(turns: StoredTurns, conversation: str, status: str | None) -> None:
    begun = await turns.begin(call(1, conversation=conversation, store=True))
    if status is not None:
        await turns.commit(answered(begun, status), RECORD)
    await turns.end(begun, RECORD)

    assert await done(turns, call(2, conversation=conversation)) == "a"
    assert (await refusal(turns, call(3, previous="resp_1")))[2] == "previous_response_not_found"


async def test_tokens_are_counted_while_a_turn_runs(turns: StoredTurns, conversation: str) -> None:
    running = await turns.begin(call(1, conversation=conversation))
    counting = replace(call(2, conversation=conversation), count=lambda tokens: b"")

    assert (await turns.begin(counting)).model == "a"
    await turns.end(counting, RECORD)
    await turns.commit(answered(running), RECORD)
    await turns.end(running, RECORD)

    assert await done(turns, call(3, conversation=conversation)) == "a,in1,out1"
    unknown = [replace(call(4, conversation=id), count=lambda tokens: b"") for id in ("conv_9", "\0")]
    assert [await refusal(turns, each) for each in unknown] == [(NotFound, None, "not_found")] * 2


async def test_an_unknown_conversation_is_not_found(turns: StoredTurns, conversation: str) -> None:
    unknown = [call(1, conversation="conv_9"), call(2, conversation=conversation, caller=BLUE)]

    assert [await refusal(turns, each) for each in unknown] == [(NotFound, None, "not_found")] * 2
    assert await done(turns, call(3, conversation=conversation)) == "a"


async def test_one_of_many_concurrent_turns_wins(
    store: Store, clock: FakeClock, turns: StoredTurns, conversation: str
) -> None:
    replicas = [turns, StoredTurns(store, clock)]
    begun: list[Call] = []
    refused: list[str | None] = []

    async def begin(number: int) -> None:
        try:
            begun.append(await replicas[number % 2].begin(call(number, conversation=conversation)))
        except InvalidRequest as exc:
            refused.append(exc.error_code)

    async with asyncio.TaskGroup() as group:
        for number in range(1, 101):
            group.create_task(begin(number))
    [winner] = begun
    turn = winner.turn
    assert turn is not None
    number = int(turn.id.removeprefix("resp_"))
    await replicas[number % 2].commit(answered(winner), RECORD)

    assert refused == ["conversation_locked"] * 99
    assert await done(replicas[0], call(200, conversation=conversation)) == f"a,in{number},out{number}"


async def test_a_conversation_is_free_when_its_turn_is_written(turns: StoredTurns, conversation: str) -> None:
    """A client may send its next turn as soon as it has the end of the answer."""
    begun = await turns.begin(call(1, conversation=conversation))
    await turns.commit(answered(begun), RECORD)

    assert await done(turns, call(2, conversation=conversation)) == "a,in1,out1"
    await turns.end(begun, RECORD)


async def test_a_lock_is_renewed_while_its_turn_runs(
    store: Store, clock: FakeClock, turns: StoredTurns, conversation: str
) -> None:
    begun = await turns.begin(call(1, conversation=conversation))
    for _ in range(4):
        clock.pass_(LOCK_SECONDS / 3)
        await turns.renew()
    other = StoredTurns(store, clock)

    assert (await refusal(other, call(2, conversation=conversation)))[2] == "conversation_locked"
    clock.pass_(LOCK_SECONDS + 1)  # as if this process had died
    assert await done(other, call(3, conversation=conversation)) == "a"
    with pytest.raises(InvalidRequest, match="has expired"):
        await turns.commit(answered(begun), RECORD)


async def test_the_lock_of_a_process_that_has_died_is_free(store: Store, turns: StoredTurns, conversation: str) -> None:
    host, pid, started, call_id = Owners().name("req_9").split("/")
    await store.lock("team:red", conversation, f"{host}/{pid}/{int(started) - 1}/{call_id}")

    assert await done(turns, call(1, conversation=conversation)) == "a"
    await store.lock("team:red", conversation, f"another-{host}/{pid}/{started}/{call_id}")
    assert (await refusal(turns, call(2, conversation=conversation)))[2] == "conversation_locked"


async def test_a_lock_that_a_cancelled_call_has_taken_is_freed(
    store: Store, clock: FakeClock, turns: StoredTurns, conversation: str
) -> None:
    first = call(1, conversation=conversation)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(turns.begin(first))
        await store.locking.wait()
        task.cancel()  # the transaction goes on
    await turns.end(first, RECORD)
    other = StoredTurns(store, clock)
    assert (await refusal(other, call(2, conversation=conversation)))[2] == "conversation_locked"

    await turns.renew()

    assert await done(turns, call(3, conversation=conversation)) == "a"


async def test_referenced_items_are_found(turns: StoredTurns) -> None:
    await done(turns, call(1, store=True))
    second = call(2, store=True, references=("out1",))
    assert second.turn is not None
    second.turn.input.append({"type": "item_reference", "id": "out1"})
    await done(turns, second)

    assert second.turn.found == {"out1": {"id": "out1"}}
    assert await done(turns, call(3, previous="resp_2")) == "in2,out1,out2"
    assert await refusal(turns, call(4, references=("out1", "out9"))) == (InvalidRequest, "input", None)
    assert await refusal(turns, call(5, references=("out1",), caller=BLUE)) == (InvalidRequest, "input", None)


@pytest.mark.parametrize("id", ["", "x" * 257, "a\0b", "\ud800", None, 7])
async def test_an_id_that_cannot_be_stored_is_named(turns: StoredTurns, id: Any) -> None:
    first = call(1, store=True)
    assert first.turn is not None
    first.turn.input = [{"id": "fine"}, {"id": id}]

    assert await refusal(turns, first) == (InvalidRequest, "input[1].id", None)


@pytest.mark.parametrize("fields", [{"store": True}, {"previous": "resp_1"}, {"conversation": "conv_1"}])
async def test_without_the_store_a_turn_does_not_begin(
    turns: StoredTurns, store: Store, fields: dict[str, Any]
) -> None:
    store.broken = True

    assert await refusal(turns, call(1, **fields)) == (Unavailable, None, "store_unavailable")
    assert await turns.begin(plain := call(2)) is plain


@pytest.mark.parametrize("fields", [{}, {"store": True}])
async def test_a_commit_whose_connection_is_lost_counts_once(
    turns: StoredTurns, store: Store, conversation: str, fields: dict[str, Any]
) -> None:
    store.commits_lost, store.commits_refused = 2, 1

    await done(turns, call(1, conversation=conversation, **fields))

    assert await done(turns, call(2, conversation=conversation)) == "a,in1,out1"


async def test_a_store_that_stays_away_fails_the_turn(turns: StoredTurns, store: Store, conversation: str) -> None:
    store.commits_refused = COMMIT_ATTEMPTS

    with pytest.raises(Unavailable) as caught:
        await done(turns, call(1, conversation=conversation))

    assert caught.value.error_code == "store_unavailable"
    assert await done(turns, call(2, conversation=conversation)) == "a"


async def test_a_history_that_is_too_large_is_rejected(
    turns: StoredTurns, database: Database, conversation: str
) -> None:
    async def grow(connection: Any) -> None:
        await connection.exec_driver_sql(f"UPDATE conversations SET size = {dialogs.MAX_BYTES + 1}")

    await database.write(grow)

    assert await refusal(turns, call(1, conversation=conversation)) == (
        InvalidRequest,
        "input",
        "context_length_exceeded",
    )
