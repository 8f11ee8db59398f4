"""Stored agents in a running service."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from proxy.agents import MAX_PINNED, StoredAgents
from proxy.config.load import load
from proxy.core.agents import StoredAgent, StoredVersion, UnknownAgent
from proxy.core.errors import ModelNotFound, Unavailable
from proxy.core.principal import UNKNOWN_CALLER, Identified
from proxy.following import EVERY
from proxy.observe.metrics import Metrics
from proxy.reload import Configuration, Reloader
from proxy.store.errors import StoreUnavailable
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

FILE = """
providers: {acme: {base_url: "https://acme.test/v1"}}
models: [{id: acme/small, tier: low}]
agents: {fixed: {model: acme/small}}
"""


class Stored:
    """A store of agents, which several services may share. Each version is the definition of one more call of `put`."""

    def __init__(self) -> None:
        self.versions: dict[str, list[dict[str, Any]]] = {}
        self.labels: dict[str, dict[str, int]] = {}
        self.revision: dict[str, int] = {}
        self.broken = False
        self.looks = 0

    def put(self, id: str, label: str | None = "production", **fields: Any) -> None:
        versions = self.versions.setdefault(id, [])
        versions.append({"model": "tier/low", **fields})
        if label is not None:
            self.labels.setdefault(id, {})[label] = len(versions)
        self.revision[id] = self.revision.get(id, 0) + 1

    def drop(self, id: str) -> None:
        del self.versions[id], self.labels[id], self.revision[id]

    async def revisions(self) -> dict[str, int]:
        self.looks += 1
        self._check()
        revisions = dict(self.revision)
        await asyncio.sleep(0)
        return revisions

    async def load(self, ids: Collection[str]) -> dict[str, StoredAgent]:
        self._check()
        return {id: self._agent(id) for id in ids if id in self.versions}

    async def version(self, id: str, version: int) -> StoredVersion | None:
        self._check()
        return self._version(id, version) if version <= len(self.versions.get(id, ())) else None

    def _agent(self, id: str) -> StoredAgent:
        latest, labels = len(self.versions[id]), self.labels.get(id, {})
        versions = {number: self._version(id, number) for number in {latest, *labels.values()}}
        return StoredAgent(id, self.revision[id], latest, dict(labels), versions, 0, 0)

    def _version(self, id: str, number: int) -> StoredVersion:
        return StoredVersion(number, self.versions[id][number - 1], 0, "admin")

    def _check(self) -> None:
        if self.broken:
            raise StoreUnavailable("it is broken")


class Service:
    """One service over a store."""

    def __init__(self, path: Path, stored: Stored | None) -> None:
        self.live = Configuration(load(path, {}))
        self.reloader = Reloader(self.live, Mock(), Metrics())
        self.agents = StoredAgents(stored, self.live, self.reloader, FakeClock())

    @property
    def names(self) -> set[str]:
        return {name for name in self.live.snapshot.agents if not name.startswith("fixed")}

    def version(self, name: str) -> str:
        return self.live.snapshot.agents[name].version

    async def find(self, name: str, *patterns: str) -> None:
        principal = Identified("key:1", models=(patterns,)) if patterns else UNKNOWN_CALLER
        await self.agents.find(UnknownAgent(f"agent/{name}", "model"), principal)


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "signalbox.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def stored() -> Stored:
    return Stored()


@pytest.fixture
def service(path: Path, stored: Stored) -> Service:
    return Service(path, stored)


async def test_stored_agents_join_those_of_the_file(service: Service, stored: Stored) -> None:
    stored.put("support")
    await service.agents.start()

    assert service.names == {"support", "support@1", "support@production", "support@latest"}
    assert service.live.snapshot.agents["fixed"].model == "acme/small"


async def test_changes_are_followed(service: Service, stored: Stored) -> None:
    stored.put("a")
    stored.put("b")
    await service.agents.refresh()
    stored.put("a", "staging")
    stored.drop("b")

    await service.agents.refresh()

    assert service.names == {"a", "a@1", "a@2", "a@production", "a@staging", "a@latest"}
    assert (service.version("a"), service.version("a@latest")) == ("1", "2")
    assert EVERY <= 5


async def test_what_is_unchanged_is_not_activated_again(service: Service, stored: Stored) -> None:
    stored.put("a")
    await service.agents.refresh()
    before = service.live.snapshot

    await service.agents.refresh()

    assert service.live.snapshot is before


async def test_an_unknown_name_is_looked_up(service: Service, stored: Stored) -> None:
    stored.put("a")
    stored.put("a", "staging")
    await service.find("a")
    stored.put("a", "new")

    await service.find("a@new")

    assert (service.version("a"), service.version("a@new")) == ("1", "3")


async def test_an_earlier_version_is_looked_up_and_kept_for_some_time(service: Service, stored: Stored) -> None:
    for _ in range(MAX_PINNED + 3):
        stored.put("a")
    for number in range(1, MAX_PINNED + 2):
        await service.find(f"a@{number}")

    assert "a@1" not in service.names
    assert "a@2" in service.names
    stored.drop("a")
    await service.agents.refresh()

    assert service.names == set()


@pytest.mark.parametrize("name", ["x", "a@2", "a@01", "a@0", "a@", "a@-1", "a@¹", "a@beta", "a@1@1", "@1", ""])
async def test_a_name_that_the_store_does_not_have_is_not_found(service: Service, stored: Stored, name: str) -> None:
    stored.put("a")

    with pytest.raises(ModelNotFound) as caught:
        await service.find(name)

    assert not isinstance(caught.value, UnknownAgent)


async def test_the_error_names_only_agents_that_the_caller_may_use(service: Service, stored: Stored) -> None:
    stored.put("support")

    with pytest.raises(ModelNotFound, match="Did you mean `agent/support`"):
        await service.find("suport", "agent/*")
    with pytest.raises(ModelNotFound) as caught:
        await service.find("suport", "other/*")

    assert "support`?" not in str(caught.value)


async def test_without_a_store_every_other_name_is_not_found(path: Path) -> None:
    service = Service(path, None)
    await service.agents.start()

    with pytest.raises(ModelNotFound):
        await service.find("a")


async def test_a_store_that_does_not_answer_changes_nothing(service: Service, stored: Stored) -> None:
    stored.put("a")
    await service.agents.start()
    stored.broken = True

    await service.agents.start()
    with pytest.raises(Unavailable) as caught:
        await service.find("b")

    assert caught.value.error_code == "store_unavailable"
    assert "a" in service.names


async def test_look_ups_at_the_same_time_share_one_look(service: Service, stored: Stored) -> None:
    stored.put("a")

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(service.find("a"))

    assert stored.looks <= 2


async def test_an_agent_of_the_file_has_priority(service: Service, stored: Stored, path: Path) -> None:
    stored.put("fixed", instructions="stored")
    stored.put("a")
    await service.agents.refresh()

    assert service.live.snapshot.agents["fixed"].instructions == ""
    assert "fixed@1" not in service.live.snapshot.agents
    rewrite(path, FILE.replace("agents: {fixed: {model: acme/small}}", ""))
    service.reloader.take(load(path, {}))

    assert service.live.snapshot.agents["fixed"].instructions == "stored"
    assert "a" in service.names


async def test_a_definition_of_another_release_is_left_out(service: Service, stored: Stored) -> None:
    stored.put("a", unheard_of=1)
    stored.put("b")

    await service.agents.refresh()

    assert "a" not in service.names
    assert "b" in service.names
