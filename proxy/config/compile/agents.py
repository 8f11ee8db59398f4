"""Compiles the section `agents`, and the definitions of stored agents, which have the same settings."""

import hashlib
from collections.abc import Mapping
from typing import Any

from proxy.config.settings.agents import AgentSettings
from proxy.config.settings.schema import Settings
from proxy.core.agents import LATEST, PRODUCTION, Agent, by_name
from proxy.core.json_text import compact

FILE_VERSION = "file-"  # the prefix of a version that the file defines, before a digest of its content


def compile_agents(settings: Settings) -> dict[str, Agent]:
    """The agents of the file by their names. Each has one version, which is named by its content."""
    names: dict[str, Agent] = {}
    for id, agent in settings.agents.items():
        compiled = compile_agent(id, file_version(agent), agent)
        names |= by_name([compiled], {PRODUCTION: compiled.version, LATEST: compiled.version})
    return names


def compile_agent(id: str, version: str, settings: AgentSettings) -> Agent:
    """One version of an agent."""
    return Agent(
        id,
        version,
        settings.model,
        instructions=settings.instructions,
        tools=tuple(map(_nested, settings.tools)),
        params=settings.params,
        variables=settings.variables,
        description=settings.description,
    )


def file_version(settings: AgentSettings) -> str:
    """The version of an agent in the file: eight hexadecimal digits of its content."""
    return FILE_VERSION + hashlib.sha256(compact(settings.model_dump())).hexdigest()[:8]


def _nested(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A function as chat completions have it; the Responses API has its members beside `type`."""
    if tool["type"] != "function" or "function" in tool:
        return tool
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}
