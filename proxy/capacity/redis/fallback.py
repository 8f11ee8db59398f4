"""Limits while Redis is unavailable: with `dependencies.state.fail: open`, each process counts by itself."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.capacity.redis.client import StateClient
from proxy.capacity.redis.counters import RedisCounters
from proxy.capacity.store import Charge, CounterKey, CounterStore, Reservation, Row, Wait
from proxy.core.errors import StateUnavailable


class FallbackCounters:
    """A `CounterStore`: the shared one while Redis is available, else the `local` one, which starts empty."""

    shared = True

    def __init__(self, client: StateClient, counters: RedisCounters, local: CounterStore) -> None:
        self._client = client
        self._counters = counters
        self._local = local

    async def reserve(self, charges: Sequence[Charge]) -> Reservation | Wait:
        """Reserve in Redis, or locally if it is unavailable."""
        if self._client.available:
            try:
                return await self._counters.reserve(charges)
            except StateUnavailable:
                pass
        return await self._local.reserve(charges)

    def fits_at_once(self, charges: Sequence[Charge]) -> bool:
        """Return `False`, as every shared store does."""
        return False

    def reserve_at_once(self, charges: Sequence[Charge]) -> Reservation | None:
        """Return `None`, as every shared store does."""
        return None

    def settle(self, reservation: Reservation, amount: int | None) -> None:
        """Settle where it was reserved; for Redis that is kept until it is available."""
        if self._counters.holds(reservation):
            self._counters.settle(reservation, amount)
        else:
            self._local.settle(reservation, amount)

    def release(self, reservation: Reservation) -> None:
        """Release where it was reserved; for Redis that is kept until it is available."""
        if self._counters.holds(reservation):
            self._counters.release(reservation)
        else:
            self._local.release(reservation)

    async def wait(self, charges: Sequence[Charge]) -> float:
        """Return the wait in Redis, or the local one if it is unavailable."""
        if self._client.available:
            try:
                return await self._counters.wait(charges)
            except StateUnavailable:
                pass
        return await self._local.wait(charges)

    def start_cooldown(self, counter: CounterKey, seconds: float) -> None:
        """Start a cooldown in both, so that it holds when Redis fails."""
        self._counters.start_cooldown(counter, seconds)
        self._local.start_cooldown(counter, seconds)

    def end_cooldown(self, counter: CounterKey) -> None:
        """End a cooldown in both."""
        self._counters.end_cooldown(counter)
        self._local.end_cooldown(counter)

    async def read(self) -> Sequence[Row]:
        """Return the rows of Redis, or the local ones if it is unavailable."""
        if self._client.available:
            try:
                return await self._counters.read()
            except StateUnavailable:
                pass
        return await self._local.read()
