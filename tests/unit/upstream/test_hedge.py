"""A second target beside a slow one: when it is asked, who wins, and what becomes of the other."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.errors import ProxyError, Unavailable, UpstreamError
from proxy.core.model import Deployment, LimitValues, Price, ProviderKey
from proxy.core.policies import BreakerPolicy, DeadlinePolicy, HedgePolicy, RetryPolicy, SlowPolicy
from proxy.core.record import AttemptRecord, Record
from tests.support.calls import HELLO, STREAM, call, deployment, plan, record, retry_budget
from tests.support.clocks import VirtualClock
from tests.support.fakes import REFUSED, Answer, Stall, Wait
from tests.unit.upstream.bench import (
    BODY,
    CUT,
    DONE,
    E400,
    E500,
    ROLE,
    STOP,
    STREAMED,
    TEXT,
    A,
    B,
    Bench,
    C,
    bench,
    on,
    outcomes,
    refusal,
    running,
    target,
)

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

ON = HedgePolicy(enabled=True, percentile=0.95, samples=20)
ONCE = {"retry": RetryPolicy(same_target=0), "hedge": ON}
NORMAL = [0.1 * number for number in range(1, 21)]  # seconds; 95 of 100 are within 1.9
SILENT = Answer([ROLE, Stall()])
WHOLE = ROLE + TEXT + STOP + DONE


def after(seconds: float, *then: Any) -> Answer:
    """A stream whose first content comes so late."""
    return Answer([ROLE, Wait(seconds), *(then or (TEXT, STOP, DONE))])


def known(script: Any, *, times: Any = NORMAL, policy: BreakerPolicy | None = None, **options: Any) -> Bench:
    """A bench that knows how long `a` usually takes."""
    b = bench(script, policy, clock=VirtualClock(), **options)
    for seconds in times:
        b.slow.judge("a/m", seconds, SlowPolicy())
    return b


async def run(b: Bench, *deployments: Deployment, raw: bytes = STREAM, **policies: Any) -> tuple[Any, Record]:
    chosen = deployments or (A, B)
    return await b.run(call(raw, on=on(*chosen, **{**ONCE, **policies})), plan(*chosen))


def free(b: Bench) -> bool:
    """Whether nothing is held any more."""
    return (b.transport.open, b.transport.reading) == (0, 0)


async def test_a_hedge_starts_when_the_first_attempt_is_unusually_late() -> None:
    b = known({"a": [after(10.0)], "b": [after(0.5)]})

    out, made = await run(b)

    assert out == WHOLE
    assert outcomes(made) == ["a hedge_lost", "b ok"]
    assert made.timings.first_token == pytest.approx(made.timings.started + 1.9 + 0.5)
    assert made.timings.upstream_seconds == pytest.approx(2.4)  # what is waited for at the same time counts once
    assert made.chosen is B
    assert free(b)


async def test_a_first_that_begins_in_time_is_alone() -> None:
    b = known({"a": [after(1.89)], "b": []})

    out, made = await run(b)

    assert out == WHOLE
    assert outcomes(made) == ["a ok"]
    assert b.budget.used(b.clock.now) == 0


async def test_the_first_may_win_all_the_same() -> None:
    b = known({"a": [after(2.5)], "b": [after(1.0)]})

    out, made = await run(b)

    assert out == WHOLE
    assert outcomes(made) == ["a ok", "b hedge_lost"]
    assert made.timings.first_token == made.timings.started + 2.5
    assert made.chosen is A
    assert free(b)


class Full:
    """A ledger whose journal has space for one attempt."""

    def begin(self, record: Record, attempt: AttemptRecord) -> None:
        if attempt.number > 1:
            record.attempts.remove(attempt)
            raise Unavailable("The call cannot be recorded.", code="overloaded")

    def end(self, record: Record) -> None:
        pass


async def test_a_second_that_cannot_be_recorded_does_not_end_the_call() -> None:
    b = known({"a": [after(2.5)], "b": []})
    b.attempts.ledger = Full()  # type: ignore[assignment]

    out, made = await run(b)

    assert (out, outcomes(made)) == (WHOLE, ["a ok"])
    assert free(b)


async def test_a_first_that_fails_alone_is_what_counts() -> None:
    b = known({"a": [Answer([ROLE, Wait(2.5), CUT])], "b": []})
    b.attempts.ledger = Full()  # type: ignore[assignment]

    out, made = await run(b)

    assert isinstance(out, UpstreamError)
    assert [outcome.split()[0] for outcome in outcomes(made)] == ["a"]
    assert free(b)


async def test_nothing_of_the_loser_goes_out() -> None:
    loser = Answer([ROLE, Wait(10.0), b'data: {"choices":[{"index":0,"delta":{"content":"lost"}}]}\n\n'])
    b = known({"a": [loser], "b": [after(0.5)]})

    out, _ = await run(b)

    assert b"lost" not in out
    assert out == WHOLE


@pytest.mark.parametrize(
    ("times", "policies", "raw"),
    [
        (NORMAL[:19], {}, STREAM),  # not enough is known
        (NORMAL, {"hedge": HedgePolicy(enabled=False)}, STREAM),
        (NORMAL, {"retry": RetryPolicy(attempts=1)}, STREAM),
        (NORMAL, {}, HELLO),  # of an answer in one piece nobody knows why it takes its time
    ],
)
async def test_there_is_no_second_where_there_is_no_reason_for_it(times: Any, policies: Any, raw: bytes) -> None:
    answer = after(10.0) if raw is STREAM else Answer([Wait(10.0), BODY])
    b = known({"a": [answer], "b": []}, times=times)

    out, made = await run(b, raw=raw, **policies)

    assert isinstance(out, bytes)
    assert outcomes(made) == ["a ok"]


async def test_there_is_no_second_without_another_target() -> None:
    b = known({"a": [after(10.0)]})

    out, made = await run(b, A)

    assert out == WHOLE
    assert outcomes(made) == ["a ok"]


async def test_a_second_is_paid_from_the_retry_budget() -> None:
    b = known({"a": [after(10.0)], "b": [after(0.5)]})

    await run(b)

    assert b.budget.used(b.clock.now) == 1


async def test_without_retry_budget_no_hedge_is_sent() -> None:
    limited = target("b", limits=LimitValues(concurrency=1))
    b = known({"a": [after(10.0)], "b": []}, budget=retry_budget(0.0, 0.0))

    out, made = await run(b, A, limited)

    assert out == WHOLE
    assert outcomes(made) == ["a ok"]
    assert await b.limits.wait(limited, "main", 1) == 0.0


async def test_a_target_without_room_is_passed_over_without_waiting() -> None:
    full = target("b", limits=LimitValues(concurrency=1))
    b = known({"a": [after(10.0)], "b": [], "c": [after(0.5)]})
    await b.limits.reserve(full, "main", 1)

    out, made = await run(b, A, full, C)

    assert out == WHOLE
    assert outcomes(made) == ["a hedge_lost", "c ok"]
    assert made.timings.first_token == pytest.approx(made.timings.started + 1.9 + 0.5)


async def test_where_nobody_has_room_the_first_goes_on_alone() -> None:
    full = target("b", limits=LimitValues(concurrency=1))
    b = known({"a": [after(10.0)], "b": []})
    await b.limits.reserve(full, "main", 1)

    out, made = await run(b, A, full)

    assert out == WHOLE
    assert outcomes(made) == ["a ok"]
    assert made.timings.queue_seconds == 0.0


async def test_a_target_behind_an_open_breaker_is_no_second() -> None:
    b = known({"a": [after(10.0)], "b": []}, policy=BreakerPolicy(consecutive=1))
    lease = b.health.lease(B)
    assert lease
    lease.settle(ok=False)

    out, made = await run(b)

    assert out == WHOLE
    assert outcomes(made) == ["a ok"]


async def test_a_loser_blames_nobody_and_is_not_measured() -> None:
    b = known({"a": [after(10.0)], "b": [after(0.5)]}, policy=BreakerPolicy(consecutive=1))

    await run(b)

    assert b.health.breaker_rows() == []
    assert b.health.latencies() == {"b/m": 0.5}


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_losing_first_attempt_far_over_its_norm_is_a_slow_call(enabled: bool) -> None:
    b = known({"a": [after(100.0)], "b": [after(30.0)]}, policy=BreakerPolicy(consecutive=1))

    out, made = await run(b, slow=SlowPolicy(enabled=enabled))

    assert out == WHOLE
    assert outcomes(made) == ["a hedge_lost", "b ok"]
    states = [(row["provider"], row["state"]) for row in b.health.breaker_rows()]
    assert states == ([("a", "open")] if enabled else [])
    assert list(b.health.latencies()) == ["b/m"]


async def test_a_losing_hedge_far_over_its_norm_is_a_slow_call() -> None:
    b = known({"a": [after(30.0)], "b": [after(100.0)]}, policy=BreakerPolicy(consecutive=1))
    for seconds in NORMAL:
        b.slow.judge("b/m", seconds, SlowPolicy())

    _, made = await run(b)

    assert outcomes(made) == ["a ok", "b hedge_lost"]
    assert {row["provider"]: row["state"] for row in b.health.breaker_rows()}["b"] == "open"


async def calls_until_it_is_left(b: Bench, **policies: Any) -> int:
    """Calls that the first target still gets after it has become slow."""
    asked = 0
    while not b.health.breaker_rows() or b.health.breaker_rows()[0]["state"] == "closed":
        await run(b, **policies)
        asked += 1
    return asked


@pytest.mark.parametrize(("hedge", "asked"), [(HedgePolicy(), 3), (ON, 6), (HedgePolicy(True, 0.9, 20), 6)])
@pytest.mark.parametrize("other", [0.001, 0.02, 0.5])
async def test_a_slow_target_trips_nearly_as_soon_as_without_hedging(
    hedge: HedgePolicy, asked: int, other: float
) -> None:
    b = known({"a": [after(5.0)] * 36, "b": [after(other)] * 36}, times=[0.02, 0.03] * 50)

    assert await calls_until_it_is_left(b, hedge=hedge) <= asked


async def test_a_slightly_slower_target_stays_closed_and_is_hedged() -> None:
    b = known({"a": [after(0.06)] * 60, "b": [after(0.01)] * 60}, times=[0.02, 0.03] * 20)

    seen = [outcomes((await run(b))[1]) for _ in range(60)]

    assert seen[:4] == [["a hedge_lost", "b ok"]] * 3 + [["a ok"]]
    assert sum("b ok" in each for each in seen) <= 6
    assert b.health.breaker_rows() == []


async def test_one_in_twenty_calls_to_a_steady_target_is_hedged() -> None:
    rng = random.Random(7)
    times = [rng.uniform(1.0, 5.0) for _ in range(1000)]
    b = known({"a": [after(each) for each in times], "b": [after(0.1)] * 200}, times=[])

    made = [(await run(b))[1] for _ in range(1000)]

    assert 35 <= sum(len(each.attempts) == 2 for each in made) <= 65
    assert b.health.breaker_rows() == []


PRICE = Price(input=1_000_000_000, output=2_000_000_000, cached_input=0, cache_write=0)


async def test_the_estimated_cost_of_a_loser_is_part_of_the_call() -> None:
    dear = target("a", price=PRICE, limits=LimitValues(tpm=10_000))
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5}}\n\n'
    b = known({"a": [after(10.0)], "b": [after(0.5, TEXT, STOP, usage, DONE)]})
    winner = target("b", price=PRICE)
    of = call(STREAM, on=on(dear, winner, **ONCE))
    planned = plan(dear, winner)
    object.__setattr__(planned, "count_input", lambda: 700)

    _, made = await b.run(of, planned)

    lost, won = made.attempts
    assert lost.usage
    assert (lost.usage.input, lost.usage.output, lost.usage.source) == (700, 0, "estimated")
    assert (lost.cost_nusd, won.cost_nusd) == (700_000, 10_000 + 10_000)
    assert made.cost_nusd == 700_000 + 10_000 + 10_000
    rows = {row["provider"]: row["used"] for row in await b.limits.rows() if row["kind"] == "tpm"}
    assert rows["a"] >= 700  # nobody knows what it used: what was reserved stands


async def test_the_cost_of_a_loser_counts_once_without_a_winner_price() -> None:
    dear = target("a", price=PRICE)
    b = known({"a": [after(10.0)], "b": [STREAMED]})
    planned = plan(dear, B)
    object.__setattr__(planned, "count_input", lambda: 700)

    _, made = await b.run(call(STREAM, on=on(dear, B, **ONCE)), planned)

    assert made.cost_nusd == 700_000


async def test_an_early_failure_of_the_first_is_an_ordinary_fallback() -> None:
    b = known({"a": [E500], "b": [after(0.5)]})

    out, made = await run(b)

    assert out == WHOLE
    assert outcomes(made) == ["a server_error", "b ok"]
    assert made.timings.first_token == made.timings.started + 0.5


async def test_if_the_first_fails_later_the_second_answers() -> None:
    b = known({"a": [after(3.0, CUT)], "b": [after(5.0)]})

    out, made = await run(b)

    assert out == WHOLE
    assert outcomes(made) == ["a connect", "b ok"]
    assert made.timings.first_token == pytest.approx(made.timings.started + 1.9 + 5.0)
    assert [row["failures"] for row in b.health.breaker_rows()] == [1]


async def test_if_the_second_fails_the_first_is_waited_for() -> None:
    b = known({"a": [after(5.0)], "b": [REFUSED]})

    out, made = await run(b)

    assert out == WHOLE
    assert outcomes(made) == ["a ok", "b connect"]
    assert made.timings.first_token == made.timings.started + 5.0


async def test_if_both_fail_the_failure_that_time_mends_is_told() -> None:
    b = known({"a": [after(5.0, CUT)], "b": [refusal(429, "too many")]})

    out, made = await run(b)

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.error_code) == (429, "rate_limit_exceeded")
    assert outcomes(made) == ["a connect", "b rate_limited"]
    assert free(b)


async def test_if_both_fail_a_third_target_is_tried() -> None:
    b = known({"a": [after(5.0, CUT)], "b": [E500], "c": [STREAMED]})

    out, made = await run(b, A, B, C)

    assert out == WHOLE
    assert outcomes(made) == ["a connect", "b server_error", "c ok"]


async def test_a_fault_of_the_request_is_told_in_the_first_one_s_words() -> None:
    b = known({"a": [after(5.0, CUT)], "b": [E400]})

    out, made = await run(b)

    assert isinstance(out, ProxyError)
    assert outcomes(made) == ["a connect", "b bad_request"]


async def test_the_deadline_ends_both() -> None:
    b = known({"a": [SILENT], "b": [SILENT]})

    out, made = await run(b, deadline=DeadlinePolicy(soft=1.0, hard=10.0))

    assert isinstance(out, ProxyError)
    assert out.error_code == "deadline_exceeded"
    assert b.clock.now == made.timings.started + 10.0
    assert {attempt.outcome for attempt in made.attempts} <= {"deadline_exceeded", "hedge_lost"}
    assert free(b)
    assert b.health.breaker_rows() == []


@pytest.mark.parametrize("leaves", [0.5, 1.9, 3.0])
async def test_a_client_who_leaves_releases_both(leaves: float) -> None:
    first, second = (target(name, limits=LimitValues(concurrency=1)) for name in "ab")
    b = known({"a": [SILENT], "b": [SILENT]})
    of = call(STREAM, on=on(first, second, **ONCE))
    made = record(of, started=b.clock.now)

    async def client() -> None:
        async with running(b, of, plan(first, second), made):
            raise AssertionError("nobody answered")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(client())
        await asyncio.sleep(leaves)
        task.cancel()

    assert task.cancelled()
    assert free(b)
    assert set(outcomes(made)) <= {"a cancelled", "b cancelled"}
    assert [await b.limits.wait(each, "main", 1) for each in (first, second)] == [0.0, 0.0]


async def test_a_disconnect_during_the_winners_answer_releases_it() -> None:
    b = known({"a": [after(10.0)], "b": [after(0.5, TEXT, Stall())]})
    of, begun = call(STREAM, on=on(A, B, **ONCE)), asyncio.Event()
    made = record(of, started=b.clock.now)

    async def client() -> None:
        async with running(b, of, plan(A, B), made) as reply:
            async for _ in reply.chunks:
                begun.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(client())
        await begun.wait()
        assert b.transport.open == 1
        task.cancel()

    assert free(b)
    assert outcomes(made) == ["a hedge_lost", "b cancelled"]


async def test_a_first_that_begins_at_the_very_moment_needs_no_second(monkeypatch: pytest.MonkeyPatch) -> None:
    b = known({"a": [after(1.9)], "b": []})

    async def over(event: asyncio.Event, seconds: float) -> bool:
        await event.wait()
        return False  # the timer was as fast

    monkeypatch.setattr(b.clock, "wait_for", over)
    out, made = await run(b)

    assert out == WHOLE
    assert outcomes(made) == ["a ok"]


async def test_an_error_while_preparing_the_hedge_releases_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = target("b", limits=LimitValues(concurrency=1))
    b = known({"a": [SILENT], "b": []})
    new = b.attempts.new

    def broken(*of: Any) -> Any:
        if of[1].deployment is second:
            raise KeyError("a bug")
        return new(*of)

    monkeypatch.setattr(b.attempts, "new", broken)
    with pytest.raises(KeyError):
        await run(b, A, second)

    assert free(b)
    assert await b.limits.wait(second, "main", 1) == 0.0


async def test_pooled_keys_do_not_hedge_an_own_key() -> None:
    own = deployment("m", replace(A.provider, keys=(ProviderKey("pk_1", "sk-own-0123456789", own=True),)))
    b = known({"a": [after(5.0)], "b": []})

    out, made = await b.run(call(STREAM, on=on(own, B, **ONCE)), plan(own, B))

    assert (out, outcomes(made)) == (WHOLE, ["a ok"])


async def test_a_hedge_stays_in_the_family_of_an_open_tool_loop() -> None:
    b = known({"a": [after(10.0)], "b": [after(0.5)], "c": [after(0.5)]})
    kept = replace(plan(A, B, C), family=frozenset({A.name, C.name}))

    _, made = await b.run(call(STREAM, on=on(A, B, C, **ONCE)), kept)

    assert outcomes(made) == ["a hedge_lost", "c ok"]
