"""The attempt loop against scripted upstreams: one host for each provider, one line for each attempt."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from proxy.core.errors import ProxyError
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.types import (
    BreakerPolicy,
    Call,
    DeadlinePolicy,
    Deployment,
    Plan,
    Record,
    Reply,
    RetryPolicy,
    Snapshot,
    Target,
    Timeouts,
)
from proxy.dialects.openai import OpenAIDialect
from proxy.upstream.executor import Executor
from proxy.upstream.health import Health
from tests.calls import HELLO, STREAM, call, deployment, plan, provider, record, snapshot
from tests.fakes import REFUSED, Answer, FakeClock, ScriptedTransport, Stall, Wait

pytestmark = pytest.mark.anyio

BODY = b'{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":2,"completion_tokens":1}}'
OK = Answer([BODY[:30], BODY[30:]], headers={"content-type": "application/json"})
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
STREAMED = Answer([ROLE, TEXT, STOP, DONE])
CUT = UpstreamFailure(FailureKind.CONNECT, "the upstream closed the connection")


def refusal(status: int, message: str = "no", **fields: Any) -> Answer:
    headers = {name.replace("_", "-"): value for name, value in fields.pop("headers", {}).items()}
    return Answer([json.dumps({"error": {"message": message, **fields}}).encode()], status, headers)


E500, E503 = refusal(500), refusal(503)
E400, E401, E404, E429 = refusal(400), refusal(401), refusal(404), refusal(429)
TOO_LONG = refusal(400, code="context_length_exceeded")
FILTERED = refusal(400, code="content_filter")
EMPTY, HTML, HALF = Answer([]), Answer([b"<html>"]), Answer([BODY[:20], CUT])
CHOICELESS = Answer([b'{"choices":[]}'])
ERROR_IN_200 = Answer([b'{"error":{"message":"busy","code":503}}'])


@dataclass
class Bench:
    """An executor with its scripted upstreams."""

    clock: FakeClock
    transport: ScriptedTransport
    health: Health
    executor: Executor

    async def run(self, of: Call, planned: Plan, made: Record | None = None) -> tuple[bytes | ProxyError, Record]:
        """What the client gets, or the error."""
        made = made or record(of, started=self.clock.now)
        try:
            async with self.executor.run(of, planned, made) as reply:
                return b"".join([chunk async for chunk in reply.chunks]), made
        except ProxyError as error:
            return error, made


def bench(
    script: Mapping[str, Sequence[Answer]], policy: BreakerPolicy | None = None, *, clock: FakeClock | None = None
) -> Bench:
    clock = clock or FakeClock()
    transport = ScriptedTransport(clock, script)
    health = Health(clock, policy or BreakerPolicy())
    executor = Executor(
        transports={"openai": transport},
        dialects={"openai": OpenAIDialect()},
        health=health,
        clock=clock,
        rng=random.Random(1),
    )
    return Bench(clock, transport, health, executor)


def target(name: str, *keys: str, **fields: Any) -> Deployment:
    return deployment("m", provider(name, *keys), **fields)


A, B, C = target("a"), target("b"), target("c")


def on(*deployments: Deployment, **policies: Any) -> Snapshot:
    return snapshot(*deployments, **policies)


def outcomes(made: Record) -> list[str]:
    return [f"{attempt.provider} {attempt.outcome}" for attempt in made.attempts]


async def test_the_first_target_answers_and_the_rest_is_left_alone() -> None:
    b = bench({"a": [OK], "b": []})

    out, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    assert out == BODY
    assert outcomes(made) == ["a ok"]
    assert (made.chosen, made.outcome, made.committed) == (A, "ok", True)
    assert made.usage
    assert (made.usage.input, made.usage.output) == (2, 1)
    assert b.transport.requests[0].headers["authorization"] == "Bearer sk-main-secret"


# script of a; then b and c answer: who is asked
FAULTS = [
    ([REFUSED, OK], ["a connect", "a ok"]),
    ([REFUSED, REFUSED], ["a connect", "a connect", "b ok"]),
    ([E500, OK], ["a server_error", "a ok"]),
    ([E500, E503], ["a server_error", "a overloaded", "b ok"]),
    ([ERROR_IN_200, OK], ["a overloaded", "a ok"]),
    ([HALF, OK], ["a connect", "a ok"]),
    ([refusal(408)], ["a first_token_timeout", "b ok"]),
    ([E429], ["a rate_limited", "b ok"]),
    ([E401], ["a key_rejected", "b ok"]),
    ([refusal(402)], ["a key_rejected", "b ok"]),
    ([refusal(403)], ["a key_rejected", "b ok"]),
    ([E404], ["a model_missing", "b ok"]),
    ([TOO_LONG], ["a context_too_long", "b ok"]),
    ([EMPTY], ["a malformed", "b ok"]),
    ([HTML], ["a malformed", "b ok"]),
    ([CHOICELESS], ["a malformed", "b ok"]),
    ([E400], ["a bad_request"]),
    ([refusal(422)], ["a bad_request"]),
    ([FILTERED], ["a content_filtered"]),
]


@pytest.mark.parametrize(("script", "expected"), FAULTS)
async def test_what_follows_from_a_fault_is_the_table_s(script: list[Answer], expected: list[str]) -> None:
    b = bench({"a": script, "b": [OK], "c": [OK]})

    out, made = await b.run(call(HELLO, on=on(A, B, C)), plan(A, B, C))

    assert outcomes(made) == expected
    assert (out == BODY) is expected[-1].endswith(" ok")
    assert (b.transport.open, b.transport.reading) == (0, 0)


STREAM_FAULTS = [
    Answer([]),
    Answer([DONE]),
    Answer([ROLE]),
    Answer([ROLE, DONE]),
    Answer([b"<html>502</html>"]),
    Answer([b'{"error":{"message":"x"}}'], headers={"content-type": "application/json"}),
    Answer([BODY], headers={"content-type": "application/json"}),
    Answer([b'data: {"error":{"message":"x","code":500}}\n\n']),
    Answer([ROLE, b"data: {broken\n\n"]),
    Answer([ROLE, CUT]),
    Answer([ROLE, Stall()]),
    Answer(before=[Stall()]),
]


@pytest.mark.parametrize("fault", STREAM_FAULTS)
async def test_a_stream_that_fails_before_its_first_content_fails_over_unseen(fault: Answer) -> None:
    hasty = replace(A, timeouts=Timeouts(first_token=0.02))
    b = bench({"a": [fault, fault], "b": [STREAMED]})

    out, made = await b.run(call(STREAM, on=on(hasty, B)), plan(hasty, B))

    assert out == ROLE + TEXT + STOP + DONE
    assert outcomes(made)[-1] == "b ok"
    assert (b.transport.open, b.transport.reading) == (0, 0)


async def test_a_stall_before_the_first_content_is_a_timeout_and_not_tried_again() -> None:
    hasty = replace(A, timeouts=Timeouts(first_token=0.01))
    b = bench({"a": [Answer([ROLE, Stall()])]})

    out, made = await b.run(call(STREAM, on=on(hasty)), plan(hasty))

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.error_code) == (504, "upstream_timeout")
    assert outcomes(made) == ["a first_token_timeout"]


async def test_an_answer_that_does_not_stream_may_take_its_total_time() -> None:
    hasty = replace(A, timeouts=Timeouts(first_token=0.001, total=0.01))
    b = bench({"a": [Answer([BODY[:5], Stall()])]})

    out, made = await b.run(call(HELLO, on=on(hasty)), plan(hasty))

    assert isinstance(out, ProxyError)
    assert "within 0.01 s" in str(out)
    assert outcomes(made) == ["a first_token_timeout"]


# attempts, retries on one target, targets that always fail: how often each is asked
ARITHMETIC = [
    (4, 1, 1, "aa"),
    (4, 3, 1, "aaaa"),
    (4, 9, 1, "aaaa"),
    (1, 1, 1, "a"),
    (4, 0, 3, "abc"),
    (4, 1, 2, "aabb"),
    (4, 1, 3, "aabc"),
    (3, 1, 3, "abc"),
    (2, 1, 3, "ab"),
    (1, 1, 3, "a"),
    (5, 1, 3, "aabbc"),
    (9, 1, 3, "aabbcc"),
    (5, 9, 3, "aaabc"),
]


@pytest.mark.parametrize(("attempts", "same_target", "targets", "asked"), ARITHMETIC)
async def test_a_retry_never_takes_the_attempt_that_the_next_target_needs(
    attempts: int, same_target: int, targets: int, asked: str
) -> None:
    chosen = (A, B, C)[:targets]
    patient = BreakerPolicy(consecutive=100, window_failures=100)
    b = bench({each.provider.name: [E500] * 10 for each in chosen}, patient)
    configured = on(*chosen, retry=RetryPolicy(attempts=attempts, same_target=same_target))

    out, made = await b.run(call(HELLO, on=configured), plan(*chosen))

    assert "".join(b.transport.hosts) == asked
    assert isinstance(out, ProxyError)
    assert out.http_status == 502
    assert len(made.attempts) == len(asked)


async def test_retries_wait_with_growing_jitter() -> None:
    b = bench({"a": [E500] * 4}, BreakerPolicy(consecutive=9, window_failures=9))
    retry = RetryPolicy(attempts=4, same_target=3, backoff=0.2, max_backoff=5.0)

    await b.run(call(HELLO, on=on(A, retry=retry)), plan(A))

    assert len(b.clock.slept) == 3
    assert all(0 <= slept <= ceiling for slept, ceiling in zip(b.clock.slept, (0.2, 0.4, 0.8), strict=True))


async def test_a_fallback_does_not_wait() -> None:
    b = bench({"a": [E429], "b": [OK]})

    await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    assert b.clock.slept == []


@pytest.mark.parametrize(("hint", "asked"), [("2", "aa"), ("5", "aa"), ("6", "ab")])
async def test_a_retry_waits_as_long_as_the_provider_asked_or_is_not_made(hint: str, asked: str) -> None:
    b = bench({"a": [refusal(503, headers={"retry_after": hint}), OK], "b": [OK]})

    await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    assert "".join(b.transport.hosts) == asked
    assert b.clock.slept == ([float(hint)] if asked == "aa" else [])


@pytest.mark.parametrize("first", [E429, E401])
async def test_another_key_of_the_same_target_is_tried_at_once(first: Answer) -> None:
    two = target("a", "one", "two")
    b = bench({"a": [first, OK], "b": []})

    out, made = await b.run(call(HELLO, on=on(two, B)), plan(two, B))

    assert out == BODY
    assert {attempt.key_id for attempt in made.attempts} == {"one", "two"}
    assert b.clock.slept == []
    assert len(b.health.rests()) == 1


async def test_keys_are_not_tried_at_the_next_target_s_cost() -> None:
    many = target("a", "one", "two", "three", "four", "five")
    b = bench({"a": [E401] * 5, "b": [OK]})

    out, made = await b.run(call(HELLO, on=on(many, B)), plan(many, B))

    assert out == BODY
    assert outcomes(made) == ["a key_rejected"] * 3 + ["b ok"]
    assert len({attempt.key_id for attempt in made.attempts[:3]}) == 3


async def test_a_pinned_key_is_the_only_one() -> None:
    two = target("a", "one", "two")
    b = bench({"a": [E429]})
    pinned = b'{"model":"x","messages":[{"role":"user"}],"router":{"key_id":"two"}}'

    out, made = await b.run(call(pinned, on=on(two)), plan(two))

    assert isinstance(out, ProxyError)
    assert out.http_status == 429
    assert [attempt.key_id for attempt in made.attempts] == ["two"]


async def test_a_key_that_rests_is_not_asked_by_the_next_call() -> None:
    b = bench({"a": [refusal(429, headers={"retry_after": "30"}), OK]})
    await b.run(call(HELLO, on=on(A)), plan(A))

    out, made = await b.run(call(HELLO, on=on(A)), plan(A))

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.response_headers()["retry-after"]) == (429, "30")
    assert made.attempts == []
    b.clock.pass_(30)
    assert (await b.run(call(HELLO, on=on(A)), plan(A)))[0] == BODY


@pytest.mark.parametrize(
    ("windows", "asked"),
    [
        ((8, 4, 16), "ac"),
        ((8, 8, 8), "a"),
        ((8, None, 4), "ab"),
        ((None, 4, 4), "ab"),
    ],
)
async def test_what_is_too_long_goes_only_to_a_larger_context(windows: tuple[int | None, ...], asked: str) -> None:
    chosen = [target(name, context_window=size) for name, size in zip("abc", windows, strict=True)]
    b = bench({"a": [TOO_LONG], "b": [OK], "c": [OK]})

    out, _ = await b.run(call(HELLO, on=on(*chosen)), plan(*chosen))

    assert "".join(b.transport.hosts) == asked
    if asked == "a":
        assert isinstance(out, ProxyError)
        assert (out.http_status, out.error_code) == (400, "context_length_exceeded")


async def test_an_open_breaker_is_passed_over_without_an_attempt() -> None:
    b = bench({"a": [E500] * 2, "b": [OK] * 2}, BreakerPolicy(consecutive=2))
    await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    out, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    assert out == BODY
    assert outcomes(made) == ["b ok"]


@pytest.mark.parametrize(("then", "state"), [(OK, []), (E500, ["open"])])
async def test_an_open_breaker_never_keeps_us_from_the_last_target_left(then: Answer, state: list[str]) -> None:
    b = bench({"a": [E500] * 2 + [then]}, BreakerPolicy(consecutive=2))
    await b.run(call(HELLO, on=on(A)), plan(A))

    out, made = await b.run(call(HELLO, on=on(A)), plan(A))

    assert len(made.attempts) == 1
    assert (out == BODY) is (then is OK)
    assert [row["state"] for row in b.health.breakers() if row["state"] != "closed"] == state


async def test_a_target_whose_keys_rest_is_not_forced() -> None:
    b = bench({"a": [E401], "b": [E500] * 2 + [OK]}, BreakerPolicy(consecutive=2))
    await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    out, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    assert out == BODY
    assert outcomes(made) == ["b ok"]


async def test_a_pinned_key_that_nobody_has_is_told() -> None:
    b = bench({"a": []})
    pinned = b'{"model":"x","messages":[{"role":"user"}],"router":{"key_id":"nobody"}}'

    out, _ = await b.run(call(pinned, on=on(A)), plan(A))

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.error_code, out.param) == (400, "no_candidate_available", "router.key_id")


async def test_our_own_429_does_not_trip_the_breaker() -> None:
    b = bench({"a": [refusal(429, headers={"retry_after": "0"})] * 8})

    for _ in range(8):
        await b.run(call(HELLO, on=on(A)), plan(A))

    assert [row for row in b.health.breakers() if row["state"] != "closed"] == []


async def test_an_error_whose_body_cannot_be_read_is_judged_by_its_status() -> None:
    b = bench({"a": [Answer([b'{"error":', CUT], 429)], "b": [OK]})

    out, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    assert out == BODY
    assert outcomes(made) == ["a rate_limited", "b ok"]


async def test_an_endless_error_body_is_cut_off() -> None:
    b = bench({"a": [Answer([b"x" * 100_000] * 10 + [Stall()], 400)]})

    out, _ = await b.run(call(HELLO, on=on(A)), plan(A))

    assert isinstance(out, ProxyError)
    assert out.http_status == 400


async def test_no_error_repeats_our_key() -> None:
    b = bench({"a": [refusal(400, "bad key sk-main-secret here")]})

    out, _ = await b.run(call(HELLO, on=on(A)), plan(A))

    assert isinstance(out, ProxyError)
    assert b"sk-main-secret" not in out.body()
    assert b"bad key *** here" in out.body()


async def test_after_the_soft_deadline_the_fastest_target_is_next_and_no_target_gets_a_retry() -> None:
    slow = replace(B, latency=3.0)
    fast = replace(C, latency=1.0)
    late = Answer([Wait(40), CUT])
    b = bench({"a": [late], "b": [E500], "c": [E500]})
    configured = on(A, slow, fast, retry=RetryPolicy(attempts=9), deadline=DeadlinePolicy(soft=30, hard=600))

    await b.run(call(HELLO, on=configured), plan(A, slow, fast))

    assert "".join(b.transport.hosts) == "acb"


async def test_measured_latency_beats_the_prior_after_the_soft_deadline() -> None:
    first, second = replace(B, latency=1.0), replace(C, latency=2.0)
    b = bench({"a": [Answer([Wait(40), CUT])], "b": [OK], "c": [OK]})
    b.health.measured(second, 0.5)

    await b.run(call(HELLO, on=on(A, first, second)), plan(A, first, second))

    assert "".join(b.transport.hosts) == "ac"


async def test_after_the_hard_deadline_nobody_is_asked() -> None:
    b = bench({"a": [Answer([Wait(700), CUT])], "b": [OK]})

    out, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.error_code) == (504, "deadline_exceeded")
    assert outcomes(made) == ["a connect"]


async def test_the_hard_deadline_ends_an_attempt_without_blaming_the_target() -> None:
    b = bench({"a": [Answer([ROLE, Stall()])]})
    configured = on(A, deadline=DeadlinePolicy(soft=0.005, hard=0.01))

    out, made = await b.run(call(STREAM, on=configured), plan(A))

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.error_code) == (504, "deadline_exceeded")
    assert outcomes(made) == ["a deadline_exceeded"]
    assert b.health.breakers() == []
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

    assert made.upstream_seconds == 3.0
    assert made.attempts[0].ms == 3000.0
    assert made.attempts[0].first_token_ms == 3000.0
    assert made.first_token == 1003.0
    assert b.health.latencies() == {"a/m": 3.0}


async def test_a_failure_is_not_measured_as_latency() -> None:
    b = bench({"a": [Answer([Wait(2.0), CUT]), E500]})

    await b.run(call(HELLO, on=on(A)), plan(A))

    assert b.health.latencies() == {}


async def test_of_the_upstream_s_headers_only_the_contract_s_pass() -> None:
    headers = {
        "content-type": "application/json; x=1",
        "openai-version": "2020-10-01",
        "x-request-id": "up-1",
        "set-cookie": "a=b",
        "x-ratelimit-remaining-requests": "3",
        "content-length": "9",
    }
    b = bench({"a": [Answer([BODY], 200, headers)]})
    of = call(HELLO, on=on(A))
    made = record(of, started=b.clock.now)

    async with b.executor.run(of, plan(A), made) as reply:
        chunks = [chunk async for chunk in reply.chunks]

    assert (reply.status, chunks) == (200, [BODY])
    assert reply.headers == {"content-type": "application/json; x=1", "openai-version": "2020-10-01"}
    assert made.upstream_request_id == "up-1"


async def begin(b: Bench, of: Call, planned: Plan, made: Record, got: asyncio.Event) -> None:
    async with b.executor.run(of, planned, made) as reply:
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
async def test_a_client_who_leaves_releases_everything_and_blames_nobody(answer: Answer, raw: bytes) -> None:
    b = bench({"a": [E500, answer, OK]}, BreakerPolicy(consecutive=1, half_open=1))
    await b.run(call(HELLO, on=on(A, retry=RetryPolicy(attempts=1))), plan(A))
    b.clock.pass_(60)  # the next attempt is the breaker's probe
    of = call(raw, on=on(A))
    made = record(of, started=b.clock.now)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(begin(b, of, plan(A), made, asyncio.Event()))
        for _ in range(10):
            await asyncio.sleep(0)
        assert b.transport.open == 1
        task.cancel()

    assert task.cancelled()
    assert (b.transport.open, b.transport.reading) == (0, 0)
    assert outcomes(made) == ["a cancelled"]
    assert [row["state"] for row in b.health.breakers()] in (["half-open"], ["closed"])
    assert (await b.run(call(HELLO, on=on(A)), plan(A)))[0] == BODY


async def test_a_client_who_leaves_while_we_wait_to_try_again_holds_nothing() -> None:
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

    async with b.executor.run(of, plan(A), record(of, started=b.clock.now)) as reply:
        await anext(reply.chunks)
        assert [row["state"] for row in b.health.breakers()] == ["closed"]
        await reply.chunks.aclose()


async def test_a_probe_whose_stream_broke_at_once_has_failed() -> None:
    broken = Answer([TEXT + b"data: {broken\n\n"])
    b = bench({"a": [E500, broken]}, BreakerPolicy(consecutive=1, half_open=1))
    await b.run(call(HELLO, on=on(A, retry=RetryPolicy(attempts=1))), plan(A))
    b.clock.pass_(60)

    out, made = await b.run(call(STREAM, on=on(A)), plan(A))

    assert isinstance(out, bytes)
    assert out.startswith(TEXT)
    assert outcomes(made) == ["a broken_stream"]
    assert [row["state"] for row in b.health.breakers()] == ["open"]


async def test_a_fault_after_the_commit_point_is_never_failed_over() -> None:
    b = bench({"a": [Answer([TEXT, CUT])], "b": [STREAMED]})

    out, made = await b.run(call(STREAM, on=on(A, B)), plan(A, B))

    assert isinstance(out, bytes)
    assert out.startswith(TEXT + b'data: {"error"')
    assert b"[DONE]" not in out
    assert outcomes(made) == ["a broken_stream"]
    assert made.outcome == "partial"


async def test_each_target_gets_its_own_parameters() -> None:
    planned = Plan("scenario/x", "scenario", "", (Target(A, {"temperature": 0.1}), Target(B, {"temperature": 0.9})), {})
    b = bench({"a": [E429], "b": [OK]})

    await b.run(call(HELLO, on=on(A, B)), planned)

    assert [json.loads(request.content)["temperature"] for request in b.transport.requests] == [0.1, 0.9]


async def test_a_reply_knows_whether_it_streams() -> None:
    b = bench({"a": [STREAMED, OK]})
    replies: list[Reply] = []

    for raw in (STREAM, HELLO):
        of = call(raw, on=on(A))
        async with b.executor.run(of, plan(A), record(of, started=b.clock.now)) as reply:
            replies.append(reply)
            await reply.chunks.aclose()

    assert [reply.stream for reply in replies] == [True, False]
