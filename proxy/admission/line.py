"""The entries of the queue: waiting calls, and the resources that they wait for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from proxy.core.errors import ProxyError
from proxy.stores.base import Wait

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
        "refusal",
        "resources",
        "said",
        "seen",
        "since",
        "size",
        "turn",
        "until",
    )

    def __init__(self, caller: str, size: int, since: float, until: float) -> None:
        self.caller = caller
        self.size = size
        self.resources: frozenset[str] = frozenset()  # any of which can serve the call
        self.counters: list[int] = []  # the notification counters of `resources`
        self.since = since
        self.until = until
        self.due = 0.0  # when to attempt again, as the last attempt predicted
        self.said = Wait(0.0, "")  # the prediction of the last attempt
        self.seen = -1  # the newest notification when the last attempt began
        self.behind = False  # whether the last attempt skipped resources that earlier waiters wait for
        self.predicted: Callable[[float], None] | None = None  # receives the predicted wait in seconds
        self.refusal: ProxyError | None = None
        self.turn = asyncio.Event()

    def name(self, resources: frozenset[str]) -> None:
        """Set the resources, any of which can serve the call."""
        self.resources = resources
        self.counters = [counter(name) for name in resources]


class Wanted:
    """The resources in demand, with the number of callers that wait for each."""

    def __init__(self) -> None:
        self._callers: dict[str, Counter[str]] = {}  # resource -> caller -> number of its waiting calls

    def __contains__(self, resource: str) -> bool:
        return resource in self._callers

    def __len__(self) -> int:
        return len(self._callers)

    def callers(self, resource: str) -> int:
        """Return the number of callers with a call that waits for `resource`."""
        return len(self._callers[resource])

    def add(self, waiter: Waiter) -> None:
        """Add the resources of `waiter`."""
        for name in waiter.resources:
            self._callers.setdefault(name, Counter())[waiter.caller] += 1

    def remove(self, waiter: Waiter) -> None:
        """Remove the resources of `waiter`."""
        for name in waiter.resources:
            callers = self._callers[name]
            callers[waiter.caller] -= 1
            if not callers[waiter.caller]:
                del callers[waiter.caller]
            if not callers:
                del self._callers[name]


def counter(resource: str) -> int:
    """Return the number of the resource's notification counter."""
    return hash(resource) % COUNTERS
