"""Conversations and stored responses over HTTP, with the OpenAI SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.store.database import Database
from proxy.store.dialogs import DialogStore, Turn
from proxy.store.items import Item
from tests.support.servers import signalbox

CONFIG: dict[str, Any] = {
    "store": "sqlite",
    "providers": {"mock": {"dialect": "mock"}},
    "models": [{"id": "mock/small", "tier": "low"}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conversations")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with signalbox(CONFIG, folder) as service:
        yield service.url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        yield client


def commit(folder: Path, *turns: Turn) -> None:
    """Write turns into the store of the service."""
    location = locate("sqlite", str(folder / "data"))
    assert location is not None

    async def write() -> None:
        database = Database(location, SystemClock())
        for turn in turns:
            await DialogStore(database, SystemClock()).commit(turn)
        await database.close()

    asyncio.run(write())


def test_a_conversation_is_created_changed_and_deleted(client: openai.OpenAI) -> None:
    created = client.conversations.create(metadata={"topic": "tides"})
    found = client.conversations.retrieve(created.id)
    changed = client.conversations.update(created.id, metadata={"topic": "moon"})
    deleted = client.conversations.delete(created.id)

    assert created.id.startswith("conv_")
    assert (created.object, created.metadata) == ("conversation", {"topic": "tides"})
    assert found == created
    assert (changed.id, changed.metadata) == (created.id, {"topic": "moon"})
    assert (deleted.id, deleted.object, deleted.deleted) == (created.id, "conversation.deleted", True)
    with pytest.raises(openai.NotFoundError) as caught:
        client.conversations.retrieve(created.id)
    assert caught.value.code == "not_found"


def test_items_are_added_listed_and_deleted(client: openai.OpenAI) -> None:
    id = client.conversations.create(items=[{"role": "user", "content": "0"}]).id
    added = client.conversations.items.create(
        id,
        items=[
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": str(number)}]}
            for number in range(1, 5)
        ],
    )
    listed = [item.id for item in client.conversations.items.list(id, order="asc", limit=2)]
    newest = [item.id for item in client.conversations.items.list(id)]
    one = client.conversations.items.retrieve(str(listed[2]), conversation_id=id)
    answer = client.conversations.items.delete(str(listed[2]), conversation_id=id)

    assert [item.id for item in added.data] == listed[1:]
    assert (added.first_id, added.last_id, added.has_more) == (listed[1], listed[4], False)
    assert newest == listed[::-1]
    assert one.id == listed[2]
    assert answer.id == id
    assert [item.id for item in client.conversations.items.list(id, order="asc")] == listed[:2] + listed[3:]
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(str(listed[2]), conversation_id=id)


def test_a_stored_response_is_retrieved_and_deleted(client: openai.OpenAI, folder: Path) -> None:
    before = client.conversations.create().id  # the store exists
    document = b'{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m","output":[]}'
    items = [Item(f"msg_{n}", b'{"id":"msg_%d","type":"message","role":"user","content":[]}' % n) for n in range(3)]
    commit(folder, Turn("-", "t", None, items, [], "resp_1", document))

    found = client.responses.retrieve("resp_1")
    inputs = [item.id for item in client.responses.input_items.list("resp_1", limit=2)]
    with pytest.raises(openai.BadRequestError, match="background: true"):
        client.responses.cancel("resp_1")
    client.responses.delete("resp_1")

    assert before
    assert (found.id, found.status) == ("resp_1", "completed")
    assert inputs == ["msg_2", "msg_1", "msg_0"]
    for ask in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            ask("resp_1")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "", "[]", 400, None),
        ("POST", "", "{", 400, None),
        ("POST", "", '{"items": {}}', 400, "items"),
        ("POST", "", '{"metadata": []}', 400, "metadata"),
        ("POST", "", '{"metadata": {"a": 1}}', 400, "metadata.a"),
        ("POST", "", '{"metadata": {"%s": "x"}}' % ("a" * 65), 400, "metadata"),
        ("POST", "", '{"metadata": {"a": "\\ud800"}}', 400, "metadata"),
        ("POST", "", '{"metadata": {"\\udc00": "a"}}', 400, "metadata"),
        ("POST", "/conv_1", "{}", 400, "metadata"),
        ("POST", "/conv_1", '{"metadata": {}}', 404, None),
        ("POST", "/conv_1/items", "{}", 400, "items"),
        ("POST", "/conv_1/items", '{"items": [{"role": "user"}]}', 400, "items[0].content"),
        ("POST", "/conv_1/items", '{"items": []}', 404, None),
        ("GET", "/conv_1/items?limit=0", None, 400, "limit"),
        ("GET", "/conv_1/items?limit=x", None, 400, "limit"),
        ("GET", "/conv_1/items?order=up", None, 400, "order"),
        ("GET", "/conv_1/items?after=x", None, 404, None),
        ("GET", "/conv_1/items/x", None, 404, None),
        ("DELETE", "/conv_1/items/x", None, 404, None),
        ("DELETE", "/conv_1", None, 404, None),
        ("DELETE", "", None, 405, None),
        ("GET", "/%00", None, 400, None),
        ("GET", "/" + "x" * 300, None, 400, None),
    ],
)
def test_bad_requests_are_named(
    url: str, method: str, path: str, body: str | None, status: int, param: str | None
) -> None:
    answer = httpx.request(method, f"{url}/v1/conversations{path}", content=body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_an_empty_body_creates_a_conversation(url: str) -> None:
    answer = httpx.post(f"{url}/v1/conversations")

    assert answer.status_code == 200
    assert answer.json()["metadata"] == {}


def test_without_a_store_there_are_no_dialogs(tmp_path: Path) -> None:
    with signalbox({**CONFIG, "store": "none"}, tmp_path) as service:
        created = httpx.post(f"{service.url}/v1/conversations", json={})
        found = httpx.get(f"{service.url}/v1/responses/resp_1")

    assert (created.status_code, found.status_code) == (400, 404)
    assert "configure `store`" in created.json()["error"]["message"]
