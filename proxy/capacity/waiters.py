"""The entries of the queue: waiting calls, and the resources that they wait for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from proxy.capacity.store import Wait
from proxy.core.errors import ProxyError

Resource = Hashable  # what calls wait for, for example a route key

COUNTERS = 1024  # notification counters; resources that share one cause each other a useless attempt now and then


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One caller's share of the queue, for `/admin/queues`."""

    caller: str
    waiting: int
    oldest_seconds: float


class Waiter:
    """A waiting call. `turn` is set whenever the call has to act."""

    __slots__ = (
        "behind",
        "caller",
        "counters",
        "due",
        "predicted",
        "error",
        "resources",
        "seen",
        "since",
        "size",
        "turn",
        "until",
        "wait",
    )

    def __init__(self, caller: str, size: int, since: float, until: float) -> None:
        self.caller = caller
        self.size = size
        self.resources: frozenset[Resource] = frozenset()  # any of which can serve the call
        self.counters: list[int] = []  # the notification counters of `resources`
        self.since = since
        self.until = until
        self.due = 0.0  # when to attempt again, as the last attempt predicted
        self.wait = Wait(0.0)  # the prediction of the last attempt
        self.seen = -1  # the newest notification when the last attempt began
        self.behind = False  # whether the last attempt skipped resources that earlier waiters wait for
        self.predicted: Callable[[float], None] | None = None  # receives the predicted wait in seconds
        self.error: ProxyError | None = None  # why the call was rejected
        self.turn = asyncio.Event()

    def wait_for(self, resources: frozenset[Resource]) -> None:
        """Set the resources, any of which can serve the call."""
        self.resources = resources
        self.counters = [counter(resource) for resource in resources]


class Demand:
    """The resources in demand, with the number of callers that wait for each."""

    def __init__(self) -> None:
        self._callers: dict[Resource, Counter[str]] = {}  # resource -> caller -> number of its waiting calls

    def __contains__(self, resource: Resource) -> bool:
        return resource in self._callers

    def __len__(self) -> int:
        return len(self._callers)

    def callers(self, resource: Resource) -> int:
        """Return the number of callers with a call that waits for `resource`."""
        return len(self._callers[resource])

    def add(self, waiter: Waiter) -> None:
        """Add the resources of `waiter`."""
        for resource in waiter.resources:
            self._callers.setdefault(resource, Counter())[waiter.caller] += 1

    def remove(self, waiter: Waiter) -> None:
        """Remove the resources of `waiter`."""
        for resource in waiter.resources:
            callers = self._callers[resource]
            callers[waiter.caller] -= 1
            if not callers[waiter.caller]:
                del callers[waiter.caller]
            if not callers:
                del self._callers[resource]


def counter(resource: Resource) -> int:
    """Return the number of the resource's notification counter."""
    return hash(resource) % COUNTERS
