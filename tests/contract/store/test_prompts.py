"""Stored prompts, in each database."""

from __future__ import annotations

import random

import pytest

from proxy.store.database import Database
from proxy.store.errors import InvalidValue, Missing
from proxy.store.prompts import PromptRow, PromptStore
from proxy.store.retention import Retention
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

RED, BLUE = "team:red", "team:blue"
DAY = 86_400.0


def row(id: str, time: int, tenant: str = RED) -> PromptRow:
    return PromptRow(id, tenant, time, b'{"id":"%s"}' % id.encode())


@pytest.fixture
def prompts(database: Database) -> PromptStore:
    return PromptStore(database)


async def listed(prompts: PromptStore, after: str | None = None, limit: int = 10, *, ascending: bool = False) -> str:
    page = await prompts.page(RED, after=after, limit=limit, ascending=ascending)
    return "".join(item.decode()[7:-2] for item in page.items) + ("+" if page.more else "")


async def test_prompts_are_listed_in_pages(prompts: PromptStore) -> None:
    await prompts.write([row("c", 2), row("a", 1), row("x", 2, BLUE), row("b", 2), row("d", 3)])

    assert await listed(prompts) == "dcba"
    assert await listed(prompts, ascending=True) == "abcd"
    assert await listed(prompts, limit=2) == "dc+"
    assert await listed(prompts, "c", 1) == "b+"
    assert await listed(prompts, "b", ascending=True) == "cd"
    assert await listed(prompts, "a") == ""


async def test_a_prompt_that_is_written_again_is_there_once(prompts: PromptStore) -> None:
    await prompts.write([row("a", 1)])
    await prompts.write([row("a", 2), row("b", 2)])

    assert await listed(prompts) == "ba"


async def test_a_prompt_of_another_tenant_does_not_exist(prompts: PromptStore) -> None:
    await prompts.write([row("a", 1, BLUE)])

    with pytest.raises(Missing):
        await prompts.get(RED, "a")
    with pytest.raises(Missing):
        await prompts.delete(RED, "a")
    with pytest.raises(Missing):
        await listed(prompts, "a")
    assert await prompts.get(BLUE, "a") == b'{"id":"a"}'


async def test_a_deleted_prompt_does_not_exist(prompts: PromptStore) -> None:
    await prompts.write([row("a", 1), row("b", 1)])

    await prompts.delete(RED, "a")

    assert await listed(prompts) == "b"
    with pytest.raises(Missing):
        await prompts.delete(RED, "a")


@pytest.mark.parametrize("id", ["", "a\0", "\ud800", "x" * 300])
async def test_an_id_that_cannot_be_stored_is_refused(prompts: PromptStore, id: str) -> None:
    with pytest.raises(InvalidValue):
        await prompts.get(RED, id)
    with pytest.raises(InvalidValue):
        await listed(prompts, id)


async def test_old_prompts_are_deleted_with_the_records(prompts: PromptStore, database: Database) -> None:
    clock = FakeClock()
    now = int(clock.time() * 1e6)
    await prompts.write([row("a", now - int(91 * DAY * 1e6)), row("b", now - int(89 * DAY * 1e6))])

    deleted = await Retention(database, lambda: 90 * DAY, lambda: None, clock, random.Random(1)).delete_old()

    assert deleted == 1
    assert await listed(prompts) == "b"
