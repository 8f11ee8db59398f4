"""The attempt loop under whatever upstreams and clients do: nothing is left behind, and its bounds hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import ProxyError
from proxy.core.failures import FREE, FailureKind, UpstreamFailure, class_of
from proxy.core.model import LimitValues, Timeouts
from proxy.core.policies import BreakerPolicy, DeadlinePolicy, HedgePolicy, QueuePolicy, RetryPolicy, SlowPolicy
from proxy.core.record import Record
from tests.support.calls import HELLO, STREAM, call, plan, record, retry_budget
from tests.support.clocks import VirtualClock, VirtualLoop
from tests.support.fakes import Answer, Stall, Wait
from tests.unit.upstream.bench import (
    BODY,
    CUT,
    DONE,
    E400,
    E401,
    E429,
    E500,
    FILTERED,
    ROLE,
    STOP,
    TEXT,
    TOO_LONG,
    Bench,
    bench,
    on,
    refusal,
    running,
    target,
)

STALE = Answer(before=[UpstreamFailure(FailureKind.STALE_CONNECTION, "the connection was closed")])
SECONDS = st.sampled_from([0.0, 0.1, 1.0, 3.0, 12.0])


def well(seconds: float, stream: bool) -> Answer:
    return Answer([ROLE, Wait(seconds), TEXT, Wait(seconds), STOP, DONE] if stream else [Wait(seconds), BODY])


FAULTS = st.sampled_from(
    [
        E500,
        E429,
        E401,
        E400,
        TOO_LONG,
        FILTERED,
        STALE,
        Answer(before=[CUT]),
        Answer(before=[Stall()]),
        Answer([ROLE, Stall()]),
        Answer([TEXT, CUT]),
        Answer([ROLE, Wait(2.0), CUT]),
        refusal(429, headers={"retry_after": "2"}),
        refusal(429, headers={"retry_after": "100"}),
        refusal(503, headers={"retry_after": "1"}),
    ]
)


@dataclass(frozen=True)
class Client:
    """When it comes, how long it stays, and which targets its plan has."""

    comes: float
    stays: float
    targets: tuple[int, ...]
    content_fallback: bool


CLIENTS = st.builds(
    Client,
    comes=st.sampled_from([0.0, 0.0, 0.5, 2.0, 15.0]),
    stays=st.sampled_from([0.0, 0.5, 2.0, 5.0, 1000.0, 1000.0]),
    targets=st.sampled_from([(0,), (0, 1), (1, 0), (0, 1, 2), (2, 1, 0)]),
    content_fallback=st.booleans(),
)
LIMITS = st.sampled_from([None, None, LimitValues(concurrency=1), LimitValues(rpm=2), LimitValues(tpm=5000, rpm=9)])


@dataclass(frozen=True)
class World:
    """Everything that chance decides."""

    stream: bool
    limits: tuple[LimitValues | None, ...]
    keys: tuple[str, ...]
    breaker: BreakerPolicy
    budget: tuple[float, float]
    hedge: bool
    max_wait: float
    clients: list[Client]
    faults: list[Answer | None]  # None: an answer that is well
    seconds: list[float]


WORLDS = st.builds(
    World,
    stream=st.booleans(),
    limits=st.tuples(LIMITS, LIMITS, LIMITS),
    keys=st.sampled_from([("one",), ("one", "two")]),
    breaker=st.builds(
        BreakerPolicy,
        consecutive=st.integers(1, 3),
        open=st.sampled_from([1.0, 5.0]),
        max_open=st.just(20.0),
        half_open=st.integers(1, 2),
    ),
    budget=st.sampled_from([(0.2, 10.0), (0.0, 0.0), (0.5, 0.1)]),
    hedge=st.booleans(),
    max_wait=st.sampled_from([0.0, 2.0, 10.0]),
    clients=st.lists(CLIENTS, min_size=1, max_size=8),
    faults=st.lists(st.none() | FAULTS, min_size=1, max_size=12),
    seconds=st.lists(SECONDS, min_size=1, max_size=5),
)


def answers(world: World) -> Callable[[], Answer]:
    """What upstreams say, in turn, over and over."""
    count = 0

    def next_one() -> Answer:
        nonlocal count
        count += 1
        fault = world.faults[count % len(world.faults)]
        return fault or well(world.seconds[count % len(world.seconds)], world.stream)

    return next_one


class Scene:
    """One world, lived through to its end."""

    def __init__(self, world: World) -> None:
        self.world = world
        said = answers(world)
        self.bench: Bench = bench(
            dict.fromkeys("abc", said), world.breaker, clock=VirtualClock(), budget=retry_budget(*world.budget)
        )
        times = Timeouts(first_token=4.0, idle=4.0, total=20.0)
        self.targets = [
            target(name, *world.keys, limits=limits, timeouts=times)
            for name, limits in zip("abc", world.limits, strict=True)
        ]
        self.records: list[Record] = []
        for name in "abc":
            for _ in range(20):
                self.bench.slow.judge(f"{name}/m", 1.0, SlowPolicy())
        self._on = on(
            *self.targets,
            retry=RetryPolicy(attempts=4),
            deadline=DeadlinePolicy(soft=8.0, hard=25.0),
            queue=QueuePolicy(max_wait=world.max_wait),
            hedge=HedgePolicy(enabled=world.hedge, samples=20),
        )

    async def client(self, client: Client) -> None:
        await asyncio.sleep(client.comes)
        of = call(STREAM if self.world.stream else HELLO, on=self._on)
        planned = replace(
            plan(*(self.targets[each] for each in client.targets)), content_fallback=client.content_fallback
        )
        made = record(of, started=self.bench.clock.now)
        self.records.append(made)
        try:
            async with asyncio.timeout(client.stays), running(self.bench, of, planned, made) as reply:
                async for _ in reply.chunks:
                    pass
        except (TimeoutError, ProxyError):
            pass

    async def live(self) -> None:
        async with asyncio.TaskGroup() as group:
            for client in self.world.clients:
                group.create_task(self.client(client))

    def nothing_is_left(self) -> None:
        assert (self.bench.transport.open, self.bench.transport.reading) == (0, 0)
        assert self.bench.queue.depth == 0
        assert all(attempt.outcome != "started" for made in self.records for attempt in made.attempts)
        assert not any(made.timings.waits_for_upstream for made in self.records)

    async def all_room_comes_back(self) -> None:
        held = {row["kind"]: row["used"] for row in await self.bench.limits.rows() if row["kind"] == "concurrency"}
        assert not any(held.values())
        await asyncio.sleep(10_000.0)
        for each in self.targets:
            for key in self.world.keys:
                assert self.bench.health.lease(each, key_id=key), "a probe's permit was kept"
                assert await self.bench.limits.wait(each, key, 1) == 0.0

    def bounds_hold(self) -> None:
        for made in self.records:
            paid = [attempt for attempt in made.attempts if attempt.outcome != "stale_connection"]
            assert len(paid) <= 4 or self.stale_twice(made)
            assert made.timings.queue_seconds <= self.world.max_wait + 1e-6
        beyond = sum(max(0, len(made.attempts) - 1) for made in self.records)
        if self.world.budget == (0.0, 0.0):
            assert beyond <= sum(free(attempt.outcome) for made in self.records for attempt in made.attempts)

    def stale_twice(self, made: Record) -> bool:
        """Whether a fresh connection met the scripted fault as well, which then is an attempt like any other."""
        return sum(attempt.outcome == "stale_connection" for attempt in made.attempts) > 1


def free(outcome: str) -> bool:
    """Whether what follows such an attempt is not paid from the budget."""
    return outcome == "stale_connection" or class_of(outcome) in FREE


def lived(world: World) -> None:
    async def run() -> Any:
        scene = Scene(world)
        await scene.live()
        scene.nothing_is_left()
        scene.bounds_hold()
        await scene.all_room_comes_back()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


@settings(max_examples=150, deadline=None)
@given(WORLDS)
def test_everything_is_released_and_no_limit_is_exceeded(world: World) -> None:
    lived(world)
