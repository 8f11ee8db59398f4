"""One attempt: how long it may take, what it holds and gives back, and what it tells of its target."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.errors import ProxyError
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import Deployment, LimitValues, Timeouts
from proxy.core.policies import BreakerPolicy, DeadlinePolicy, RetryPolicy, SlowPolicy
from proxy.core.slow import SAMPLES
from proxy.upstream.pulse import Pulse
from proxy.upstream.run import new_run
from tests.support.calls import HELLO, STREAM, call, plan, record, retry_budget
from tests.support.clocks import VirtualClock
from tests.support.fakes import Answer, Stall, Wait
from tests.unit.upstream.bench import (
    BODY,
    CUT,
    DONE,
    E500,
    OK,
    ROLE,
    STOP,
    STREAMED,
    TEXT,
    A,
    B,
    Bench,
    bench,
    on,
    outcomes,
    refusal,
    running,
    target,
)

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

STALE = Answer(before=[UpstreamFailure(FailureKind.STALE_CONNECTION, "the connection was closed")])
SILENT = Answer(before=[Stall()])
ONCE = RetryPolicy(attempts=1)


def timed(name: str = "a", **seconds: float) -> Deployment:
    return target(name, timeouts=Timeouts(**seconds))


THINKS = target("a", timeouts=Timeouts(first_token=5.0, total=60.0), capabilities=frozenset({"reasoning"}))


# stale connections


async def test_resend_after_a_stale_connection() -> None:
    b = bench({"a": [STALE, OK]})

    out, made = await b.run(call(HELLO, on=on(A)), plan(A))

    assert out == BODY
    assert outcomes(made) == ["a stale_connection", "a ok"]
    assert [request.fresh for request in b.transport.requests] == [False, True]
    assert b.transport.requests[0].content == b.transport.requests[1].content


async def test_resend_after_a_stale_connection_is_free() -> None:
    b = bench({"a": [STALE, OK]}, BreakerPolicy(consecutive=1), budget=retry_budget(0.0, 0.0))

    out, _ = await b.run(call(HELLO, on=on(A, retry=ONCE)), plan(A))

    assert out == BODY
    assert (b.budget.used(b.clock.now), b.budget.refused) == (0, 0)
    assert b.health.breaker_rows() == []


async def test_the_second_try_is_judged_like_any_other() -> None:
    b = bench({"a": [STALE, E500], "b": [OK]}, BreakerPolicy(consecutive=1))

    out, made = await b.run(call(HELLO, on=on(A, B, retry=RetryPolicy(attempts=2))), plan(A, B))

    assert out == BODY
    assert outcomes(made) == ["a stale_connection", "a server_error", "b ok"]
    assert [row["failures"] for row in b.health.breaker_rows() if row["state"] == "open"] == [0]


async def test_there_is_no_third_try() -> None:
    b = bench({"a": [STALE, STALE]})

    out, made = await b.run(call(HELLO, on=on(A, retry=ONCE)), plan(A))

    assert isinstance(out, ProxyError)
    assert (out.http_status, b.transport.left) == (502, 0)
    assert outcomes(made) == ["a stale_connection"] * 2


async def test_resend_can_be_disabled() -> None:
    b = bench({"a": [STALE, OK]}, BreakerPolicy(consecutive=1))
    configured = on(A, retry=replace(ONCE, stale_post=False))

    out, made = await b.run(call(HELLO, on=configured), plan(A))

    assert isinstance(out, ProxyError)
    assert outcomes(made) == ["a stale_connection"]
    assert [row["state"] for row in b.health.breaker_rows()] == ["open"]


# time


async def test_a_silent_target_falls_back_at_its_timeout() -> None:
    hasty = timed(first_token=5.0)
    b = bench({"a": [SILENT], "b": [STREAMED]}, clock=VirtualClock())

    out, made = await b.run(call(STREAM, on=on(hasty, B)), plan(hasty, B))

    assert out == ROLE + TEXT + STOP + DONE
    assert [(a.outcome, a.ms) for a in made.attempts] == [("first_token_timeout", 5000.0), ("ok", 0.0)]
    assert made.timings.first_token == made.timings.started + 5.0


async def test_a_shorter_total_timeout_ends_a_stream_before_its_start() -> None:
    hasty = timed(first_token=120.0, total=2.0)
    b = bench({"a": [SILENT], "b": [STREAMED]}, clock=VirtualClock())

    out, made = await b.run(call(STREAM, on=on(hasty, B)), plan(hasty, B))

    assert out == ROLE + TEXT + STOP + DONE
    assert [(a.outcome, a.ms) for a in made.attempts] == [("first_token_timeout", 2000.0), ("ok", 0.0)]


@pytest.mark.parametrize(
    ("deployment", "raw", "pieces", "said"),
    [
        (timed(first_token=5.0), STREAM, [Stall()], "`timeouts.first_token` (5 s)"),
        (timed(first_token=5.0, total=2.0), STREAM, [Stall()], "`timeouts.total` (2 s)"),
        (timed(first_token=5.0, total=7.0), HELLO, [Stall()], "`timeouts.total` (7 s)"),
        (THINKS, STREAM, [Wait(4), ROLE, Stall()], "`timeouts.first_token` (5 s)"),
        (THINKS, STREAM, [Wait(4), ROLE] * 20, "`timeouts.total` (60 s)"),
    ],
)
async def test_a_timeout_is_told_by_its_name(deployment: Deployment, raw: bytes, pieces: list[Any], said: str) -> None:
    b = bench({"a": [Answer(pieces)]}, clock=VirtualClock())

    out, _ = await b.run(call(raw, on=on(deployment)), plan(deployment))

    assert isinstance(out, ProxyError)
    assert str(out) == f"`a/m`: no answer came within {said}."


async def test_what_is_no_content_does_not_keep_an_attempt_alive() -> None:
    hasty = timed(first_token=5.0)
    b = bench({"a": [Answer([Wait(2), ROLE] * 9)]}, clock=VirtualClock())

    out, made = await b.run(call(STREAM, on=on(hasty)), plan(hasty))

    assert isinstance(out, ProxyError)
    assert out.error_code == "upstream_timeout"
    assert [(a.outcome, a.ms) for a in made.attempts] == [("first_token_timeout", 5000.0)]


async def test_signs_of_life_extend_the_wait_for_reasoning_models() -> None:
    b = bench({"a": [Answer([Wait(4), ROLE] * 10 + [TEXT, STOP, DONE])]}, clock=VirtualClock())

    out, made = await b.run(call(STREAM, on=on(THINKS)), plan(THINKS))

    assert out == ROLE * 10 + TEXT + STOP + DONE
    assert made.timings.first_token == made.timings.started + 40.0


@pytest.mark.parametrize(
    ("pieces", "hard", "outcome", "seconds"),
    [
        ([Wait(4), ROLE, Wait(4), ROLE, Stall()], 600.0, "first_token_timeout", 13.0),  # its last sign was at 8
        ([Wait(4), ROLE] * 20, 600.0, "first_token_timeout", 60.0),  # its total time
        ([Wait(4), ROLE] * 20, 30.0, "deadline_exceeded", 30.0),
        ([Stall()], 600.0, "first_token_timeout", 5.0),
    ],
)
async def test_signs_of_life_do_not_keep_it_for_ever(
    pieces: list[Any], hard: float, outcome: str, seconds: float
) -> None:
    b = bench({"a": [Answer(pieces)]}, clock=VirtualClock())
    configured = on(THINKS, deadline=DeadlinePolicy(soft=1.0, hard=hard))

    out, made = await b.run(call(STREAM, on=configured), plan(THINKS))

    assert isinstance(out, ProxyError)
    assert [(a.outcome, a.ms) for a in made.attempts] == [(outcome, seconds * 1000)]
    assert (b.transport.open, b.transport.reading) == (0, 0)


async def test_without_a_stream_only_the_total_time_counts() -> None:
    b = bench({"a": [Answer([Wait(59.9), BODY]), Answer([Wait(60.1), BODY])]}, clock=VirtualClock())

    in_time, _ = await b.run(call(HELLO, on=on(THINKS)), plan(THINKS))
    late, made = await b.run(call(HELLO, on=on(THINKS)), plan(THINKS))

    assert in_time == BODY
    assert isinstance(late, ProxyError)
    assert [(a.outcome, a.ms) for a in made.attempts] == [("first_token_timeout", 60_000.0)]


@pytest.mark.parametrize(("silence", "whole"), [(59.0, True), (61.0, False)])
async def test_a_stream_may_be_silent_for_as_long_as_its_idle_time(silence: float, whole: bool) -> None:
    idle = timed(idle=60.0)
    b = bench({"a": [Answer([TEXT, Wait(silence), STOP, DONE])]}, clock=VirtualClock())

    out, made = await b.run(call(STREAM, on=on(idle)), plan(idle))

    assert isinstance(out, bytes)
    assert (out == TEXT + STOP + DONE) is whole
    assert (made.outcome == "ok") is whole
    assert whole or (out.startswith(TEXT + b'data: {"error"') and b"[DONE]" not in out)
    assert b.clock.now == made.timings.started + min(silence, 60.0)


async def test_an_attempt_ends_where_the_call_s_time_does() -> None:
    b = bench({"a": [SILENT]}, clock=VirtualClock())
    configured = on(A, deadline=DeadlinePolicy(soft=1.0, hard=10.0))

    out, made = await b.run(call(STREAM, on=configured), plan(A))

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.error_code) == (504, "deadline_exceeded")
    assert [(a.outcome, a.ms) for a in made.attempts] == [("deadline_exceeded", 10_000.0)]
    assert b.health.breaker_rows() == []


async def test_no_attempt_is_made_without_time_left() -> None:
    b, limited = bench({"a": []}), target("a", limits=LimitValues(concurrency=1))
    of = call(HELLO, on=on(limited))
    made = record(of, started=b.clock.now - 600.0)

    out, _ = await b.run(of, plan(limited), made)

    assert isinstance(out, ProxyError)
    assert out.error_code == "deadline_exceeded"
    assert made.attempts == []
    assert await b.limits.wait(limited, "main", 1) == 0.0


# what it tells of its target


def streams(*seconds: float) -> list[Answer]:
    return [Answer([Wait(each), ROLE, TEXT, STOP, DONE]) for each in seconds]


async def streamed(b: Bench, of: Deployment = A, times: int = 1, **policies: Any) -> list[list[str]]:
    seen = []
    for _ in range(times):
        _, made = await b.run(call(STREAM, on=on(of, retry=ONCE, **policies)), plan(of))
        seen.append(outcomes(made))
    return seen


async def test_a_tenfold_slower_target_trips_its_breaker() -> None:
    b = bench({"a": streams(*[0.5] * SAMPLES, *[5.0] * 3)}, BreakerPolicy(consecutive=3), clock=VirtualClock())

    await streamed(b, times=SAMPLES + 2)
    before = b.health.breaker_rows()
    last = await streamed(b)

    assert [row["state"] for row in before] == ["closed"]
    assert last == [["a ok"]]  # nobody was refused his answer
    [row] = b.health.breaker_rows()
    assert (row["state"], row["open_seconds_left"]) == ("open", 60.0)


async def test_a_slow_probe_has_failed() -> None:
    b = bench({"a": streams(*[0.5] * SAMPLES, *[5.0] * 3)}, BreakerPolicy(consecutive=2), clock=VirtualClock())
    await streamed(b, times=SAMPLES + 2)
    await asyncio.sleep(60.0)

    await streamed(b)

    [row] = b.health.breaker_rows()
    assert (row["state"], row["openings"]) == ("open", 2)


async def test_a_long_answer_is_no_slow_one() -> None:
    long = Answer([Wait(0.5), TEXT, *[Wait(50), TEXT] * 11, STOP, DONE])
    b = bench({"a": [*streams(*[0.5] * SAMPLES), *[long] * 9]}, BreakerPolicy(consecutive=1), clock=VirtualClock())

    await streamed(b, times=SAMPLES + 9)

    assert b.health.breaker_rows() == []


async def test_an_answer_in_one_piece_is_never_slow() -> None:
    quick, slow = Answer([Wait(0.5), BODY]), Answer([Wait(50), BODY])
    b = bench({"a": [*[quick] * SAMPLES, *[slow] * 9]}, BreakerPolicy(consecutive=1), clock=VirtualClock())

    for _ in range(SAMPLES + 9):
        await b.run(call(HELLO, on=on(A)), plan(A))

    assert b.health.breaker_rows() == []


async def test_where_slow_calls_are_no_failures_they_are_none() -> None:
    b = bench({"a": streams(*[0.5] * SAMPLES, 5.0)}, BreakerPolicy(consecutive=1), clock=VirtualClock())

    await streamed(b, times=SAMPLES + 1, slow=SlowPolicy(enabled=False))

    assert b.health.breaker_rows() == []


class Overslept(Pulse):
    """Of a process that has been kept from its work for half a second."""

    lag = 0.5  # type: ignore[assignment]


async def test_while_this_process_is_late_itself_no_target_is_slow() -> None:
    clock = VirtualClock()
    b = bench(
        {"a": streams(*[0.5] * SAMPLES, 5.0, 11.0)}, BreakerPolicy(consecutive=1), clock=clock, pulse=Overslept(clock)
    )

    await streamed(b, times=SAMPLES + 1)
    before = b.health.breaker_rows()
    await streamed(b)

    assert before == []
    [row] = b.health.breaker_rows()
    assert row["state"] == "open"  # for that the half second is no excuse


async def test_a_slow_answer_is_measured_once() -> None:
    b = bench({"a": streams(*[1.0] * SAMPLES, 11.0)}, clock=VirtualClock())

    await streamed(b, times=SAMPLES + 1)

    assert b.health.latencies() == {"a/m": pytest.approx(1.0 + 0.2 * 10.0)}


# what it holds


TOKENS = target("a", limits=LimitValues(tpm=1000, concurrency=1), timeouts=Timeouts(total=5.0))
ASKS_FOR_600 = b'{"model":"auto","messages":[{"role":"user","content":"Hello"}],"max_tokens":600}'


@pytest.mark.parametrize(
    ("answer", "used"),
    [
        (OK, 3),  # as reported
        (E500, 0),  # an error used none
        (Answer([BODY[:9], CUT]), 600),  # it was cut: what it used is unknown
        (Answer([b"<html>"]), 0),
        (Answer([Stall()]), 600),  # nobody knows: what was reserved stands
    ],
)
async def test_what_an_attempt_used_replaces_what_it_reserved(answer: Answer, used: int) -> None:
    b = bench({"a": [answer]}, clock=VirtualClock())

    await b.run(call(ASKS_FOR_600, on=on(TOKENS, retry=ONCE)), plan(TOKENS))

    rows = {row["kind"]: row["used"] for row in await b.limits.rows()}
    assert rows.get("tpm", 0) == used
    assert rows.get("concurrency", 0) == 0


async def test_a_disconnect_releases_the_slot_and_keeps_the_tokens() -> None:
    b = bench({"a": [Answer([TEXT, Stall()])]}, clock=VirtualClock())
    raw = ASKS_FOR_600[:-1] + b',"stream":true}'
    of, begun = call(raw, on=on(TOKENS)), asyncio.Event()

    async def client() -> None:
        async with running(b, of, plan(TOKENS), record(of, started=b.clock.now)) as reply:
            async for _ in reply.chunks:
                begun.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(client())
        await begun.wait()
        held = {row["kind"]: row["used"] for row in await b.limits.rows()}
        task.cancel()

    assert held == {"tpm": 600, "concurrency": 1}
    assert {row["kind"]: row["used"] for row in await b.limits.rows()} == {"tpm": 600}


async def test_limits_are_learned_from_any_answer() -> None:
    said = {"x-ratelimit-limit-requests": "7", "x-ratelimit-remaining-requests": "6"}
    b = bench({"a": [refusal(500, headers=said)]})

    await b.run(call(HELLO, on=on(A, retry=ONCE)), plan(A))

    assert [charge.limit for charge in b.limits.charges(A, "main", 1)][0] == 7


async def test_an_open_attempt_is_held_by_whoever_asked_for_it() -> None:
    b = bench({"a": [STREAMED]})
    of, lease = call(STREAM, on=on(A)), b.health.lease(A)
    assert lease
    run = new_run(b.clock, of, plan(A), record(of, started=b.clock.now))
    attempt = b.attempts.new(run, run.targets[0], lease)

    await attempt.open()
    assert (b.transport.open, attempt.entry.outcome, run.record.timings.first_token) == (1, "started", None)
    await attempt.close()

    assert b.transport.open == 0
    assert outcomes(run.record) == ["a cancelled"]
