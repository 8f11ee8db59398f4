"""Agents, in each database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.store.agents import NEWEST, AgentStore
from proxy.store.audit_log import AuditLog
from proxy.store.database import Database
from proxy.store.errors import Exists, InvalidValue, Missing
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

FIELDS = {"model": "tier/low", "instructions": "ü '; DROP TABLE agents", "params": {"temperature": 0.1}}


def changed(**fields: Any) -> Any:
    return lambda before: {**before, **fields}


@pytest.fixture
def agents(database: Database) -> AgentStore:
    return AgentStore(database, FakeClock())


async def test_an_agent_is_read_as_it_was_stored(agents: AgentStore) -> None:
    await agents.create("support", FIELDS, {"production": NEWEST}, "ann")

    [stored] = (await agents.load(["support", "other"])).values()

    assert (stored.id, stored.latest, stored.labels) == ("support", 1, {"production": 1})
    assert (stored.versions[1].fields, stored.versions[1].created_by) == (FIELDS, "ann")
    assert await agents.revisions() == {"support": stored.revision}


async def test_a_version_never_changes_and_labels_move(agents: AgentStore) -> None:
    await agents.create("support", FIELDS, {"production": NEWEST}, "ann")

    await agents.change("support", changed(model="tier/high"), {}, "bob")
    await agents.change("support", changed(params={}), {"staging": NEWEST}, "bob")
    await agents.change("support", None, {"production": 2}, "bob")

    stored = (await agents.load(["support"]))["support"]
    assert (stored.labels, sorted(stored.versions)) == ({"production": 2, "staging": 3}, [2, 3])
    assert [version.version for version in await agents.versions("support", None, 10)] == [3, 2, 1]
    assert [version.version for version in await agents.versions("support", 3, 1)] == [2]
    first = await agents.version("support", 1)
    assert first is not None
    assert first.fields == FIELDS
    assert stored.versions[3].fields == {**FIELDS, "model": "tier/high", "params": {}}
    assert await agents.version("support", 4) is None


async def test_every_change_raises_the_revision(agents: AgentStore) -> None:
    seen = []
    await agents.create("a", FIELDS, {"production": NEWEST}, "ann")
    for change in (
        agents.change("a", changed(), {}, "ann"),
        agents.change("a", None, {"production": 2}, "ann"),
        agents.change("a", None, {"production": None}, "ann"),
        agents.delete("a", "ann"),
        agents.create("a", FIELDS, {}, "ann"),
    ):
        seen.append((await agents.revisions()).get("a", 0))
        await change
    seen.append((await agents.revisions())["a"])

    assert seen == [1, 2, 3, 4, 0, 6]


async def test_an_id_that_is_used_again_continues_the_versions(agents: AgentStore) -> None:
    await agents.create("a", FIELDS, {"production": NEWEST}, "ann")
    await agents.change("a", changed(), {}, "ann")
    await agents.delete("a", "ann")

    assert (await agents.revisions(), await agents.load(["a"]), await agents.versions("a", None, 10)) == ({}, {}, [])
    await agents.create("a", FIELDS, {"production": NEWEST}, "ann")

    assert (await agents.load(["a"]))["a"].labels == {"production": 3}


async def test_changes_of_what_does_not_exist_are_rejected(agents: AgentStore) -> None:
    await agents.create("a", FIELDS, {"production": NEWEST}, "ann")
    await agents.create("gone", FIELDS, {}, "ann")
    await agents.delete("gone", "ann")

    with pytest.raises(Exists):
        await agents.create("a", FIELDS, {}, "ann")
    with pytest.raises(InvalidValue):
        await agents.create("a\0", FIELDS, {}, "ann")
    for change in (
        agents.change("none", changed(), {}, "ann"),
        agents.change("gone", changed(), {}, "ann"),
        agents.change("a", changed(), {"production": 9}, "ann"),
        agents.change("a", None, {"staging": None}, "ann"),
        agents.delete("gone", "ann"),
    ):
        with pytest.raises(Missing):
            await change
    assert (await agents.load(["a"]))["a"].labels == {"production": 1}


async def test_a_definition_that_is_rejected_changes_nothing(agents: AgentStore) -> None:
    await agents.create("a", FIELDS, {"production": NEWEST}, "ann")

    def reject(before: Any) -> Any:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await agents.change("a", reject, {"production": NEWEST}, "ann")

    assert (await agents.revisions(), len(await agents.versions("a", None, 10))) == ({"a": 1}, 1)


async def test_changes_at_the_same_time_are_one_after_another(agents: AgentStore) -> None:
    async def create() -> bool:
        try:
            await agents.create("a", FIELDS, {}, "ann")
        except Exists:
            return False
        return True

    async with asyncio.TaskGroup() as group:
        created = [group.create_task(create()) for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(agents.change("a", changed(), {"production": NEWEST}, "ann"))

    assert sum(task.result() for task in created) == 1
    assert (await agents.load(["a"]))["a"].labels == {"production": 5}


async def test_every_change_is_audited(database: Database, agents: AgentStore) -> None:
    await agents.create("a", FIELDS, {"production": NEWEST}, "ann")
    await agents.change("a", changed(), {}, "bob")
    await agents.change("a", None, {"production": 2}, "bob")
    await agents.delete("a", "ann")

    rows = await AuditLog(database).list({"kind": ["agent"]}, None, 10)

    assert [(row["actor"], row["action"], row["changes"]) for row in rows] == [
        ("ann", "delete", {"labels": [{"production": 2}, {}]}),
        ("bob", "replace", {"labels": [{"production": 1}, {"production": 2}]}),
        ("bob", "replace", {"latest": [1, 2]}),
        ("ann", "create", {"latest": [None, 1], "labels": [None, {"production": 1}]}),
    ]


async def test_a_file_is_looked_into_before_the_database_is_opened(sqlite_url: str) -> None:
    location = locate(sqlite_url, "")
    assert location is not None
    unopened = Database(location, SystemClock())
    before = await AgentStore(unopened, FakeClock()).revisions()
    opened = Database(location, SystemClock())
    async with opened.running():
        await AgentStore(opened, FakeClock()).create("a", FIELDS, {}, "ann")

        found = await AgentStore(unopened, FakeClock()).revisions()

    assert (before, found, unopened.opened) == ({}, {"a": 1}, False)
