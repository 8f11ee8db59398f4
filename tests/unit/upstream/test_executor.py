from proxy.surfaces.openai.errors import error_body
"""The attempt loop against scripted upstreams: one host for each provider, one line for each attempt."""
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
from __future__ import annotations
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
import json
from proxy.surfaces.openai.errors import error_body
from dataclasses import replace
from proxy.surfaces.openai.errors import error_body
from typing import Any
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
import pytest
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
from proxy.core.errors import ProxyError
from proxy.surfaces.openai.errors import error_body
from proxy.core.model import Timeouts
from proxy.surfaces.openai.errors import error_body
from proxy.core.plan import Plan, Target
from proxy.surfaces.openai.errors import error_body
from proxy.core.policies import BreakerPolicy, RetryPolicy
from proxy.surfaces.openai.errors import error_body
from tests.support.calls import HELLO, STREAM, call, plan, record
from proxy.surfaces.openai.errors import error_body
from tests.support.clocks import VIRTUAL
from proxy.surfaces.openai.errors import error_body
from tests.support.fakes import REFUSED, Answer, Stall
from proxy.surfaces.openai.errors import error_body
from tests.unit.upstream.bench import (
from proxy.surfaces.openai.errors import error_body
    BODY,
from proxy.surfaces.openai.errors import error_body
    CHOICELESS,
from proxy.surfaces.openai.errors import error_body
    CUT,
from proxy.surfaces.openai.errors import error_body
    DONE,
from proxy.surfaces.openai.errors import error_body
    E400,
from proxy.surfaces.openai.errors import error_body
    E401,
from proxy.surfaces.openai.errors import error_body
    E404,
from proxy.surfaces.openai.errors import error_body
    E429,
from proxy.surfaces.openai.errors import error_body
    E500,
from proxy.surfaces.openai.errors import error_body
    E503,
from proxy.surfaces.openai.errors import error_body
    EMPTY,
from proxy.surfaces.openai.errors import error_body
    ERROR_IN_200,
from proxy.surfaces.openai.errors import error_body
    FILTERED,
from proxy.surfaces.openai.errors import error_body
    FILTERED_IN_200,
from proxy.surfaces.openai.errors import error_body
    FIREWALL,
from proxy.surfaces.openai.errors import error_body
    HALF,
from proxy.surfaces.openai.errors import error_body
    HTML,
from proxy.surfaces.openai.errors import error_body
    OK,
from proxy.surfaces.openai.errors import error_body
    ROLE,
from proxy.surfaces.openai.errors import error_body
    STOP,
from proxy.surfaces.openai.errors import error_body
    STREAMED,
from proxy.surfaces.openai.errors import error_body
    TEXT,
from proxy.surfaces.openai.errors import error_body
    TOO_LARGE,
from proxy.surfaces.openai.errors import error_body
    TOO_LONG,
from proxy.surfaces.openai.errors import error_body
    A,
from proxy.surfaces.openai.errors import error_body
    B,
from proxy.surfaces.openai.errors import error_body
    C,
from proxy.surfaces.openai.errors import error_body
    Reply,
from proxy.surfaces.openai.errors import error_body
    bench,
from proxy.surfaces.openai.errors import error_body
    on,
from proxy.surfaces.openai.errors import error_body
    outcomes,
from proxy.surfaces.openai.errors import error_body
    refusal,
from proxy.surfaces.openai.errors import error_body
    running,
from proxy.surfaces.openai.errors import error_body
    target,
from proxy.surfaces.openai.errors import error_body
)
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
pytestmark = pytest.mark.anyio
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
@pytest.fixture
from proxy.surfaces.openai.errors import error_body
def anyio_backend() -> Any:
from proxy.surfaces.openai.errors import error_body
    return VIRTUAL
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_the_first_target_answers_and_the_rest_is_left_alone() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [OK], "b": []})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert out == BODY
from proxy.surfaces.openai.errors import error_body
    assert outcomes(made) == ["a ok"]
