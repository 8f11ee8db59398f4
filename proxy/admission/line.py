"""Who stands in line, and for what."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from proxy.core.errors import ProxyError
from proxy.stores.base import Wait

COUNTERS = 1024  # of news; resources that share one by chance cost each other an attempt in vain now and then


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One caller's share of the queue, for `/admin/queues`."""

    caller: str
    waiting: int
    oldest_seconds: float


class Waiter:
    """One who waits. `turn` is set whenever there is something to do for it."""

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
        self.resources: frozenset[str] = frozenset()  # what could serve it
        self.counters: list[int] = []  # of news of that
        self.since = since
        self.until = until
        self.due = 0.0  # when to try (again): as its last attempt predicted
        self.said = Wait(0.0, "")  # that prediction
        self.seen = -1  # the newest news when its last attempt began
        self.behind = False  # whether that left out what others before it wait for
        self.predicted: Callable[[float], None] | None = None  # to be told, or refused, in the first round
        self.refusal: ProxyError | None = None
        self.turn = asyncio.Event()

    def name(self, resources: frozenset[str]) -> None:
        """Say what could serve it."""
        self.resources = resources
        self.counters = [counter(name) for name in resources]


class Wanted:
    """What is waited for, and by how many callers."""

    def __init__(self) -> None:
        self._callers: dict[str, Counter[str]] = {}  # resource -> callers, with how many of their calls wait for it

    def __contains__(self, resource: str) -> bool:
        return resource in self._callers

    def __len__(self) -> int:
        return len(self._callers)

    def callers(self, resource: str) -> int:
        """How many have a call that waits for it."""
        return len(self._callers[resource])

    def add(self, waiter: Waiter) -> None:
        """It waits from now on."""
        for name in waiter.resources:
            self._callers.setdefault(name, Counter())[waiter.caller] += 1

    def remove(self, waiter: Waiter) -> None:
        """It waits no more."""
        for name in waiter.resources:
            callers = self._callers[name]
            callers[waiter.caller] -= 1
            if not callers[waiter.caller]:
                del callers[waiter.caller]
            if not callers:
                del self._callers[name]


def counter(resource: str) -> int:
    """The number of the counter of its news."""
    return hash(resource) % COUNTERS
