"""What `auto` knows, shared by two replicas through a real Redis."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from msgspec import msgpack

from proxy.capacity.redis.client import StateClient
from proxy.core.clock import SystemClock
from proxy.core.errors import StateUnavailable
from proxy.core.plan import CostSample, Warm
from proxy.core.policies import CostTarget
from proxy.routing.calibrate import EVEN_SCORES, EVERY, Calibration, Calibrator
from proxy.shared_routing import BATCH, MOST, Decision, News, SharedRouting
from proxy.upstream.warm import KEPT_SECONDS, WarmPrompts
from tests.support.redis_counters import connected
from tests.support.redis_server import RedisServer
from tests.support.redis_server import redis as redis
from tests.support.redis_server import shared_redis as shared_redis
from tests.unit.upstream.test_warm import OPENAI, answered

pytestmark = pytest.mark.anyio

TARGET = CostTarget(0.5)
WARM = Warm(OPENAI.name, 2010)


class Later(SystemClock):
    """A clock that can be moved on."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@dataclass
class Replica:
    """The knowledge of one replica; `shared.exchange` is called by the test."""

    clock: Later
    client: StateClient
    warm: WarmPrompts
    calibrator: Calibrator
    shared: SharedRouting

    def decide(self, score: float, times: int) -> None:
        for _ in range(times):
            strong = self.calibration().needs_strong(score)
            self.calibrator.note(CostSample(score, strong))

    def calibration(self) -> Calibration:
        return self.calibrator.current(TARGET, "rules", EVEN_SCORES)


@asynccontextmanager
async def replica(url: str) -> AsyncIterator[Replica]:
    clock = Later()
    client, warm, calibrator = StateClient(url, clock), WarmPrompts(clock), Calibrator()
    shared = SharedRouting(client, warm, calibrator, clock)
    async with connected(client):
        yield Replica(clock, client, warm, calibrator, shared)


@pytest.fixture
async def pair(redis: RedisServer) -> AsyncIterator[tuple[Replica, Replica]]:
    async with replica(redis.url) as one, replica(redis.url) as two:
        yield one, two


async def exchange(*replicas: Replica) -> None:
    for each in replicas:
        await each.shared.exchange()


async def test_a_conversation_is_warm_in_all_replicas_until_it_gets_cold(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.warm.note(answered(input=2000, output=10))
    await exchange(one, two)

    assert one.warm.find(b"c") == two.warm.find(b"c") == WARM
    two.clock.ahead = KEPT_SECONDS + 1
    assert two.warm.find(b"c") is None


async def test_decisions_of_others_move_the_threshold(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.calibration()
    before = two.calibration()
    one.decide(0.9, 100)

    await exchange(one, two)

    assert before.threshold < two.calibration().threshold == 0.9
    assert (before.realised, two.calibration().version) == (None, 1)
    assert two.calibration().realised == one.calibration().realised


async def test_what_others_have_missed_is_not_made_up_again(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.calibration(), two.calibration()
    for _ in range(EVERY):
        one.calibrator.note(CostSample(0.1, strong=True))  # other models were unavailable

    await exchange(one, two)

    scores = [0.02 * step for step in range(51)]
    strong = [sum(each.calibration().needs_strong(score) for score in scores) for each in pair]
    assert strong[0] < strong[1]


async def test_a_new_replica_reads_the_log_before_its_first_decision(redis: RedisServer) -> None:
    async with replica(redis.url) as one:
        one.warm.note(answered(input=2000, output=10))
        one.calibration()
        for _ in range(BATCH + 2):
            one.decide(0.9, EVERY)
            await exchange(one)
    async with replica(redis.url) as two:
        await exchange(two)

        assert two.warm.find(b"c") == WARM
        assert two.calibration().threshold == 0.9
        assert two.calibrator.current(CostTarget(0.4), "rules", EVEN_SCORES).realised is None


async def test_an_entry_has_a_bounded_size(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    for number in range(MOST + 1):
        one.warm.note(answered(b"%d" % number))

    await exchange(one, two)

    assert two.warm.find(b"0") is None
    assert two.warm.find(b"1") == two.warm.find(b"%d" % MOST) == Warm(OPENAI.name, 0)


@pytest.mark.parametrize("entry", ["of another version", b"\x81\xa7process\xa1\xff", b""])
async def test_entries_that_cannot_be_read_are_skipped(
    redis: RedisServer, pair: tuple[Replica, Replica], entry: str | bytes
) -> None:
    one, two = pair
    redis.command("XADD", "{signalbox}:routing", "*", "news", entry)
    one.warm.note(answered(input=2000, output=10))

    await exchange(one, two)

    assert two.warm.find(b"c") == WARM


@pytest.mark.parametrize(
    "sample",
    [
        CostSample(math.nan, strong=True),
        CostSample(math.inf, strong=True),
        CostSample(0.5, strong=True, strong_nusd=-1, nusd=1),
    ],
)
async def test_decisions_without_a_meaning_do_not_count(
    redis: RedisServer, pair: tuple[Replica, Replica], sample: CostSample
) -> None:
    one, _ = pair
    before = one.calibration()
    news = News("another", decisions=[Decision(TARGET, "rules", sample)] * EVERY)
    redis.command("XADD", "{signalbox}:routing", "*", "news", msgpack.encode(news))

    await exchange(one)

    assert one.calibration() == before


async def test_without_redis_each_replica_keeps_its_own(redis: RedisServer, pair: tuple[Replica, Replica]) -> None:
    one, _ = pair
    redis.stop()
    one.warm.note(answered(input=2000, output=10))
    one.decide(0.9, 100)

    with pytest.raises(StateUnavailable):
        await exchange(one)

    assert one.warm.find(b"c") == WARM
    assert one.calibration().threshold == 0.9
