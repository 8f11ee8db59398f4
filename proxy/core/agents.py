"""Agents: stored presets of instructions, model, tools and parameters, and their use by a call (`docs/agents.md`).

A snapshot maps names to agents: `support`, `support@production`, `support@latest` and `support@3`. `Agents` are made of
entries, each of which is one agent with its versions and labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from proxy.core.errors import InvalidRequest, ModelNotFound
from proxy.core.model import EMPTY

if TYPE_CHECKING:
    from proxy.core.principal import Principal

PREFIX = "agent/"
PRODUCTION = "production"  # the label that a name without one stands for
LATEST = "latest"  # stands for the newest version, and cannot be moved

_VARIABLE = re.compile(r"\{\{[ \t]{0,32}([A-Za-z_][A-Za-z0-9_.-]{0,63})[ \t]{0,32}\}\}")


class Agent(Struct, frozen=True, gc=False):
    """One version of an agent. `params` are parameters of a chat completion, `tools` the tools of one."""

    id: str
    version: str
    model: str  # a model, an alias or a route, but no agent
    instructions: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    params: Mapping[str, Any] = EMPTY
    variables: Mapping[str, str | None] = EMPTY  # the default of each; `None`: the caller must give a value
    description: str = ""

    @property
    def name(self) -> str:
        """The name of the route: `agent/support`."""
        return PREFIX + self.id


class StoredVersion(Struct, frozen=True):
    """A version in the store; it never changes. `fields` are the members of `agents.*` in the file."""

    version: int
    fields: Mapping[str, Any]
    created_at: int  # microseconds since 1970
    created_by: str


class StoredAgent(Struct, frozen=True):
    """An agent in the store, with its newest version and those that have a label."""

    id: str
    revision: int  # raised by every change
    latest: int
    labels: Mapping[str, int]
    versions: Mapping[int, StoredVersion]
    created_at: int  # microseconds since 1970
    updated_at: int


Agents = Mapping[str, Agent]  # by name without `agent/`


class AgentUse(Struct, frozen=True, gc=False):
    """The use of an agent by a call."""

    agent: Agent
    own_model: bool = False  # the request names another model, which has priority
    problem: InvalidRequest | None = None  # of the variables; raised when the caller is known to be allowed the agent


class UnknownAgent(ModelNotFound):
    """There is no agent, version or label of that name in the snapshot. The store may have it."""

    def __init__(self, name: str, param: str) -> None:
        super().__init__("There is no such agent; `GET /v1/models` lists the usable names.", param=param)
        self.name = name  # as the client wrote it, with `agent/`


class AgentFinder(Protocol):
    """Looks for agents that a snapshot does not have (`proxy/agents.py`)."""

    async def find(self, unknown: UnknownAgent, principal: Principal) -> None:
        """Add the agent to the snapshot in force. Raises `ModelNotFound` if there is none."""
        ...


class NoAgents:
    """There are no agents but those of the snapshot."""

    async def find(self, unknown: UnknownAgent, principal: Principal) -> None:
        """Raise the error."""
        raise unknown


def agent_name(aliases: Mapping[str, str], model: str) -> str | None:
    """Return the name with `agent/` if `model` is one, or an alias of one."""
    name = aliases.get(model, model)
    return name if name.startswith(PREFIX) else None


def find_agent(agents: Agents, name: str, param: str = "model") -> Agent:
    """Return the agent of a name with `agent/`. Raises `UnknownAgent`."""
    agent = agents.get(name.removeprefix(PREFIX))
    if agent is None:
        raise UnknownAgent(name, param)
    return agent


def by_name(versions: Iterable[Agent], labels: Mapping[str, str]) -> dict[str, Agent]:
    """Return the names of one agent. `labels` maps labels to versions; those without a version are ignored."""
    names = {f"{agent.id}@{agent.version}": agent for agent in versions}
    for agent in list(names.values()):
        for label, version in labels.items():
            if version == agent.version:
                names[f"{agent.id}@{label}"] = agent
                if label == PRODUCTION:
                    names[agent.id] = agent
    return names


def variables_in(text: str) -> list[str]:
    """Return the names of the variables in instructions, each once."""
    return list(dict.fromkeys(_VARIABLE.findall(text)))


def filled(agent: Agent, values: Mapping[str, str], param: str) -> tuple[str, InvalidRequest | None]:
    """Return the instructions with the values of their variables, and what is wrong with the values.

    `param` is the parameter that has the values. A value is inserted as it is: variables in it are not replaced.
    """
    used = variables_in(agent.instructions)
    known = {**dict.fromkeys(used), **agent.variables}
    if unknown := [name for name in values if name not in known]:
        where = f"{param}.{unknown[0][:64]}"
        return "", InvalidRequest(f"`{where}`: `{agent.name}` has no such variable; remove it.", param=where)
    texts = {name: values.get(name, default) for name, default in known.items()}
    if missing := [name for name in known if texts[name] is None]:
        named = ", ".join(f"`{name}`" for name in missing)
        where = f"{param}.{missing[0]}"
        return "", InvalidRequest(f"`{agent.name}` needs a value of {named}; set it in `{param}`.", param=where)
    return _VARIABLE.sub(lambda match: texts[match[1]] or "", agent.instructions), None
