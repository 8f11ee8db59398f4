"""What every module of an admin endpoint uses, and what it provides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.routing import Route

from proxy.capacity.limits import Limits
from proxy.capacity.queue import FairQueue
from proxy.core.snapshot import Live
from proxy.upstream.health import Health
from proxy.upstream.simulate import Simulator

Answer = Callable[[str], Awaitable[str]]
Ask = Callable[[str, str], Awaitable[list[str]]]


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


class Endpoint(Protocol):
    """The endpoints of one module; the guard in front of them has checked the admin token."""

    @property
    def routes(self) -> Sequence[Route]:
        """The routes, with paths that follow `/admin`."""
        ...

    @property
    def answers(self) -> Mapping[str, Answer]:
        """By topic: what this worker does when another one asks."""
        ...
