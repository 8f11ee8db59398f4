"""Agents in the admin API: who may put which model in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from proxy.admin.actor import Actor
from proxy.admin.agent_objects import AgentObjects
from proxy.admin.storage import AgentParts, KnownAgents
from proxy.core.agents import Agent, StoredAgent, StoredVersion
from proxy.core.errors import InvalidRequest, NotAllowed
from proxy.core.principal import Identified
from tests.support.calls import deployment, snapshot

pytestmark = pytest.mark.anyio

SMALL = StoredVersion(1, {"model": "acme/small", "instructions": "x"}, 0, "admin")
LARGE = StoredVersion(2, {"model": "acme/large"}, 0, "admin")
RESTRICTED = Actor("key:1", Identified("key:1", role="admin", models=(("acme/small", "agent/*"),)))
FREE = Actor("admin-token")


class Known:
    """One stored agent, with two versions."""

    def __init__(self) -> None:
        self.file: dict[str, Agent] = {}
        self.stored = {"a": StoredAgent("a", 1, 2, {"production": 1}, {1: SMALL, 2: LARGE}, 0, 0)}

    async def refresh(self) -> None:
        """Change nothing."""

    def read(self, id: str, fields: Mapping[str, Any]) -> Agent:
        return Agent(id, "", str(fields["model"]))


@pytest.fixture
def store() -> AsyncMock:
    """A store that accepts everything."""

    async def change(id: str, define: Any, labels: Any, actor: str) -> None:
        if define is not None:
            define(LARGE.fields)

    return AsyncMock(change=AsyncMock(side_effect=change))


@pytest.fixture
def agents(store: AsyncMock) -> AgentObjects:
    on = snapshot(deployment("small", tier="low"), deployment("large", tier="low"))
    return AgentObjects(AgentParts(store, cast("KnownAgents", Known())), on, AsyncMock())


@pytest.mark.parametrize("model", ["acme/large", "tier/low"])
async def test_an_admin_cannot_use_more_than_its_own_models(agents: AgentObjects, model: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        await agents.create(RESTRICTED, {"id": "b", "model": model})
    with pytest.raises(NotAllowed):
        await agents.add(RESTRICTED, "a", {"model": model})

    assert caught.value.param == "model"


async def test_an_admin_cannot_change_or_label_a_version_with_another_model(agents: AgentObjects) -> None:
    with pytest.raises(NotAllowed):
        await agents.change(RESTRICTED, "a", {"instructions": "mine"})
    with pytest.raises(NotAllowed):
        await agents.label(RESTRICTED, "a", {"label": "production", "version": 2})
    with pytest.raises(NotAllowed):
        await agents.change(RESTRICTED, "a", {"labels": {"production": "latest"}})


async def test_an_admin_can_use_its_own_models(agents: AgentObjects, store: AsyncMock) -> None:
    await agents.change(RESTRICTED, "a", {"model": "acme/small"})
    await agents.change(RESTRICTED, "a", {"labels": {"production": 1}})
    await agents.change(FREE, "a", {"instructions": "mine"})
    await agents.change(FREE, "a", {"labels": {"production": "latest"}})

    assert store.change.await_count == 4


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({}, "body"),
        ({"labels": {}}, "body"),
        ({"labels": {"a b": 1}}, "labels.a b"),
        ({"labels": {"beta": "01"}}, "labels.beta"),
        ({"labels": {"beta": 1.5}}, "labels.beta"),
        ({"labels": {"beta": 10**12}}, "labels.beta"),
        ({"model": "acme/none"}, "model"),
        ({"model": "agent/a"}, "model"),
    ],
)
async def test_a_mistake_in_a_change_is_named(agents: AgentObjects, values: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await agents.change(FREE, "a", values)

    assert caught.value.param == param


@pytest.mark.parametrize(
    ("values", "param"), [({}, "label"), ({"label": "x"}, "version"), ({"label": "x", "version": 1, "y": 1}, "y")]
)
async def test_a_mistake_in_a_label_is_named(agents: AgentObjects, values: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await agents.label(FREE, "a", values)

    assert caught.value.param == param
