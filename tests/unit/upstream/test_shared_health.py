"""Breakers and cooldowns that two replicas share through a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from proxy.capacity.limits import Limits
from proxy.capacity.memory import MemoryCounters
from proxy.capacity.redis.client import StateClient
from proxy.core.clock import SystemClock
from proxy.core.errors import StateUnavailable
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import Deployment, ProviderKey
from proxy.core.policies import BreakerPolicy
from proxy.upstream.health import Health
from proxy.upstream.shared_health import SharedHealth
from tests.support.calls import deployment, live, provider
from tests.support.redis_counters import connected
from tests.support.redis_server import RedisServer, redis_server_at
from tests.support.redis_server import redis as redis
from tests.support.redis_server import shared_redis as shared_redis
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

KEYS = (ProviderKey("main", "sk-main"), ProviderKey("spare", "sk-spare"))
MODEL = deployment("m", replace(provider("a"), keys=KEYS))
POLICY = BreakerPolicy(consecutive=1, open=60.0)
ROUTE = MODEL.route("main")


@dataclass
class Replica:
    """The health of one replica; `shared.poll` is called by the test."""

    client: StateClient
    health: Health
    limits: Limits
    shared: SharedHealth
    notified: list[object]

    def fail(self, kind: FailureKind, key_id: str = "main", **fields: float) -> None:
        lease = self.health.lease(MODEL, key_id=key_id)
        assert lease
        lease.fail(UpstreamFailure(kind, "x", **fields))  # type: ignore[arg-type]

    def usable(self) -> list[str]:
        """The keys that a call may use now."""
        return [key.id for key in KEYS if self.health.blocked(MODEL, key.id) is None]

    def open_seconds(self) -> float:
        [row] = self.health.breaker_rows()
        return float(row["open_seconds_left"])


@asynccontextmanager
async def replica(url: str, of: Deployment = MODEL) -> AsyncIterator[Replica]:
    clock = SystemClock()
    client = StateClient(url, clock)
    config = live(of, breaker=POLICY)
    notified: list[object] = []
    health = Health(clock, config, notify=lambda *resources: notified.append(resources))
    limits = Limits(MemoryCounters(clock), clock, config)
    shared = SharedHealth(client, health, limits, config, clock)
    async with connected(client):
        yield Replica(client, health, limits, shared, notified)


@pytest.fixture
async def pair(redis: RedisServer) -> AsyncIterator[tuple[Replica, Replica]]:
    async with replica(redis.url) as one, replica(redis.url) as two:
        yield one, two


async def test_an_open_breaker_is_open_in_other_replicas(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.fail(FailureKind.CONNECT)
    await one.shared.poll()

    await two.shared.poll()

    assert one.usable() == two.usable() == ["spare"]
    assert 50 < two.open_seconds() <= one.open_seconds() + 1
    assert two.notified
    [row] = two.health.breaker_rows()
    assert (row["reason"], row["openings"]) == ("connect", 1)


async def test_a_success_closes_the_breaker_in_other_replicas(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.fail(FailureKind.CONNECT)
    await one.shared.poll()
    await two.shared.poll()
    forced = two.health.lease(MODEL, key_id="main", force=True)
    assert forced
    forced.succeed()
    await two.shared.poll()

    await one.shared.poll()

    assert one.usable() == two.usable() == ["main", "spare"]


async def test_a_reset_closes_the_breaker_in_other_replicas(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.fail(FailureKind.CONNECT)
    one.fail(FailureKind.KEY_REJECTED, "spare")
    await one.shared.poll()
    await two.shared.poll()
    assert two.usable() == []

    two.health.reset()
    await two.shared.poll()
    await one.shared.poll()

    assert one.usable() == two.usable() == ["main", "spare"]
    assert one.health.breaker_rows() == []


async def test_cooldowns_are_shared_for_one_model_and_for_all(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.fail(FailureKind.RATE_LIMITED, "main", retry_after=20.0)
    one.fail(FailureKind.KEY_REJECTED, "spare")
    await one.shared.poll()

    await two.shared.poll()

    assert two.usable() == []
    rows = {row["key"]: row for row in two.health.cooldown_rows()}
    assert (rows["main"]["model"], rows["main"]["reason"]) == ("m", "rate_limited")
    assert 15 < rows["main"]["seconds_left"] <= 21
    assert (rows["spare"]["model"], rows["spare"]["reason"]) == (None, "key_rejected")


async def test_an_exhausted_limit_is_known_to_other_replicas(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"}
    one.limits.learn(MODEL, "main", headers, SystemClock().time())
    await one.shared.poll()
    assert not two.limits.apply_to(MODEL)

    await two.shared.poll()

    assert two.limits.apply_to(MODEL)
    two.limits.reset()
    await two.shared.poll()
    await one.shared.poll()
    assert not one.limits.apply_to(MODEL)


async def test_a_replica_that_starts_later_learns_what_is_open(redis: RedisServer) -> None:
    async with replica(redis.url) as one:
        one.fail(FailureKind.CONNECT)
        await one.shared.poll()

    async with replica(redis.url) as two:
        await two.shared.poll()

        assert two.usable() == ["spare"]


async def test_another_key_of_the_same_id_is_not_blamed(redis: RedisServer) -> None:
    keys = (ProviderKey("main", "sk-replaced"), KEYS[1])
    changed = deployment("m", replace(provider("a"), keys=keys))
    async with replica(redis.url) as one, replica(redis.url, changed) as two:
        one.fail(FailureKind.CONNECT)
        await one.shared.poll()
        await two.shared.poll()

        assert two.usable() == ["main", "spare"]


async def test_no_value_of_a_key_is_written(redis: RedisServer, pair: tuple[Replica, Replica]) -> None:
    pair[0].fail(FailureKind.CONNECT)
    await pair[0].shared.poll()

    written = redis.command("HGETALL", "{signalbox}:health")

    assert "breaker" in written
    assert "sk-main" not in written


async def test_what_is_open_is_published_again_to_an_empty_redis(tmp_path: Path) -> None:
    with redis_server_at(tmp_path) as server:
        async with replica(server.url) as one, replica(server.url) as two:
            one.fail(FailureKind.CONNECT)
            await one.shared.poll()
            server.stop()
            await until(lambda: not one.client.available and not two.client.available)
            with pytest.raises(StateUnavailable):
                await two.shared.poll()
            two.health.breakers.reset(None, None, None)

            server.start()
            await until(lambda: one.client.available and two.client.available)
            await one.shared.poll()
            await two.shared.poll()

            assert two.usable() == ["spare"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110, another process changes it
            await asyncio.sleep(0.005)
