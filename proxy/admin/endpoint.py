"""What every module of an admin endpoint uses, and what it provides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proxy.admin.storage import Storage
from proxy.admission.permissions import PermittedRoute
from proxy.capacity.budgets import BudgetRow
from proxy.capacity.limits import Limits
from proxy.capacity.queue import FairQueue
from proxy.core.budgets import BudgetRule
from proxy.core.errors import NotAllowed
from proxy.core.principal import Role
from proxy.core.snapshot import Live
from proxy.learning.service import Learning
from proxy.upstream.health import Health
from proxy.upstream.own_key_service import OwnKeyService
from proxy.upstream.simulate import Simulator


class ReadBudgets(Protocol):
    """The state of budgets (`proxy/capacity/budgets.py`)."""

    async def read(self, found: Iterable[BudgetRule]) -> list[BudgetRow]:
        """Return the state of these budgets in their current windows."""
        ...


Answer = Callable[[str], Awaitable[str]]
Ask = Callable[[str, str], Awaitable[list[str]]]
Handle = Callable[[Request], Awaitable[Response]]

ROLE = "signalbox.role"  # the key of the role in the scope of a request that the guard admitted


@dataclass(frozen=True, slots=True)
class Context:
    """The components that the endpoints show and change."""

    live: Live
    health: Health
    limits: Limits
    queue: FairQueue
    simulator: Simulator
    config: Callable[[], dict[str, Any]]  # the settings in effect, without secrets
    read: Callable[[Request], Awaitable[bytes]]  # reads a request's body
    ask: Ask  # returns the answers of the other workers to a topic and a body
    own_keys: OwnKeyService  # users' own provider keys
    learning: Learning
    storage: Storage | None = None  # with `store: none` there is none
    budgets: ReadBudgets | None = None


class AdminRoute(PermittedRoute):
    """A route of the admin API: an auditor may use those that only read. Its `path` follows `/admin`."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises `NotAllowed` for a role without the declared permission."""
        role: Role = scope.get(ROLE, "member")
        if role != "admin" and not (role == "auditor" and self.permission == "admin:read"):
            raise NotAllowed(f"The role `{role}` may not use this endpoint.", code="insufficient_permissions")
        await super().handle(scope, receive, send)


def reads(path: str, handle: Handle) -> AdminRoute:
    """Return the route of `GET path`."""
    return AdminRoute(path, handle, permission="admin:read")


def writes(method: str, path: str, handle: Handle) -> AdminRoute:
    """Return a route that changes something."""
    return AdminRoute(path, handle, permission="admin:write", methods=[method])


class Endpoint(Protocol):
    """The endpoints of one module; the guard in front of them has identified the caller."""

    @property
    def routes(self) -> Sequence[AdminRoute]:
        """The routes, each with its permission."""
        ...

    @property
    def answers(self) -> Mapping[str, Answer]:
        """By topic: what this worker does when another one asks."""
        ...
