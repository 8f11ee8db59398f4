"""Definitions of agents that the admin API receives: the settings of `agents.*` in the file."""

from collections.abc import Mapping
from typing import Any

from proxy.config.check.validate import validate
from proxy.config.settings.agents import AgentSettings
from proxy.config.settings.describe import shape_of
from proxy.config.settings.schema import Settings

FIELDS = tuple(AgentSettings.model_fields)


class AgentError(ValueError):
    """A definition is invalid; `field` is a dotted path."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def read_definition(id: str, fields: Mapping[str, Any]) -> AgentSettings:
    """Read a definition. Raises `AgentError` with the first problem."""
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        raise AgentError(unknown[0], f"there is no such field; the fields are {', '.join(f'`{n}`' for n in FIELDS)}")
    settings, findings = validate({"agents": {id: dict(fields)}}, shape_of(Settings))
    if settings is None or findings:
        path = [str(part) for part in findings[0].shown_path[2:]]
        raise AgentError(".".join(path) or "id", findings[0].message)
    return settings.agents[id]
