"""The counter store over a real Redis, in which time passes only as a test's clock does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from proxy.capacity.redis.client import Script, StateClient, state_key
from proxy.capacity.redis.connection import Argument
from proxy.capacity.redis.counters import RENEW_SECONDS, RedisCounters
from proxy.core.clock import SystemClock
from tests.support.fakes import FakeClock

PATIENCE = 30.0  # seconds for an answer: on a busy machine, Redis is not unavailable after a fraction of a second
CLOCK_KEY = state_key("test-clock")
TEST_TIME = f"local now = tonumber(redis.call('GET', '{CLOCK_KEY}'))"
_SET_CLOCK = Script("redis.call('SET', KEYS[1], ARGV[1])")


class TimedClient(StateClient):
    """A client that sets the time of Redis to that of `clock` before each script, and renews leases on the way."""

    def __init__(self, url: str, clock: FakeClock) -> None:
        super().__init__(url, SystemClock())
        self.answer_seconds = self.slow_seconds = PATIENCE
        self.renew: Callable[[], None] = lambda: None
        self._test_clock = clock
        self._set = self._renewed = 0.0  # times of `clock`
        self._setting = False

    async def call(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Argument] = (),
        on_abandoned: Callable[[Any], None] | None = None,
    ) -> Any:
        self._set_time()
        return await super().call(script, keys, arguments, on_abandoned)

    def post(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument] = (), *, repeat: bool = False
    ) -> None:
        self._set_time()
        super().post(script, keys, arguments, repeat=repeat)

    def _set_time(self) -> None:
        now = self._test_clock.now
        if self._setting:  # this is a renewal on the way
            return
        self._setting = True
        while self._set != now:
            self._set = min(self._renewed + RENEW_SECONDS, now) if self._set else now
            super().post(_SET_CLOCK, [CLOCK_KEY], [round(self._set * 1_000_000)])
            if self._set - self._renewed >= RENEW_SECONDS:
                self._renewed = self._set
                self.renew()
        self._setting = False


@asynccontextmanager
async def redis_counters(
    url: str, clock: FakeClock, *, own_clock: FakeClock | None = None
) -> AsyncIterator[RedisCounters]:
    """Yield a store of one process; its leases are renewed as time passes. `own_clock` is that of the process."""
    client = TimedClient(url, clock)
    store = RedisCounters(client, own_clock or clock, time=TEST_TIME)
    client.renew = store.renew
    async with connected(client):
        yield store


@asynccontextmanager
async def connected(client: StateClient) -> AsyncIterator[None]:
    """Connect a client, and serve its commands."""
    await client.start()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.run())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()