from proxy.surfaces.openai.errors import error_body
    assert (made.chosen, made.outcome) == (A, "ok")
from proxy.surfaces.openai.errors import error_body
    assert made.timings.first_token == b.clock.now
from proxy.surfaces.openai.errors import error_body
    assert made.usage
from proxy.surfaces.openai.errors import error_body
    assert (made.usage.input, made.usage.output) == (2, 1)
from proxy.surfaces.openai.errors import error_body
    assert b.transport.requests[0].headers["authorization"] == "Bearer sk-main-secret"
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
# script of a; then b and c answer: who is asked
from proxy.surfaces.openai.errors import error_body
FAULTS = [
from proxy.surfaces.openai.errors import error_body
    ([REFUSED, OK], ["a connect", "a ok"]),
from proxy.surfaces.openai.errors import error_body
    ([REFUSED, REFUSED], ["a connect", "a connect", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([E500, OK], ["a server_error", "a ok"]),
from proxy.surfaces.openai.errors import error_body
    ([E500, E503], ["a server_error", "a overloaded", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([ERROR_IN_200, OK], ["a overloaded", "a ok"]),
from proxy.surfaces.openai.errors import error_body
    ([HALF, OK], ["a connect", "a ok"]),
from proxy.surfaces.openai.errors import error_body
    ([refusal(408)], ["a first_token_timeout", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([E429], ["a rate_limited", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([E401], ["a key_rejected", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([refusal(402)], ["a key_rejected", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([refusal(403)], ["a key_rejected", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([FIREWALL], ["a forbidden", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([TOO_LARGE], ["a too_large", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([refusal(429, headers={"retry_after": "0"})], ["a rate_limited", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([E404], ["a model_missing", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([TOO_LONG], ["a context_too_long", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([EMPTY], ["a malformed", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([HTML], ["a malformed", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([CHOICELESS], ["a malformed", "b ok"]),
from proxy.surfaces.openai.errors import error_body
    ([E400], ["a bad_request"]),
from proxy.surfaces.openai.errors import error_body
    ([refusal(422)], ["a bad_request"]),
from proxy.surfaces.openai.errors import error_body
    ([FILTERED], ["a content_filtered"]),
from proxy.surfaces.openai.errors import error_body
    ([FILTERED_IN_200], ["a content_filtered"]),
from proxy.surfaces.openai.errors import error_body
]
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
@pytest.mark.parametrize(("script", "expected"), FAULTS)
from proxy.surfaces.openai.errors import error_body
async def test_what_follows_from_a_fault_is_the_table_s(script: list[Answer], expected: list[str]) -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": script, "b": [OK], "c": [OK]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(HELLO, on=on(A, B, C)), plan(A, B, C))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert outcomes(made) == expected
from proxy.surfaces.openai.errors import error_body
    assert (out == BODY) is expected[-1].endswith(" ok")
from proxy.surfaces.openai.errors import error_body
    assert (b.transport.open, b.transport.reading) == (0, 0)
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
STREAM_FAULTS = [
from proxy.surfaces.openai.errors import error_body
    Answer([]),
from proxy.surfaces.openai.errors import error_body
    Answer([DONE]),
from proxy.surfaces.openai.errors import error_body
    Answer([ROLE]),
from proxy.surfaces.openai.errors import error_body
    Answer([ROLE, DONE]),
from proxy.surfaces.openai.errors import error_body
    Answer([b"<html>502</html>"]),
from proxy.surfaces.openai.errors import error_body
    Answer([b'{"error":{"message":"x"}}'], headers={"content-type": "application/json"}),
from proxy.surfaces.openai.errors import error_body
    Answer([BODY], headers={"content-type": "application/json"}),
from proxy.surfaces.openai.errors import error_body
    Answer([b'data: {"error":{"message":"x","code":500}}\n\n']),
from proxy.surfaces.openai.errors import error_body
    Answer([ROLE, b"data: {broken\n\n"]),
from proxy.surfaces.openai.errors import error_body
    Answer([ROLE, CUT]),
from proxy.surfaces.openai.errors import error_body
    Answer([ROLE, Stall()]),
from proxy.surfaces.openai.errors import error_body
    Answer(before=[Stall()]),
from proxy.surfaces.openai.errors import error_body
]
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
@pytest.mark.parametrize("fault", STREAM_FAULTS)
from proxy.surfaces.openai.errors import error_body
async def test_a_stream_failing_before_content_falls_back_unseen(fault: Answer) -> None:
from proxy.surfaces.openai.errors import error_body
    hasty = replace(A, timeouts=Timeouts(first_token=0.02))
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [fault, fault], "b": [STREAMED]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(STREAM, on=on(hasty, B)), plan(hasty, B))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert out == ROLE + TEXT + STOP + DONE
from proxy.surfaces.openai.errors import error_body
    assert outcomes(made)[-1] == "b ok"
from proxy.surfaces.openai.errors import error_body
    assert (b.transport.open, b.transport.reading) == (0, 0)
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_a_stall_before_content_is_a_timeout_without_retry() -> None:
from proxy.surfaces.openai.errors import error_body
    hasty = replace(A, timeouts=Timeouts(first_token=0.01))
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [Answer([ROLE, Stall()])]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(STREAM, on=on(hasty)), plan(hasty))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert isinstance(out, ProxyError)
from proxy.surfaces.openai.errors import error_body
    assert (out.http_status, out.error_code) == (504, "upstream_timeout")
from proxy.surfaces.openai.errors import error_body
    assert outcomes(made) == ["a first_token_timeout"]
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_an_answer_that_does_not_stream_may_take_its_total_time() -> None:
from proxy.surfaces.openai.errors import error_body
    hasty = replace(A, timeouts=Timeouts(first_token=0.001, total=0.01))
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [Answer([BODY[:5], Stall()])]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(HELLO, on=on(hasty)), plan(hasty))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert isinstance(out, ProxyError)
from proxy.surfaces.openai.errors import error_body
    assert "within `timeouts.total` (0.01 s)" in str(out)
from proxy.surfaces.openai.errors import error_body
    assert outcomes(made) == ["a first_token_timeout"]
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
# attempts, retries on one target, targets that always fail: how often each is asked
from proxy.surfaces.openai.errors import error_body
ARITHMETIC = [
from proxy.surfaces.openai.errors import error_body
    (4, 1, 1, "aa"),
from proxy.surfaces.openai.errors import error_body
    (4, 3, 1, "aaaa"),
from proxy.surfaces.openai.errors import error_body
    (4, 9, 1, "aaaa"),
from proxy.surfaces.openai.errors import error_body
    (1, 1, 1, "a"),
from proxy.surfaces.openai.errors import error_body
    (4, 0, 3, "abc"),
from proxy.surfaces.openai.errors import error_body
    (4, 1, 2, "aabb"),
from proxy.surfaces.openai.errors import error_body
    (4, 1, 3, "aabc"),
from proxy.surfaces.openai.errors import error_body
    (3, 1, 3, "abc"),
from proxy.surfaces.openai.errors import error_body
    (2, 1, 3, "ab"),
from proxy.surfaces.openai.errors import error_body
    (1, 1, 3, "a"),
from proxy.surfaces.openai.errors import error_body
    (5, 1, 3, "aabbc"),
from proxy.surfaces.openai.errors import error_body
    (9, 1, 3, "aabbcc"),
from proxy.surfaces.openai.errors import error_body
    (5, 9, 3, "aaabc"),
from proxy.surfaces.openai.errors import error_body
]
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
@pytest.mark.parametrize(("attempts", "same_target", "targets", "asked"), ARITHMETIC)
from proxy.surfaces.openai.errors import error_body
async def test_a_retry_leaves_an_attempt_for_the_next_target(
from proxy.surfaces.openai.errors import error_body
    attempts: int, same_target: int, targets: int, asked: str
from proxy.surfaces.openai.errors import error_body
) -> None:
from proxy.surfaces.openai.errors import error_body
    chosen = (A, B, C)[:targets]
from proxy.surfaces.openai.errors import error_body
    patient = BreakerPolicy(consecutive=100, window_failures=100)
from proxy.surfaces.openai.errors import error_body
    b = bench({each.provider.name: [E500] * 10 for each in chosen}, patient)
from proxy.surfaces.openai.errors import error_body
    configured = on(*chosen, retry=RetryPolicy(attempts=attempts, same_target=same_target))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(HELLO, on=configured), plan(*chosen))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert "".join(b.transport.hosts) == asked
from proxy.surfaces.openai.errors import error_body
    assert isinstance(out, ProxyError)
from proxy.surfaces.openai.errors import error_body
    assert out.http_status == 502
from proxy.surfaces.openai.errors import error_body
    assert len(made.attempts) == len(asked)
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_retries_wait_with_growing_jitter() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [E500] * 4}, BreakerPolicy(consecutive=9, window_failures=9))
from proxy.surfaces.openai.errors import error_body
    retry = RetryPolicy(attempts=4, same_target=3, backoff=0.2, max_backoff=5.0)
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    await b.run(call(HELLO, on=on(A, retry=retry)), plan(A))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert len(b.clock.slept) == 3
from proxy.surfaces.openai.errors import error_body
    assert all(0 <= slept <= ceiling for slept, ceiling in zip(b.clock.slept, (0.2, 0.4, 0.8), strict=True))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_a_fallback_does_not_wait() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [E429], "b": [OK]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    await b.run(call(HELLO, on=on(A, B)), plan(A, B))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert b.clock.slept == []
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
@pytest.mark.parametrize(("hint", "asked"), [("2", "aa"), ("5", "aa"), ("6", "ab")])
from proxy.surfaces.openai.errors import error_body
async def test_a_retry_waits_for_retry_after_or_is_not_made(hint: str, asked: str) -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [refusal(503, headers={"retry_after": hint}), OK], "b": [OK]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    await b.run(call(HELLO, on=on(A, B)), plan(A, B))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert "".join(b.transport.hosts) == asked
from proxy.surfaces.openai.errors import error_body
    assert b.clock.slept == ([float(hint)] if asked == "aa" else [])
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
@pytest.mark.parametrize("first", [E429, E401])
from proxy.surfaces.openai.errors import error_body
async def test_another_key_of_the_same_target_is_tried_at_once(first: Answer) -> None:
from proxy.surfaces.openai.errors import error_body
    two = target("a", "one", "two")
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [first, OK], "b": []})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(HELLO, on=on(two, B)), plan(two, B))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert out == BODY
from proxy.surfaces.openai.errors import error_body
    assert {attempt.key_id for attempt in made.attempts} == {"one", "two"}
from proxy.surfaces.openai.errors import error_body
    assert b.clock.slept == []
from proxy.surfaces.openai.errors import error_body
    assert len(b.health.cooldown_rows()) == 1
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_keys_are_not_tried_at_the_next_target_s_cost() -> None:
from proxy.surfaces.openai.errors import error_body
    many = target("a", "one", "two", "three", "four", "five")
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [E401] * 5, "b": [OK]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(HELLO, on=on(many, B)), plan(many, B))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert out == BODY
from proxy.surfaces.openai.errors import error_body
    assert outcomes(made) == ["a key_rejected"] * 3 + ["b ok"]
from proxy.surfaces.openai.errors import error_body
    assert len({attempt.key_id for attempt in made.attempts[:3]}) == 3
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_a_pinned_key_is_the_only_one() -> None:
from proxy.surfaces.openai.errors import error_body
    two = target("a", "one", "two")
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [E429]})
from proxy.surfaces.openai.errors import error_body
    pinned = b'{"model":"x","messages":[{"role":"user"}],"router":{"key_id":"two"}}'
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(pinned, on=on(two)), plan(two))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert isinstance(out, ProxyError)
from proxy.surfaces.openai.errors import error_body
    assert out.http_status == 429
from proxy.surfaces.openai.errors import error_body
    assert [attempt.key_id for attempt in made.attempts] == ["two"]
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_a_key_that_rests_is_not_asked_by_the_next_call() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [refusal(429, headers={"retry_after": "30"}), OK]})
from proxy.surfaces.openai.errors import error_body
    await b.run(call(HELLO, on=on(A)), plan(A))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(HELLO, on=on(A)), plan(A))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert isinstance(out, ProxyError)
from proxy.surfaces.openai.errors import error_body
    assert (out.http_status, out.response_headers()["retry-after"]) == (429, "30")
from proxy.surfaces.openai.errors import error_body
    assert made.attempts == []
from proxy.surfaces.openai.errors import error_body
    b.clock.pass_(30)
from proxy.surfaces.openai.errors import error_body
    assert (await b.run(call(HELLO, on=on(A)), plan(A)))[0] == BODY
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
@pytest.mark.parametrize(
from proxy.surfaces.openai.errors import error_body
    ("windows", "asked"),
from proxy.surfaces.openai.errors import error_body
    [
from proxy.surfaces.openai.errors import error_body
        ((8, 4, 16), "ac"),
from proxy.surfaces.openai.errors import error_body
        ((8, 8, 8), "a"),
from proxy.surfaces.openai.errors import error_body
        ((8, None, 4), "ab"),
from proxy.surfaces.openai.errors import error_body
        ((None, 4, 4), "ab"),
from proxy.surfaces.openai.errors import error_body
    ],
from proxy.surfaces.openai.errors import error_body
)
from proxy.surfaces.openai.errors import error_body
async def test_what_is_too_long_goes_only_to_a_larger_context(windows: tuple[int | None, ...], asked: str) -> None:
from proxy.surfaces.openai.errors import error_body
    chosen = [target(name, context_window=size) for name, size in zip("abc", windows, strict=True)]
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [TOO_LONG], "b": [OK], "c": [OK]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, _ = await b.run(call(HELLO, on=on(*chosen)), plan(*chosen))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert "".join(b.transport.hosts) == asked
from proxy.surfaces.openai.errors import error_body
    if asked == "a":
from proxy.surfaces.openai.errors import error_body
        assert isinstance(out, ProxyError)
from proxy.surfaces.openai.errors import error_body
        assert (out.http_status, out.error_code) == (400, "context_length_exceeded")
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_an_open_breaker_is_passed_over_without_an_attempt() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [E500] * 2, "b": [OK] * 2}, BreakerPolicy(consecutive=2))
from proxy.surfaces.openai.errors import error_body
    await b.run(call(HELLO, on=on(A, B)), plan(A, B))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert out == BODY
from proxy.surfaces.openai.errors import error_body
    assert outcomes(made) == ["b ok"]
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
@pytest.mark.parametrize(("then", "state"), [(OK, []), (E500, ["open"])])
from proxy.surfaces.openai.errors import error_body
async def test_an_open_breaker_does_not_block_the_last_target(then: Answer, state: list[str]) -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [E500] * 2 + [then]}, BreakerPolicy(consecutive=2))
from proxy.surfaces.openai.errors import error_body
    await b.run(call(HELLO, on=on(A)), plan(A))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(HELLO, on=on(A)), plan(A))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert len(made.attempts) == 1
from proxy.surfaces.openai.errors import error_body
    assert (out == BODY) is (then is OK)
from proxy.surfaces.openai.errors import error_body
    assert [row["state"] for row in b.health.breaker_rows() if row["state"] != "closed"] == state
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_a_target_whose_keys_rest_is_not_forced() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [E401], "b": [E500] * 2 + [OK]}, BreakerPolicy(consecutive=2))
from proxy.surfaces.openai.errors import error_body
    await b.run(call(HELLO, on=on(A, B)), plan(A, B))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert out == BODY
from proxy.surfaces.openai.errors import error_body
    assert outcomes(made) == ["b ok"]
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_a_pinned_key_that_nobody_has_is_told() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": []})
from proxy.surfaces.openai.errors import error_body
    pinned = b'{"model":"x","messages":[{"role":"user"}],"router":{"key_id":"nobody"}}'
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, _ = await b.run(call(pinned, on=on(A)), plan(A))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert isinstance(out, ProxyError)
from proxy.surfaces.openai.errors import error_body
    assert (out.http_status, out.error_code, out.param) == (400, "no_candidate_available", "router.key_id")
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_our_own_429_does_not_trip_the_breaker() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [refusal(429, headers={"retry_after": "0"})] * 8})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    for _ in range(2):  # each tried four times, since the provider says that it may be
from proxy.surfaces.openai.errors import error_body
        await b.run(call(HELLO, on=on(A)), plan(A))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert b.transport.left == 0
from proxy.surfaces.openai.errors import error_body
    assert [row for row in b.health.breaker_rows() if row["state"] != "closed"] == []
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_a_429_that_says_at_once_is_tried_again_at_once() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [refusal(429, headers={"retry_after": "0"}), OK]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(HELLO, on=on(A)), plan(A))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert out == BODY
from proxy.surfaces.openai.errors import error_body
    assert outcomes(made) == ["a rate_limited", "a ok"]
from proxy.surfaces.openai.errors import error_body
    assert made.timings.queue_seconds == 0.0
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
@pytest.mark.parametrize(
from proxy.surfaces.openai.errors import error_body
    ("answer", "status", "code"),
from proxy.surfaces.openai.errors import error_body
    [
from proxy.surfaces.openai.errors import error_body
        (TOO_LARGE, 400, "no_candidate_available"),
from proxy.surfaces.openai.errors import error_body
        (FILTERED_IN_200, 400, "content_filter"),
from proxy.surfaces.openai.errors import error_body
    ],
from proxy.surfaces.openai.errors import error_body
)
from proxy.surfaces.openai.errors import error_body
async def test_a_fault_of_one_call_keeps_nobody_else_from_the_target(answer: Answer, status: int, code: str) -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [answer] * 6 + [OK]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    refused = [await b.run(call(HELLO, on=on(A)), plan(A)) for _ in range(6)]
from proxy.surfaces.openai.errors import error_body
    out, _ = await b.run(call(HELLO, on=on(A)), plan(A))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert [len(made.attempts) for _, made in refused] == [1] * 6
from proxy.surfaces.openai.errors import error_body
    for error, _ in refused:
from proxy.surfaces.openai.errors import error_body
        assert isinstance(error, ProxyError)
from proxy.surfaces.openai.errors import error_body
        assert (error.http_status, error.error_code, error.retryable) == (status, code, False)
from proxy.surfaces.openai.errors import error_body
    assert (b.health.cooldown_rows(), b.health.breaker_rows()) == ([], [])
from proxy.surfaces.openai.errors import error_body
    assert out == BODY
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_an_error_with_an_unreadable_body_counts_by_status() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [Answer([b'{"error":', CUT], 429)], "b": [OK]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert out == BODY
from proxy.surfaces.openai.errors import error_body
    assert outcomes(made) == ["a rate_limited", "b ok"]
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_an_endless_error_body_is_cut_off() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [Answer([b"x" * 100_000] * 10 + [Stall()], 400)]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, _ = await b.run(call(HELLO, on=on(A)), plan(A))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert isinstance(out, ProxyError)
from proxy.surfaces.openai.errors import error_body
    assert out.http_status == 400
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_no_error_repeats_our_key() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [refusal(400, "bad key sk-main-secret here")]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, _ = await b.run(call(HELLO, on=on(A)), plan(A))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert isinstance(out, ProxyError)
from proxy.surfaces.openai.errors import error_body
    assert b"sk-main-secret" not in error_body(out)
from proxy.surfaces.openai.errors import error_body
    assert b"bad key *** here" in error_body(out)
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_of_the_upstream_s_headers_only_the_contract_s_pass() -> None:
from proxy.surfaces.openai.errors import error_body
    headers = {
from proxy.surfaces.openai.errors import error_body
        "content-type": "application/json; x=1",
from proxy.surfaces.openai.errors import error_body
        "openai-version": "2020-10-01",
from proxy.surfaces.openai.errors import error_body
        "x-request-id": "up-1",
from proxy.surfaces.openai.errors import error_body
        "set-cookie": "a=b",
from proxy.surfaces.openai.errors import error_body
        "x-ratelimit-remaining-requests": "3",
from proxy.surfaces.openai.errors import error_body
        "content-length": "9",
from proxy.surfaces.openai.errors import error_body
    }
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [Answer([BODY], 200, headers)]})
from proxy.surfaces.openai.errors import error_body
    of = call(HELLO, on=on(A))
