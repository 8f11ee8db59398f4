"""The attempt loop and time: deadlines, what is measured, and clients who leave at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.plan import Plan
from proxy.core.policies import BreakerPolicy, DeadlinePolicy, QueuePolicy, RetryPolicy
from proxy.core.record import Record
from proxy.dialects.openai.dialect import OpenAIDialect
from proxy.upstream.health import Lease
from tests.support.calls import HELLO, STREAM, call, plan, record
from tests.support.clocks import VirtualClock, idle
from tests.support.fakes import Answer, FakeClock, Stall, Wait
from tests.unit.upstream.bench import (
    BODY,
    CUT,
    DONE,
    E500,
    OK,
    ROLE,
    STOP,
    TEXT,
    A,
    B,
    Bench,
    C,
    bench,
    on,
    outcomes,
    running,
)

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


async def test_after_the_soft_deadline_the_fastest_target_is_next() -> None:
    slow = replace(B, latency=3.0)
    fast = replace(C, latency=1.0)
    late = Answer([Wait(40), CUT])
    b = bench({"a": [late], "b": [E500], "c": [E500]})
    configured = on(A, slow, fast, retry=RetryPolicy(attempts=9), deadline=DeadlinePolicy(soft=30, hard=600))

    await b.run(call(HELLO, on=configured), plan(A, slow, fast))

    assert "".join(b.transport.hosts) == "acb"


async def test_measured_latency_beats_the_configured_one() -> None:
    first, second = replace(B, latency=1.0), replace(C, latency=2.0)
    b = bench({"a": [Answer([Wait(40), CUT])], "b": [OK], "c": [OK]})
    b.health.latency.add(second.name, 0.5)

    await b.run(call(HELLO, on=on(A, first, second)), plan(A, first, second))

    assert "".join(b.transport.hosts) == "ac"


async def test_after_the_hard_deadline_nobody_is_asked() -> None:
    b = bench({"a": [Answer([Wait(700), CUT])], "b": [OK]})

    out, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.error_code) == (504, "deadline_exceeded")
    assert outcomes(made) == ["a connect"]


async def test_the_hard_deadline_does_not_blame_the_target() -> None:
    b = bench({"a": [Answer([ROLE, Stall()])]})
    configured = on(A, deadline=DeadlinePolicy(soft=0.005, hard=0.01))

    out, made = await b.run(call(STREAM, on=configured), plan(A))

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.error_code) == (504, "deadline_exceeded")
    assert outcomes(made) == ["a deadline_exceeded"]
    assert b.health.breaker_rows() == []
    assert (b.transport.open, b.transport.reading) == (0, 0)


async def test_a_pause_does_not_outlast_the_hard_deadline() -> None:
    b = bench({"a": [Answer([Wait(599.5), CUT])]})
    retry = RetryPolicy(attempts=4, backoff=5.0, max_backoff=5.0)
    configured = on(A, retry=retry, deadline=DeadlinePolicy(soft=600, hard=600))

    out, _ = await b.run(call(HELLO, on=configured), plan(A))

    assert isinstance(out, ProxyError)
    assert sum(b.clock.slept) <= 0.5


async def test_time_is_shared_out_between_us_and_the_upstream() -> None:
    b = bench({"a": [Answer([Wait(2.0), BODY], before=[Wait(1.0)])]})

    _, made = await b.run(call(HELLO, on=on(A)), plan(A))

    assert made.timings.upstream_seconds == 3.0
    assert made.attempts[0].ms == 3000.0
    assert made.attempts[0].first_token_ms == 3000.0
    assert made.timings.first_token == 1003.0
    assert b.health.latencies() == {"a/m": 3.0}


async def test_a_failure_is_not_measured_as_latency() -> None:
    b = bench({"a": [Answer([Wait(2.0), CUT]), E500]})

    await b.run(call(HELLO, on=on(A)), plan(A))

    assert b.health.latencies() == {}


async def begin(b: Bench, of: Call, planned: Plan, made: Record, got: asyncio.Event) -> None:
    async with running(b, of, planned, made) as reply:
        async for _ in reply.chunks:
            got.set()


CANCELLED: list[tuple[Answer, bytes]] = [
    (Answer(before=[Stall()]), HELLO),
    (Answer([Stall()]), HELLO),
    (Answer([BODY[:9], Stall()]), HELLO),
    (Answer([Stall()], status=500), HELLO),
    (Answer(before=[Stall()]), STREAM),
    (Answer([ROLE, Stall()]), STREAM),
    (Answer([ROLE, TEXT, Stall()]), STREAM),
]


@pytest.mark.parametrize(("answer", "raw"), CANCELLED)
async def test_a_disconnect_releases_everything_and_blames_no_target(answer: Answer, raw: bytes) -> None:
    b = bench({"a": [E500, answer, OK]}, BreakerPolicy(consecutive=1, half_open=1))
    await b.run(call(HELLO, on=on(A, retry=RetryPolicy(attempts=1))), plan(A))
    b.clock.pass_(60)  # the next attempt is the breaker's probe
    of = call(raw, on=on(A))
    made = record(of, started=b.clock.now)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(begin(b, of, plan(A), made, asyncio.Event()))
        await idle()
        assert b.transport.open == 1
        task.cancel()

    assert task.cancelled()
    assert (b.transport.open, b.transport.reading) == (0, 0)
    assert outcomes(made) == ["a cancelled"]
    assert [row["state"] for row in b.health.breaker_rows()] in (["half-open"], ["closed"])
    assert (await b.run(call(HELLO, on=on(A)), plan(A)))[0] == BODY


async def test_a_disconnect_during_the_backoff_releases_everything() -> None:
    stuck = asyncio.Event()

    class Stuck(FakeClock):
        async def sleep(self, seconds: float) -> None:
            stuck.set()
            await asyncio.Event().wait()

    b = bench({"a": [E500]}, clock=Stuck())
    of = call(HELLO, on=on(A))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(begin(b, of, plan(A), record(of), asyncio.Event()))
        await stuck.wait()
        assert (b.transport.open, b.transport.reading) == (0, 0)
        task.cancel()

    assert task.cancelled()


async def test_a_probe_is_settled_when_its_stream_begins() -> None:
    b = bench({"a": [E500, Answer([TEXT, Stall()]), OK]}, BreakerPolicy(consecutive=1, half_open=1))
    await b.run(call(HELLO, on=on(A, retry=RetryPolicy(attempts=1))), plan(A))
    b.clock.pass_(60)
    of = call(STREAM, on=on(A))

    async with running(b, of, plan(A), record(of, started=b.clock.now)) as reply:
        await anext(reply.chunks)
        assert [row["state"] for row in b.health.breaker_rows()] == ["closed"]
        await reply.aclose()


async def test_a_probe_whose_stream_broke_at_once_has_failed() -> None:
    broken = Answer([TEXT + b"data: {broken\n\n"])
    b = bench({"a": [E500, broken]}, BreakerPolicy(consecutive=1, half_open=1))
    await b.run(call(HELLO, on=on(A, retry=RetryPolicy(attempts=1))), plan(A))
    b.clock.pass_(60)

    out, made = await b.run(call(STREAM, on=on(A)), plan(A))

    assert isinstance(out, bytes)
    assert out.startswith(TEXT)
    assert outcomes(made) == ["a broken_stream"]
    assert [row["state"] for row in b.health.breaker_rows()] == ["open"]


async def test_an_error_while_building_a_request_releases_the_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    b = bench({"a": [E500]}, BreakerPolicy(consecutive=1, half_open=1))
    await b.run(call(HELLO, on=on(A, retry=RetryPolicy(attempts=1))), plan(A))
    b.clock.pass_(60)

    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(OpenAIDialect, "request", broken)
    with pytest.raises(KeyError):
        await b.run(call(HELLO, on=on(A)), plan(A))

    assert b.health.lease(A)


async def crowd(b: Bench, of: Call, then: Callable[[Lease], Awaitable[None]]) -> list[int]:
    """Five calls find a probe out; what they end with after what `then` does with it."""
    await b.run(call(HELLO, on=on(A, retry=RetryPolicy(attempts=1))), plan(A))
    b.clock.pass_(60)
    probe = b.health.lease(A)
    assert probe is not None
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(b.run(of, plan(A))) for _ in range(5)]
        await idle()
        assert not any(task.done() for task in waiting)
        await then(probe)
    results = [task.result()[0] for task in waiting]
    return [result.http_status if isinstance(result, ProxyError) else 200 for result in results]


async def test_a_failed_probe_rejects_all_waiters() -> None:
    b = bench({"a": [E500]}, BreakerPolicy(consecutive=1, half_open=1), clock=VirtualClock())

    async def then(probe: Lease) -> None:
        probe.settle(ok=False, reason="server_error")

    statuses = await crowd(b, call(HELLO, on=on(A)), then)

    assert statuses == [503] * 5
    assert len(b.transport.requests) == 1


async def test_a_wait_for_a_probe_ends_with_no_target_available() -> None:
    b = bench({"a": [E500]}, BreakerPolicy(consecutive=1, half_open=1), clock=VirtualClock())

    async def then(_: Lease) -> None:
        await b.clock.advance(3.5)

    statuses = await crowd(b, call(HELLO, on=on(A, queue=QueuePolicy(max_wait=3.0))), then)

    assert statuses == [503] * 5
    assert len(b.transport.requests) == 1


async def test_calls_in_flight_during_a_slowdown_do_not_raise_the_norm() -> None:
    late = Answer([Wait(5.0), ROLE, TEXT, STOP, DONE])
    b = bench({"a": [Answer([Wait(0.1), TEXT, STOP, DONE])] * 20 + [late] * 50}, BreakerPolicy(consecutive=3))
    for _ in range(20):
        await b.run(call(STREAM, on=on(A)), plan(A))

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(b.run(call(STREAM, on=on(A)), plan(A)))

    assert [row["state"] for row in b.health.breaker_rows()] == ["open"]
    assert (b.slow.normal("a/m") or 0.0) < 0.2


async def test_after_the_soft_deadline_the_family_of_an_open_tool_loop_is_next() -> None:
    slow, fast = replace(B, latency=3.0), replace(C, latency=1.0)
    b = bench({"a": [Answer([Wait(40), CUT])], "b": [E500], "c": [E500]})
    configured = on(A, slow, fast, retry=RetryPolicy(attempts=9), deadline=DeadlinePolicy(soft=30, hard=600))
    kept = replace(plan(A, slow, fast), family=frozenset({A.name, B.name}))

    await b.run(call(HELLO, on=configured), kept)

    assert "".join(b.transport.hosts) == "abc"
