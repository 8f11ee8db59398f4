"""Stored agents: definitions that the admin API changed, kept in the store and added to those of the file.

Every process reads them from the store every few seconds, and looks an unknown one up at once, so that a change reaches
all replicas. The file has priority: a stored agent with the id of one in the file is not used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from proxy.core.agents import LATEST, PREFIX, Agent, StoredAgent, StoredVersion, UnknownAgent, by_name
from proxy.core.clock import Clock
from proxy.core.errors import InvalidRequest, Unavailable
from proxy.core.principal import Principal
from proxy.following import Follower
from proxy.reload import Configuration, Reloader
from proxy.routing.permitted import unknown_for
from proxy.store.errors import StoreError

BATCH = 200  # agents that are loaded at once
MAX_PINNED = 256  # earlier versions that clients have named, and that are kept

_LOG = logging.getLogger(__name__)


class AgentStore(Protocol):
    """Where agents are kept (`proxy/store/agents.py`)."""

    async def revisions(self) -> dict[str, int]:
        """Return the revision of each agent."""
        ...

    async def load(self, ids: Collection[str]) -> dict[str, StoredAgent]:
        """Return agents with the newest version and those that have a label."""
        ...

    async def version(self, id: str, version: int) -> StoredVersion | None:
        """Return one version of an agent."""
        ...


class StoredAgents(Follower):
    """The stored agents in force in this process. Without a store there are none."""

    def __init__(self, store: AgentStore | None, live: Configuration, reloader: Reloader, clock: Clock) -> None:
        super().__init__(clock)
        self.stored: dict[str, StoredAgent] = {}
        self._store = store
        self._live = live
        self._reloader = reloader
        self._names: dict[str, dict[str, Agent]] = {}  # by id
        self._pinned: dict[str, Agent] = {}  # earlier versions, by name
        self._lock = asyncio.Lock()
        self._begun = 0  # refreshes that have begun
        self._read = 0  # the newest refresh that has succeeded

    @property
    def file(self) -> dict[str, Agent]:
        """The agents of the configuration file by id."""
        return {agent.id: agent for agent in self._live.loaded.snapshot.agents.values()}

    def read(self, id: str, fields: Mapping[str, Any]) -> Agent:
        """Read a definition. Raises `InvalidRequest`."""
        return read_agent(id, fields)

    async def refresh(self) -> None:
        """Read the store, and activate what has changed. Calls at the same time share one look into the store."""
        before = self._begun
        async with self._lock:
            if self._store is None or self._read > before:  # a refresh that began after this call
                return
            self._begun += 1
            await self._refresh(self._store)
            self._read = self._begun

    async def find(self, unknown: UnknownAgent, principal: Principal) -> None:
        """Look an agent, a version or a label up in the store, and activate it.

        Raises `ModelNotFound` if there is none, and `Unavailable` while the store does not answer.
        """
        name = unknown.name.removeprefix(PREFIX)
        try:
            await self.refresh()
            if name not in self._live.snapshot.agents:
                await self._pin(name)
        except StoreError as exc:
            message = "The store does not answer now, so the agent is not known; try again shortly."
            raise Unavailable(message, code="store_unavailable", retry_after=1.0) from exc
        if name not in self._live.snapshot.agents:
            param = unknown.param or "model"
            raise unknown_for(self._live.snapshot, unknown.name, principal, param) from None

    async def _refresh(self, store: AgentStore) -> None:
        revisions = await store.revisions()
        known = {id: agent.revision for id, agent in self.stored.items()}
        if revisions == known:
            return
        changed = sorted(id for id, revision in revisions.items() if known.get(id) != revision)
        for at in range(0, len(changed), BATCH):
            self._take(await store.load(changed[at : at + BATCH]))
        for id in self.stored.keys() - revisions.keys():
            self._forget(id)
        self._activate()

    def _take(self, loaded: Mapping[str, StoredAgent]) -> None:
        for id, agent in loaded.items():
            versions = [_compiled(id, version) for version in agent.versions.values()]
            labels = {label: str(version) for label, version in agent.labels.items()}
            self.stored[id] = agent
            self._names[id] = by_name(filter(None, versions), labels | {LATEST: str(agent.latest)})

    def _forget(self, id: str) -> None:
        del self.stored[id], self._names[id]
        for name in [name for name, agent in self._pinned.items() if agent.id == id]:
            del self._pinned[name]

    async def _pin(self, name: str) -> None:
        """Load an earlier version that a client names, and keep it for some time."""
        id, _, number = name.partition("@")
        agent = self.stored.get(id)
        if self._store is None or agent is None or not (number.isascii() and number.isdigit() and len(number) < 9):
            return
        if number != str(int(number)) or not 0 < int(number) < agent.latest:
            return
        version = await self._store.version(id, int(number))
        if version is not None and (compiled := _compiled(id, version)) is not None:
            self._pinned[name] = compiled
            while len(self._pinned) > MAX_PINNED:
                del self._pinned[next(iter(self._pinned))]
            self._activate()

    def _activate(self) -> None:
        names = dict(self._pinned)
        for each in self._names.values():
            names |= each
        self._reloader.use_agents(names)

    def warn(self, error: str) -> None:
        """Log that the store cannot be read."""
        _LOG.warning(
            "agents cannot be read from the store; keeping the previous ones", extra={"fields": {"error": error}}
        )


def read_agent(id: str, fields: Mapping[str, Any]) -> Agent:
    """Read a definition. Raises `InvalidRequest`."""
    from proxy.config.agents import AgentError, read_definition  # pydantic
    from proxy.config.compile.agents import compile_agent

    try:
        return compile_agent(id, "", read_definition(id, fields))
    except AgentError as exc:
        message = f"`{exc.field}`: {exc}"
        raise InvalidRequest(message if message.endswith("?") else f"{message}.", param=exc.field) from None


def _compiled(id: str, version: StoredVersion) -> Agent | None:
    from proxy.config.agents import AgentError, read_definition  # pydantic
    from proxy.config.compile.agents import compile_agent

    try:
        return compile_agent(id, str(version.version), read_definition(id, version.fields))
    except AgentError as exc:  # of another release
        fields = {"agent": id, "version": version.version, "error": str(exc)}
        _LOG.warning("a stored agent cannot be used by this version", extra={"fields": fields})
        return None