from proxy.surfaces.openai.errors import error_body
    made = record(of, started=b.clock.now)
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    async with running(b, of, plan(A), made) as reply:
from proxy.surfaces.openai.errors import error_body
        chunks = [chunk async for chunk in reply.chunks]
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert (reply.status, chunks) == (200, [BODY])
from proxy.surfaces.openai.errors import error_body
    assert reply.headers == {"content-type": "application/json; x=1", "openai-version": "2020-10-01"}
from proxy.surfaces.openai.errors import error_body
    assert made.upstream_request_id == "up-1"
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_each_target_gets_its_own_parameters() -> None:
from proxy.surfaces.openai.errors import error_body
    targets = (Target(A, {"temperature": 0.1}), Target(B, {"temperature": 0.9}))
from proxy.surfaces.openai.errors import error_body
    planned = Plan("scenario/x", "scenario", "", targets, dict)
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [E429], "b": [OK]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    await b.run(call(HELLO, on=on(A, B)), planned)
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert [json.loads(request.content)["temperature"] for request in b.transport.requests] == [0.1, 0.9]
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_a_reply_knows_whether_it_streams() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [STREAMED, OK]})
from proxy.surfaces.openai.errors import error_body
    replies: list[Reply] = []
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    for raw in (STREAM, HELLO):
from proxy.surfaces.openai.errors import error_body
        of = call(raw, on=on(A))
from proxy.surfaces.openai.errors import error_body
        async with running(b, of, plan(A), record(of, started=b.clock.now)) as reply:
from proxy.surfaces.openai.errors import error_body
            replies.append(reply)
from proxy.surfaces.openai.errors import error_body
            await reply.aclose()
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert [reply.stream for reply in replies] == [True, False]
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
async def test_a_fault_after_the_commit_point_is_never_failed_over() -> None:
from proxy.surfaces.openai.errors import error_body
    b = bench({"a": [Answer([TEXT, CUT])], "b": [STREAMED]})
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    out, made = await b.run(call(STREAM, on=on(A, B)), plan(A, B))
from proxy.surfaces.openai.errors import error_body

from proxy.surfaces.openai.errors import error_body
    assert isinstance(out, bytes)
from proxy.surfaces.openai.errors import error_body
    assert out.startswith(TEXT + b'data: {"error"')
from proxy.surfaces.openai.errors import error_body
    assert b"[DONE]" not in out
from proxy.surfaces.openai.errors import error_body
    assert outcomes(made) == ["a broken_stream"]
from proxy.surfaces.openai.errors import error_body
    assert made.outcome == "partial"
