"""Responses that run in the background, in each database: their states, leases and events."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.clock import SystemClock
from proxy.store.background import MOST_ROWS, BackgroundStore, Batch, NewResponse, StoredEvents
from proxy.store.conversations import ConversationStore
from proxy.store.database import Database
from proxy.store.dialogs import DialogStore, Turn
from proxy.store.errors import InvalidValue, Missing
from proxy.store.items import Item
from proxy.store.responses import ResponseStore
from proxy.store.retention import EVENTS_SECONDS, Retention
from proxy.store.schema import response_events, responses
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

RED, BLUE = "team:red", "team:blue"


@pytest.fixture
def store(database: Database) -> BackgroundStore:
    return BackgroundStore(database, SystemClock())


def new(
    id: str = "resp_1", events: Sequence[bytes] = (b"0", b"1"), *, tenant: str = RED, request: bytes | None = None
) -> NewResponse:
    return NewResponse(id, tenant, f"host/1/1/{id}", b"{}", events, request)


def batch(first: int, *events: bytes, document: bytes | None = None, id: str = "resp_1") -> Batch:
    return Batch(id, f"host/1/1/{id}", first, events, document)


def turn(id: str = "resp_1") -> Turn:
    items = [Item("in", b'{"id":"in"}')]
    return Turn(RED, f"host/1/1/{id}", None, items, [], id, b'{"done":true}', background=True)


async def count(database: Database) -> int:
    """The number of rows with events."""

    async def work(connection: AsyncConnection) -> int:
        return int((await connection.execute(select(func.count()).select_from(response_events))).scalar_one())

    return await database.read(work)


async def test_a_response_goes_from_queued_to_completed(store: BackgroundStore, database: Database) -> None:
    await store.create(new())
    queued = await store.view(RED, "resp_1", -1)
    assert await store.append([batch(2, b"2", document=b'{"n":1}')]) == []
    running = await store.view(RED, "resp_1", 0)
    assert await store.append([batch(3, b"3", b"4")]) == []
    await DialogStore(database, SystemClock()).commit(turn())
    done = await store.view(RED, "resp_1", 3)

    assert (queued.status, queued.document, queued.streamed, queued.expired) == ("queued", b"{}", True, False)
    assert queued.events == [StoredEvents(0, 1, b"01")]
    assert (running.status, running.document, running.owner) == ("in_progress", b'{"n":1}', "host/1/1/resp_1")
    assert running.events == [StoredEvents(0, 1, b"01"), StoredEvents(2, 2, b"2")]
    assert (done.status, done.document, done.owner) == ("completed", b'{"done":true}', "")
    assert done.events == [StoredEvents(3, 4, b"34")]
    stored = await ResponseStore(database).get(RED, "resp_1")
    assert (stored.background, stored.document) == (True, b'{"done":true}')


async def test_a_response_ends_once(store: BackgroundStore, database: Database) -> None:
    dialogs = DialogStore(database, SystemClock())
    await store.create(new())
    assert await store.end(RED, "resp_1", "cancelled", b'{"cancelled":true}')
    assert not await store.end(RED, "resp_1", "failed", b"{}")
    with pytest.raises(Missing):
        await dialogs.commit(turn())

    view = await store.view(RED, "resp_1", -1)
    assert (view.status, view.document) == ("cancelled", b'{"cancelled":true}')
    assert await store.append([batch(2, b"2"), batch(2, b"2", id="resp_9")]) == ["resp_1", "resp_9"]
    assert await count(database) == 1
    assert await ResponseStore(database).input_items(RED, "resp_1") == []


async def test_input_is_there_until_the_turn_is_written(store: BackgroundStore, database: Database) -> None:
    dialogs, stored = DialogStore(database, SystemClock()), ResponseStore(database)
    await store.create(new("resp_0"))
    await dialogs.commit(turn("resp_0"))
    await store.create(new(request=b'{"input":[{"id":"one"}],"previous":"resp_0"}'))
    running = await stored.input_items(RED, "resp_1")
    await store.end(RED, "resp_1", "failed", b"{}")
    failed = await stored.input_items(RED, "resp_1")
    await store.create(new("resp_2", request=b'{"input":[{"id":"one"}]}'))
    await dialogs.commit(turn("resp_2"))

    assert running == failed == [b'{"id":"in"}', b'{"id":"one"}']
    assert await stored.input_items(RED, "resp_2") == [b'{"id":"in"}']


async def test_input_follows_its_conversation_while_that_is_locked(store: BackgroundStore, database: Database) -> None:
    conversations, stored = ConversationStore(database, SystemClock()), ResponseStore(database)
    await conversations.create("conv_1", RED, {}, [Item("before", b'{"id":"before"}')])
    request = b'{"input":[{"id":"one"}],"conversation":"conv_1"}'
    await store.create(new(request=request))
    await store.create(new("resp_2", tenant=BLUE, request=request))

    assert await stored.input_items(RED, "resp_1") == [b'{"id":"before"}', b'{"id":"one"}']
    with pytest.raises(Missing):
        await stored.input_items(BLUE, "resp_2")
    await store.end(RED, "resp_1", "failed", b"{}")
    assert await stored.input_items(RED, "resp_1") == [b'{"id":"one"}']


async def test_a_deleted_response_is_not_written_again(store: BackgroundStore, database: Database) -> None:
    await store.create(new())
    await ResponseStore(database).delete(RED, "resp_1")
    with pytest.raises(Missing):
        await DialogStore(database, SystemClock()).commit(turn())

    assert await store.renew(["host/1/1/resp_1"]) == []
    with pytest.raises(Missing):
        await store.view(RED, "resp_1", -1)


async def test_another_tenant_sees_nothing(store: BackgroundStore) -> None:
    await store.create(new())

    with pytest.raises(Missing):
        await store.view(BLUE, "resp_1", -1)
    assert not await store.end(BLUE, "resp_1", "cancelled", b"{}")
    with pytest.raises(InvalidValue):
        await store.view(RED, "resp_\0", -1)


async def test_a_lease_expires_unless_it_is_renewed(store: BackgroundStore, database: Database) -> None:
    async def expire(connection: AsyncConnection) -> None:
        await connection.execute(update(responses).values(owned_until=responses.c.owned_until - 11_000_000))

    await store.create(new())
    await database.write(expire)
    late = await store.view(RED, "resp_1", -1)
    renewed = await store.renew(["host/1/1/resp_1", "host/1/1/resp_2"])
    alive = await store.view(RED, "resp_1", -1)

    assert (late.expired, alive.expired) == (True, False)
    assert renewed == ["resp_1"]


async def test_a_batch_may_be_written_again(store: BackgroundStore) -> None:
    await store.create(new())
    await store.append([batch(2, b"2")])
    await store.append([batch(2, b"2", b"3")])

    assert (await store.view(RED, "resp_1", 1)).events == [StoredEvents(2, 3, b"23")]
    without = await store.view(RED, "resp_1", None)
    assert (without.events, without.streamed, without.more) == ([], True, False)


async def test_many_events_are_read_in_parts(store: BackgroundStore) -> None:
    await store.create(new())
    for number in range(2, MOST_ROWS + 3):
        await store.append([batch(number, b"x")])

    first = await store.view(RED, "resp_1", -1)
    rest = await store.view(RED, "resp_1", first.events[-1].last)
    assert (len(first.events), first.more) == (MOST_ROWS, True)
    assert (len(rest.events), rest.more) == (2, False)


async def test_a_response_without_kept_events_cannot_be_streamed(store: BackgroundStore) -> None:
    await store.create(new(events=()))

    assert not (await store.view(RED, "resp_1", -1)).streamed


async def test_events_are_deleted_a_day_after_the_end(database: Database) -> None:
    clock = FakeClock(1_000_000.0)
    store = BackgroundStore(database, clock)
    retention = Retention(database, lambda: None, lambda: None, clock, random.Random(1))
    for id in ("resp_1", "resp_2", "resp_3"):
        await store.create(new(id))
    await store.end(RED, "resp_1", "failed", b"{}")
    clock.pass_(EVENTS_SECONDS + 1)
    await store.end(RED, "resp_2", "failed", b"{}")

    assert await retention.delete_old() == 1
    assert not (await store.view(RED, "resp_1", -1)).streamed
    assert (await store.view(RED, "resp_2", -1)).streamed
    assert (await store.view(RED, "resp_3", -1)).streamed
