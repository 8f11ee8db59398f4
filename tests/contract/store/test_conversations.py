"""Conversations and their items, in each database."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from proxy.core.clock import SystemClock
from proxy.store.conversations import ConversationStore
from proxy.store.database import Database
from proxy.store.dialogs import DialogStore, Turn
from proxy.store.errors import Missing
from proxy.store.items import Item
from proxy.store.responses import ResponseStore
from proxy.store.retention import Retention
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

RED = "team:red"
DAY = 86_400.0


def item(id: str) -> Item:
    return Item(id, json.dumps({"id": id}).encode())


def ids(items: Any) -> list[str]:
    return [json.loads(each)["id"] for each in items]


@pytest.fixture
def conversations(database: Database) -> ConversationStore:
    return ConversationStore(database, SystemClock())


async def test_a_conversation_keeps_its_metadata(conversations: ConversationStore) -> None:
    created = await conversations.create("conv_1", RED, {"topic": "a\0b"}, [])
    changed = await conversations.set_metadata(RED, "conv_1", {"topic": "tides"})

    assert (created.id, created.tenant, created.metadata) == ("conv_1", RED, {"topic": "a\0b"})
    assert changed == created._replace(metadata={"topic": "tides"})
    assert await conversations.get(RED, "conv_1") == changed


async def test_items_are_added_read_and_removed(conversations: ConversationStore) -> None:
    await conversations.create("conv_1", RED, {}, [item("a"), item("b")])
    await conversations.add(RED, "conv_1", [item("c"), item("d")])

    removed = await conversations.remove(RED, "conv_1", "b")
    await conversations.add(RED, "conv_1", [item("e")])
    all_of_them = await conversations.page(RED, "conv_1", after=None, limit=9, ascending=True)
    newest = await conversations.page(RED, "conv_1", after=None, limit=2, ascending=False)
    older = await conversations.page(RED, "conv_1", after="d", limit=2, ascending=False)

    assert removed.id == "conv_1"
    assert (ids(all_of_them.items), all_of_them.more) == (["a", "c", "d", "e"], False)
    assert (ids(newest.items), newest.more) == (["e", "d"], True)
    assert (ids(older.items), older.more) == (["c", "a"], False)
    assert await conversations.item(RED, "conv_1", "c") == item("c").json
    for unknown in ("b", "z"):
        with pytest.raises(Missing, match=f"no item `{unknown}`"):
            await conversations.item(RED, "conv_1", unknown)
        with pytest.raises(Missing, match=f"no item `{unknown}`"):
            await conversations.remove(RED, "conv_1", unknown)
        with pytest.raises(Missing, match=f"no item `{unknown}`"):
            await conversations.page(RED, "conv_1", after=unknown, limit=1, ascending=True)


async def test_each_id_is_in_a_conversation_once(conversations: ConversationStore, database: Database) -> None:
    dialogs = DialogStore(database, SystemClock())
    await conversations.create("conv_1", RED, {}, [item("msg_a"), item("msg_a")])
    added = await conversations.add(RED, "conv_1", [item("msg_a"), item("__fake_id__"), item("__fake_id__")])
    before = await dialogs.lock(RED, "conv_1", "t")
    await dialogs.commit(
        Turn(RED, "t", "conv_1", [item("msg_a")], [item("msg_b")], "resp_1", b"{}", "completed", before=before)
    )

    page = await conversations.page(RED, "conv_1", after=None, limit=9, ascending=True)
    found = ids(page.items)
    assert len(set(found)) == len(found) == 7
    assert found[2:5] == [each.id for each in added] == ids(each.json for each in added)
    assert [id.partition("_")[0] for id in found] == ["msg", "msg", "msg", "", "item", "msg", "msg"]
    assert (found[0], found[3], found[6]) == ("msg_a", "__fake_id__", "msg_b")


@pytest.mark.parametrize("id", ["conv_1", "conv_2"])
async def test_conversations_of_other_tenants_are_unknown(conversations: ConversationStore, id: str) -> None:
    await conversations.create("conv_1", "team:blue", {}, [item("a")])

    for unknown in (
        conversations.get(RED, id),
        conversations.set_metadata(RED, id, {}),
        conversations.delete(RED, id),
        conversations.add(RED, id, [item("b")]),
        conversations.item(RED, id, "a"),
        conversations.remove(RED, id, "a"),
        conversations.page(RED, id, after=None, limit=1, ascending=True),
    ):
        with pytest.raises(Missing, match="no conversation"):
            await unknown
    page = await conversations.page(None, "conv_1", after=None, limit=9, ascending=True)
    assert ids(page.items) == ["a"]


async def test_deletion_deletes_items_and_responses(conversations: ConversationStore, database: Database) -> None:
    dialogs, responses = DialogStore(database, SystemClock()), ResponseStore(database)
    for id in ("conv_1", "conv_2"):
        await conversations.create(id, RED, {}, [item("a")])
    before = await dialogs.lock(RED, "conv_1", "t")
    await dialogs.commit(
        Turn(RED, "t", "conv_1", [item("b")], [item("c")], "resp_1", b"{}", "completed", before=before)
    )

    await conversations.delete(None, "conv_1", "shell:ada")

    with pytest.raises(Missing):
        await conversations.get(RED, "conv_1")
    with pytest.raises(Missing):
        await responses.get(RED, "resp_1")
    assert await dialogs.referenced(RED, ["b", "c"]) == {}
    assert list(await dialogs.referenced(RED, ["a"])) == ["a"]
    assert await rows(database, "SELECT actor, action, kind, id FROM audit") == [
        ("shell:ada", "delete", "conversation", "conv_1")
    ]


async def test_conversations_are_listed_with_their_numbers_of_items(conversations: ConversationStore) -> None:
    for id, tenant, count in (("conv_1", RED, 0), ("conv_2", "-", 2), ("conv_3", RED, 1)):
        await conversations.create(id, tenant, {}, [item(f"{id}{n}") for n in range(count)])

    everything = await conversations.list(None, None, 10)
    red = await conversations.list(RED, "conv_1", 10)

    assert [(each.id, each.tenant, each.items) for each in everything] == [
        ("conv_1", RED, 0),
        ("conv_2", "-", 2),
        ("conv_3", RED, 1),
    ]
    assert [each.id for each in red] == ["conv_3"]


@pytest.mark.parametrize(
    ("days", "left"),
    [
        (30.0, [["conv_new"], ["resp_a1", "resp_a2", "resp_c"]]),
        (None, [["conv_new", "conv_old"], ["resp_a1", "resp_a2", "resp_b", "resp_c", "resp_o"]]),
    ],
)
async def test_dialogs_are_kept_for_as_long_as_the_last_turn(
    database: Database, days: float | None, left: list[list[str]]
) -> None:
    clock = FakeClock()
    conversations, dialogs = ConversationStore(database, clock), DialogStore(database, clock)
    await conversations.create("conv_new", RED, {}, [item("n")])
    await conversations.create("conv_old", RED, {}, [item("o")])
    turn = Turn(RED, "t", None, [item("i")], [], "resp_a1", b"{}")
    await dialogs.commit(turn)
    await dialogs.commit(turn._replace(id="resp_b"))
    await dialogs.lock(RED, "conv_old", "t")
    await dialogs.commit(turn._replace(id="resp_o", conversation="conv_old"))
    clock.pass_(31 * DAY)
    history = await dialogs.history(RED, "resp_a1")
    await dialogs.commit(turn._replace(id="resp_a2", previous="resp_a1", before=history))
    await dialogs.commit(turn._replace(id="resp_c"))
    await conversations.add(RED, "conv_new", [item("m")])
    retention = Retention(database, lambda: None, lambda: days and days * DAY, clock, random.Random(1))

    await retention.delete_old()

    found = [await rows(database, f"SELECT id FROM {table} ORDER BY id") for table in ("conversations", "responses")]
    assert [[id for (id,) in each] for each in found] == left
    containers = {id for (id,) in await rows(database, "SELECT DISTINCT container FROM items")}
    assert containers == {id for ids in left for id in ids} - {"resp_o"}


async def rows(database: Database, query: str) -> list[Any]:
    async def work(connection: Any) -> list[Any]:
        return [tuple(row) for row in (await connection.exec_driver_sql(query)).all()]

    return await database.read(work)
