"""Outages at some traffic, in virtual time: what reaches the upstreams, what reaches the clients, and how it ends."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from proxy.core.model import Deployment
from proxy.core.policies import BreakerPolicy, RetryPolicy
from proxy.core.retry_budget import RetryBudget
from tests.support.calls import HELLO, call, plan, retry_budget
from tests.support.clocks import VirtualClock
from tests.support.fakes import Answer, Script, Wait
from tests.unit.upstream.bench import BODY, A, B, Bench, bench, on

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

DOWN = Answer([b'{"error":{"message":"down"}}'], 503, before=[Wait(0.02)])
BROKEN = Answer([b'{"error":{"message":"broken"}}'], 500, before=[Wait(0.02)])
UP = Answer([BODY], before=[Wait(0.02)])
STANDARD = RetryPolicy()


class Traffic:
    """Clients who come at random, some a second, and what they got; by the whole seconds since the start."""

    def __init__(
        self, script: dict[str, Script], *targets: Deployment, retry: RetryPolicy = STANDARD, **options: Any
    ) -> None:
        self.begun: Counter[int] = Counter()
        self.served: Counter[int] = Counter()
        self.received: Counter[int] = Counter()
        self.bench: Bench = bench(script, options.pop("policy", None), clock=VirtualClock(), **options)
        self.targets = targets
        self.start = self.bench.clock.now
        self._call = call(HELLO, on=on(*targets, retry=retry))

    @property
    def second(self) -> int:
        return int(self.bench.clock.now - self.start)

    async def one(self) -> None:
        """One call."""
        begun = self.second
        self.begun[begun] += 1
        out, _ = await self.bench.run(self._call, plan(*self.targets))
        self.served[begun] += out == BODY

    async def run(self, seconds: float, rate: float) -> None:
        """Traffic for so long."""
        rng = random.Random(11)
        async with asyncio.TaskGroup() as group:
            end = self.bench.clock.now + seconds
            while self.bench.clock.now < end:
                group.create_task(self.one())
                await asyncio.sleep(rng.expovariate(rate))


@pytest.mark.parametrize(
    ("policy", "budget"),
    [
        (BreakerPolicy(), retry_budget(0.2, 10.0)),
        (BreakerPolicy(consecutive=10**6, window_failures=10**6), retry_budget(0.2, 2.0)),  # the budget alone
    ],
)
async def test_a_total_outage_is_not_multiplied_by_retries(policy: BreakerPolicy, budget: RetryBudget) -> None:
    traffic: Traffic

    def either() -> Answer:
        traffic.received[traffic.second] += 1
        return DOWN if traffic.second < 60 else UP

    traffic = Traffic({"a": either, "b": either}, A, B, policy=policy, budget=budget)
    await traffic.run(80, 100)

    down, after = range(60), range(65, 79)
    received, begun = (sum(counted[second] for second in down) for counted in (traffic.received, traffic.begun))
    assert received <= 1.25 * begun
    assert max(traffic.received[second] for second in range(80)) <= 2 * received / 60
    assert sum(traffic.served[second] for second in after) >= 0.99 * sum(traffic.begun[second] for second in after)


async def test_one_failing_target_of_two_is_invisible_to_clients() -> None:
    asked: Counter[str] = Counter()

    def counted(name: str, answer: Answer) -> Any:
        def of() -> Answer:
            asked[name] += 1
            return answer

        return of

    traffic = Traffic({"a": counted("bad", BROKEN), "b": counted("good", UP)}, A, B)
    await traffic.run(200, 10)

    calls, served = traffic.begun.total(), traffic.served.total()
    assert served >= calls - 20 * 0.005
    assert asked["bad"] <= 0.01 * calls


async def test_the_only_target_is_asked_however_often_it_fails() -> None:
    asked = 0

    def broken() -> Answer:
        nonlocal asked
        asked += 1
        return BROKEN

    traffic = Traffic({"a": broken}, A)
    await traffic.run(50, 10)

    assert asked >= traffic.begun.total()


async def test_a_target_that_flaps_rests_longer_each_time() -> None:
    times: list[float] = []

    def flapping() -> Answer:
        times.append(traffic.bench.clock.now)
        return BROKEN

    policy = BreakerPolicy(consecutive=1, open=10.0, max_open=60.0)
    traffic = Traffic({"a": flapping, "b": lambda: UP}, A, B, policy=policy, retry=RetryPolicy(same_target=0))
    await traffic.run(300, 5)

    pauses = [round(later - earlier) for earlier, later in zip(times, times[1:], strict=False)]
    assert pauses[:4] == pytest.approx([10, 20, 40, 60], abs=2)
    assert traffic.served.total() == traffic.begun.total()
