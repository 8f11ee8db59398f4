"""The state of limits: in this process, or shared by all replicas in Redis (`state` in `docs/configuration.md`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.capacity.budget_memory import MemoryBudgets
from proxy.capacity.budget_store import BudgetStore
from proxy.capacity.memory import MemoryCounters
from proxy.capacity.store import CounterStore
from proxy.core.background import BackgroundService
from proxy.core.clock import Clock

if TYPE_CHECKING:  # a process that shares no state does not import them
    from proxy.capacity.redis.client import StateClient
    from proxy.capacity.redis.counters import RedisCounters

MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class State:
    """The stores in use, and what serves it. In memory there is neither client nor service."""

    counters: CounterStore
    budgets: BudgetStore
    memory: MemoryCounters | None = None  # what the state file saves
    client: StateClient | None = None
    redis: RedisCounters | None = None

    @property
    def services(self) -> tuple[BackgroundService, ...]:
        """The background work."""
        return (self.client, self.redis) if self.client and self.redis else ()

    def is_degraded(self) -> bool:
        """Return whether a shared state is unavailable, so that each process counts by itself."""
        return self.client is not None and not self.client.available

    async def start(self) -> None:
        """Connect, before the first call."""
        if self.client:
            await self.client.start()

    def on_freed(self, notify: Callable[[], None]) -> None:
        """Let `notify` be called, while calls wait, when other replicas may have freed capacity."""
        if self.redis:
            self.redis.on_freed.append(notify)

    def on_recovery(self, notify: Callable[[], None]) -> None:
        """Let `notify` be called whenever a shared state is available again."""
        if self.client:
            self.client.on_recovery.append(notify)


def build_state(url: str, clock: Clock, *, fail_open: bool) -> State:
    """Build the state for the setting `state`. Raises `ValueError` if it is not valid, without its text."""
    if url == MEMORY:
        memory = MemoryCounters(clock)
        return State(memory, MemoryBudgets(clock), memory)
    from proxy.capacity.redis.budgets import RedisBudgets
    from proxy.capacity.redis.client import StateClient
    from proxy.capacity.redis.counters import RedisCounters
    from proxy.capacity.redis.fallback import FallbackCounters

    client = StateClient(url, clock, policy="open" if fail_open else "closed")
    counters = RedisCounters(client, clock)
    return State(
        FallbackCounters(client, counters, MemoryCounters(clock)) if fail_open else counters,
        RedisBudgets(client),
        client=client,
        redis=counters,
    )
