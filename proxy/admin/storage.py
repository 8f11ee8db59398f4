"""What the admin endpoints need of the store: accounts, the ledger, the audit log and overrides of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from proxy.core.agents import Agent, StoredAgent
from proxy.core.errors import InvalidRequest
from proxy.store.accounts import Accounts
from proxy.store.agents import AgentStore
from proxy.store.audit_log import AuditLog
from proxy.store.ledger import LedgerStore

if TYPE_CHECKING:  # it imports pydantic
    from proxy.admin.keys import Issue


class ModelOverrides(Protocol):
    """The overrides of models in force (`proxy/overrides.py`)."""

    async def refresh(self) -> None:
        """Read the store, and activate what has changed."""
        ...

    def rows(self) -> Sequence[dict[str, Any]]:
        """Return all models."""
        ...

    def row(self, id: str) -> dict[str, Any]:
        """Return one model. Raises `NotFound`."""
        ...

    async def create(self, id: str, fields: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """Override a model of the file, or add one, and return it."""
        ...

    async def change(self, id: str, fields: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """Override more fields of a model, and return it."""
        ...

    async def delete(self, id: str, actor: str) -> None:
        """End the override of a model."""
        ...


class KnownAgents(Protocol):
    """The stored agents in force (`proxy/agents.py`)."""

    @property
    def stored(self) -> Mapping[str, StoredAgent]:
        """The agents by id."""
        ...

    @property
    def file(self) -> Mapping[str, Agent]:
        """The agents of the configuration file by id."""
        ...

    async def refresh(self) -> None:
        """Read the store, and activate what has changed."""
        ...

    def read(self, id: str, fields: Mapping[str, Any]) -> Agent:
        """Read a definition. Raises `InvalidRequest`."""
        ...


@dataclass(frozen=True, slots=True)
class AgentParts:
    """The agents of the store, and of the file."""

    store: AgentStore
    known: KnownAgents


@dataclass(frozen=True, slots=True)
class Storage:
    """The parts of the store, and what belongs to them."""

    accounts: Accounts
    ledger: LedgerStore
    audit: AuditLog
    overrides: ModelOverrides
    agents: AgentParts
    now: Callable[[], float]  # seconds since 1970
    issue: Issue | None  # makes a key; without a pepper there is none
    forget: Callable[[], None]  # drops cached keys and users, after a change
    counts_shared: bool = True  # False: several processes, each of which counts budgets for itself


def stored(storage: Storage | None) -> Storage:
    """Return the store. Raises `InvalidRequest` if none is configured."""
    if storage is None:
        raise InvalidRequest("No store is configured (`store: none`); set `store` to `sqlite` or `postgresql://...`.")
    return storage
