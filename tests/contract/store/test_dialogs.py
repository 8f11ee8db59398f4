"""Turns of dialogs: history, the lock of a conversation, and what a turn writes, in each database."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from proxy.core.clock import SystemClock
from proxy.store.conversations import ConversationStore
from proxy.store.database import Database
from proxy.store.dialogs import LOCK_SECONDS, MAX_BYTES, DialogStore, Turn, history_of
from proxy.store.errors import Locked, Missing, TooLarge
from proxy.store.items import Item
from proxy.store.responses import ResponseStore
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio


def item(id: str, text: str | None = None) -> Item:
    return Item(id, json.dumps({"id": id, "text": text or id}).encode())


def ids(items: Any) -> list[str]:
    return [json.loads(each)["id"] for each in items]


@pytest.fixture
def dialogs(database: Database) -> DialogStore:
    return DialogStore(database, SystemClock())


@pytest.fixture
def conversations(database: Database) -> ConversationStore:
    return ConversationStore(database, SystemClock())


@pytest.fixture
def responses(database: Database) -> ResponseStore:
    return ResponseStore(database)


def turn(number: int, **more: Any) -> Turn:
    fields: dict[str, Any] = {
        "tenant": "team:red",
        "owner": f"turn{number}",
        "conversation": None,
        "input": [item(f"in{number}")],
        "output": [item(f"rs{number}"), item(f"out{number}")],
        "id": f"resp_{number}",
        "document": b'{"id":"resp_%d"}' % number,
    }
    return Turn(**{**fields, **more})


async def continued(dialogs: DialogStore, number: int, previous: int) -> None:
    before = await dialogs.history("team:red", f"resp_{previous}")
    await dialogs.commit(turn(number, previous=f"resp_{previous}", before=before))


async def test_a_response_continues_the_ones_before_it(dialogs: DialogStore, responses: ResponseStore) -> None:
    await dialogs.commit(turn(1))
    await continued(dialogs, 2, 1)
    await continued(dialogs, 3, 2)

    history = await dialogs.history("team:red", "resp_3")
    inputs = await responses.input_items("team:red", "resp_2")

    assert ids(history.items) == ["in1", "rs1", "out1", "in2", "rs2", "out2", "in3", "rs3", "out3"]
    assert history.size == sum(map(len, history.items))
    assert history.chain == "resp_1"
    assert ids(inputs) == ["in1", "rs1", "out1", "in2"]
    assert (await responses.get("team:red", "resp_2")).document == b'{"id":"resp_2"}'


async def test_two_responses_can_continue_the_same_one(dialogs: DialogStore) -> None:
    await dialogs.commit(turn(1))
    await continued(dialogs, 2, 1)
    await continued(dialogs, 3, 1)

    assert ids((await dialogs.history("team:red", "resp_3")).items) == ["in1", "rs1", "out1", "in3", "rs3", "out3"]


async def test_responses_of_other_tenants_are_unknown(dialogs: DialogStore, responses: ResponseStore) -> None:
    await dialogs.commit(turn(1))

    for unknown in (
        dialogs.history("team:blue", "resp_1"),
        responses.get("team:blue", "resp_1"),
        responses.input_items("team:blue", "resp_1"),
        responses.delete("team:blue", "resp_1"),
        dialogs.history("team:red", "resp_2"),
    ):
        with pytest.raises(Missing):
            await unknown
    assert await dialogs.referenced("team:blue", ["in1"]) == {}
    assert ids((await dialogs.referenced("team:red", ["in1", "out1", "in2"])).values()) == ["in1", "out1"]


async def test_a_deleted_response_takes_its_content_with_it(
    dialogs: DialogStore, responses: ResponseStore, database: Database
) -> None:
    await dialogs.commit(turn(1))
    await continued(dialogs, 2, 1)

    await responses.delete("team:red", "resp_1")

    with pytest.raises(Missing, match="resp_1.*was deleted"):
        await dialogs.history("team:red", "resp_2")
    assert await count(database, "items") == 3


async def test_a_response_is_deleted_while_it_is_read(
    dialogs: DialogStore, responses: ResponseStore, database: Database
) -> None:
    await dialogs.commit(turn(1))

    class Slow:
        """A connection; the response is deleted between its statements."""

        def __init__(self, connection: Any) -> None:
            self._connection = connection

        async def execute(self, statement: Any) -> Any:
            result = await self._connection.execute(statement)
            with suppress(Missing):
                await responses.delete("team:red", "resp_1")
            return result

    async def read(connection: Any) -> list[str]:
        try:
            return ids((await history_of(Slow(connection), "team:red", "resp_1")).items)  # type: ignore[arg-type]
        except Missing:
            return []

    assert await database.read(read) in ([], ["in1", "rs1", "out1"])


async def test_contents_are_read_while_a_turn_runs(dialogs: DialogStore, conversations: ConversationStore) -> None:
    await conversations.create("conv_1", "team:red", {}, [item("a"), item("b")])
    await dialogs.lock("team:red", "conv_1", "turn1")

    found = await dialogs.contents("team:red", "conv_1")

    assert (ids(found.items), found.size) == (["a", "b"], sum(map(len, found.items)))
    with pytest.raises(Missing):
        await dialogs.contents("team:blue", "conv_1")


@pytest.mark.parametrize("status", ["queued", "in_progress", "failed", "cancelled"])
async def test_only_responses_that_have_ended_are_continued(dialogs: DialogStore, status: str) -> None:
    await dialogs.commit(turn(1, status=status))

    with pytest.raises(Missing, match=f"its status is `{status}`"):
        await dialogs.history("team:red", "resp_1")


async def test_a_running_response_is_completed_once(dialogs: DialogStore, database: Database) -> None:
    await dialogs.commit(turn(1, status="in_progress", output=[], document=b"{}"))

    await dialogs.commit(turn(1))
    await dialogs.commit(turn(1, again=True, input=[]))

    assert ids((await dialogs.history("team:red", "resp_1")).items) == ["in1", "rs1", "out1"]
    assert await count(database, "items") == 3


async def test_a_repeated_id_is_that_of_the_newest_response_of_its_tenant(
    dialogs: DialogStore, conversations: ConversationStore, responses: ResponseStore
) -> None:
    await dialogs.commit(turn(1))
    await dialogs.commit(turn(1, input=[item("new")], document=b'{"new":true}'))
    await conversations.create("conv_1", "team:blue", {}, [])
    await dialogs.lock("team:blue", "conv_1", "turn1")
    await dialogs.commit(turn(1, tenant="team:blue", conversation="conv_1"))

    await continued(dialogs, 1, 1)
    assert ids((await dialogs.history("team:red", "resp_1")).items) == ["new", "rs1", "out1"]
    assert (await responses.get("team:red", "resp_1")).document == b'{"new":true}'
    with pytest.raises(Missing):
        await responses.get("team:blue", "resp_1")
    page = await conversations.page("team:blue", "conv_1", after=None, limit=9, ascending=True)
    assert ids(page.items) == ["in1", "rs1", "out1"]


async def test_a_turn_is_added_to_its_conversation(
    dialogs: DialogStore, conversations: ConversationStore, responses: ResponseStore
) -> None:
    await conversations.create("conv_1", "team:red", {}, [item("first")])
    for number in (1, 2):
        before = await dialogs.lock("team:red", "conv_1", f"turn{number}")
        await dialogs.commit(turn(number, conversation="conv_1", before=before))

    history = await dialogs.lock("team:red", "conv_1", "turn3")
    branch = await dialogs.history("team:red", "resp_1")
    await dialogs.commit(turn(9, previous="resp_1", before=branch))

    assert ids(history.items) == ["first", "in1", "rs1", "out1", "in2", "rs2", "out2"]
    assert history.size == sum(map(len, history.items))
    assert ids(branch.items) == ["first", "in1", "rs1", "out1"]
    assert ids((await dialogs.history("team:red", "resp_9")).items)[-4:] == ["out1", "in9", "rs9", "out9"]
    assert ids(await responses.input_items("team:red", "resp_2")) == ["first", "in1", "rs1", "out1", "in2"]
    page = await conversations.page("team:red", "conv_1", after="in1", limit=2, ascending=True)
    assert (ids(page.items), page.more) == (["rs1", "out1"], True)


async def test_a_conversation_has_one_writer_at_a_time(
    dialogs: DialogStore, conversations: ConversationStore, database: Database
) -> None:
    await conversations.create("conv_1", "team:red", {}, [])

    async def begin(number: int) -> bool:
        try:
            await dialogs.lock("team:red", "conv_1", f"turn{number}")
        except Locked:
            return False
        return True

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(begin(number)) for number in range(20)]
    winners = [number for number, task in enumerate(tasks) if task.result()]

    assert len(winners) == 1
    for change in (
        conversations.add("team:red", "conv_1", [item("x")]),
        conversations.remove("team:red", "conv_1", "x"),
    ):
        with pytest.raises(Locked):
            await change
    await dialogs.release({"conv_1": "turn_of_another"})
    assert not await begin(21)
    await dialogs.release({"conv_1": f"turn{winners[0]}"})
    assert await begin(22)
    assert await count(database, "items") == 0


async def test_a_lock_expires_unless_it_is_renewed(database: Database, conversations: ConversationStore) -> None:
    if database.dialect == "postgresql":
        pytest.skip("the time of locks is PostgreSQL's")
    clock = FakeClock()
    dialogs = DialogStore(database, clock)
    await conversations.create("conv_1", "team:red", {}, [])
    await dialogs.lock("team:red", "conv_1", "turn1")

    clock.pass_(LOCK_SECONDS - 1)
    await dialogs.renew({"conv_1": "turn1"})
    clock.pass_(LOCK_SECONDS - 1)
    with pytest.raises(Locked) as caught:
        await dialogs.lock("team:red", "conv_1", "turn2")
    assert caught.value.owner == "turn1"
    clock.pass_(2)
    await dialogs.lock("team:red", "conv_1", "turn2")

    with pytest.raises(Locked, match="has expired"):
        await dialogs.commit(turn(1, conversation="conv_1"))
    await dialogs.commit(turn(2, conversation="conv_1"))


async def test_an_expired_lock_of_postgresql_is_free(database: Database, conversations: ConversationStore) -> None:
    dialogs = DialogStore(database, SystemClock())
    await conversations.create("conv_1", "team:red", {}, [])
    await dialogs.lock("team:red", "conv_1", "turn1")

    await execute(database, "UPDATE conversations SET lock_until = lock_until - 8000001")

    await dialogs.lock("team:red", "conv_1", "turn2")


async def test_a_turn_without_its_lock_writes_nothing(
    dialogs: DialogStore, conversations: ConversationStore, database: Database
) -> None:
    await conversations.create("conv_1", "team:red", {}, [])

    with pytest.raises(Locked):
        await dialogs.commit(turn(1, conversation="conv_1"))
    with pytest.raises(Missing):
        await dialogs.commit(turn(1, conversation="conv_2"))

    assert await count(database, "items") == await count(database, "responses") == 0


async def test_a_turn_that_cannot_be_written_whole_is_not_written(
    dialogs: DialogStore, conversations: ConversationStore, database: Database
) -> None:
    await conversations.create("conv_1", "team:red", {}, [])
    await dialogs.lock("team:red", "conv_1", "turn1")
    broken = [item("ok"), Item("x" * 257, b"{}")]

    with pytest.raises(Exception, match="at most 256 characters"):
        await dialogs.commit(turn(1, conversation="conv_1", output=broken))

    assert await count(database, "items") == await count(database, "responses") == 0
    with pytest.raises(Locked):
        await dialogs.lock("team:red", "conv_1", "turn2")


async def test_a_response_that_is_not_stored_adds_to_its_conversation(
    dialogs: DialogStore, conversations: ConversationStore, database: Database
) -> None:
    await conversations.create("conv_1", "team:red", {}, [])
    await dialogs.lock("team:red", "conv_1", "turn1")

    await dialogs.commit(turn(1, conversation="conv_1", document=None))

    assert await count(database, "items") == 3
    assert await count(database, "responses") == 0


async def test_a_dialog_has_a_largest_size(
    dialogs: DialogStore, conversations: ConversationStore, database: Database
) -> None:
    await conversations.create("conv_1", "team:red", {}, [item("a")])
    await dialogs.commit(turn(1))
    for table in ("conversations", "responses"):
        await execute(database, f"UPDATE {table} SET size = {MAX_BYTES}")

    with pytest.raises(TooLarge):
        await conversations.add("team:red", "conv_1", [item("b")])
    await continued(dialogs, 2, 1)
    with pytest.raises(TooLarge):
        await dialogs.history("team:red", "resp_2")
    with pytest.raises(TooLarge):
        await dialogs.referenced("team:red", ["x"] * 1001)


async def execute(database: Database, statement: str) -> Any:
    async def work(connection: Any) -> Any:
        result = await connection.exec_driver_sql(statement)
        return result.scalar() if result.returns_rows else None

    return await database.write(work)


async def count(database: Database, table: str) -> int:
    return int(await execute(database, f"SELECT count(*) FROM {table}"))
