"""The attempt loop against scripted upstreams: one host for each provider, one line for each attempt."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.errors import ProxyError
from proxy.core.model import LimitValues, Timeouts
from proxy.core.plan import Plan, Target
from proxy.core.policies import BreakerPolicy, RetryPolicy
from proxy.surfaces.openai.errors import error_body
from tests.support.calls import HELLO, STREAM, call, plan, record
from tests.support.fakes import REFUSED, Answer, Stall
from tests.unit.upstream.bench import (
    BODY,
    CHOICELESS,
    CUT,
    DONE,
    E400,
    E401,
    E404,
    E429,
    E500,
    E503,
    EMPTY,
    ERROR_IN_200,
    FILTERED,
    FILTERED_IN_200,
    FIREWALL,
    HALF,
    HTML,
    OK,
    ROLE,
    STOP,
    STREAMED,
    TEXT,
    TOO_LARGE,
    TOO_LONG,
    A,
    B,
    C,
    Reply,
    bench,
    on,
    outcomes,
    refusal,
    running,
    target,
)

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


async def test_the_first_target_answers_and_the_rest_is_left_alone() -> None:
    b = bench({"a": [OK], "b": []})

    out, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    assert out == BODY
    assert outcomes(made) == ["a ok"]
    assert (made.chosen, made.outcome) == (A, "ok")
    assert made.timings.first_token == b.clock.now
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
    ([FIREWALL], ["a forbidden", "b ok"]),
    ([TOO_LARGE], ["a too_large", "b ok"]),
    ([refusal(429, headers={"retry_after": "0"})], ["a rate_limited", "b ok"]),
    ([E404], ["a model_missing", "b ok"]),
    ([TOO_LONG], ["a context_too_long", "b ok"]),
    ([EMPTY], ["a malformed", "b ok"]),
    ([HTML], ["a malformed", "b ok"]),
    ([CHOICELESS], ["a malformed", "b ok"]),
    ([E400], ["a bad_request"]),
    ([refusal(422)], ["a bad_request"]),
    ([FILTERED], ["a content_filtered"]),
    ([FILTERED_IN_200], ["a content_filtered"]),
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
async def test_a_stream_failing_before_content_falls_back_unseen(fault: Answer) -> None:
    hasty = replace(A, timeouts=Timeouts(first_token=0.02))
    b = bench({"a": [fault, fault], "b": [STREAMED]})

    out, made = await b.run(call(STREAM, on=on(hasty, B)), plan(hasty, B))

    assert out == ROLE + TEXT + STOP + DONE
    assert outcomes(made)[-1] == "b ok"
    assert (b.transport.open, b.transport.reading) == (0, 0)


async def test_a_stall_before_content_is_a_timeout_without_retry() -> None:
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
    assert "within `timeouts.total` (0.01 s)" in str(out)
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
async def test_a_retry_leaves_an_attempt_for_the_next_target(
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
async def test_a_retry_waits_for_retry_after_or_is_not_made(hint: str, asked: str) -> None:
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
    assert len(b.health.cooldown_rows()) == 1


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
async def test_an_open_breaker_does_not_block_the_last_target(then: Answer, state: list[str]) -> None:
    b = bench({"a": [E500] * 2 + [then]}, BreakerPolicy(consecutive=2))
    await b.run(call(HELLO, on=on(A)), plan(A))

    out, made = await b.run(call(HELLO, on=on(A)), plan(A))

    assert len(made.attempts) == 1
    assert (out == BODY) is (then is OK)
    assert [row["state"] for row in b.health.breaker_rows() if row["state"] != "closed"] == state


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

    for _ in range(2):  # each tried four times, since the provider says that it may be
        await b.run(call(HELLO, on=on(A)), plan(A))

    assert b.transport.left == 0
    assert [row for row in b.health.breaker_rows() if row["state"] != "closed"] == []


async def test_a_429_that_says_at_once_is_tried_again_at_once() -> None:
    b = bench({"a": [refusal(429, headers={"retry_after": "0"}), OK]})

    out, made = await b.run(call(HELLO, on=on(A)), plan(A))

    assert out == BODY
    assert outcomes(made) == ["a rate_limited", "a ok"]
    assert made.timings.queue_seconds == 0.0


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (TOO_LARGE, 400, "no_candidate_available"),
        (FILTERED_IN_200, 400, "content_filter"),
    ],
)
async def test_a_fault_of_one_call_keeps_nobody_else_from_the_target(answer: Answer, status: int, code: str) -> None:
    b = bench({"a": [answer] * 6 + [OK]})

    refused = [await b.run(call(HELLO, on=on(A)), plan(A)) for _ in range(6)]
    out, _ = await b.run(call(HELLO, on=on(A)), plan(A))

    assert [len(made.attempts) for _, made in refused] == [1] * 6
    for error, _ in refused:
        assert isinstance(error, ProxyError)
        assert (error.http_status, error.error_code, error.retryable) == (status, code, False)
    assert (b.health.cooldown_rows(), b.health.breaker_rows()) == ([], [])
    assert out == BODY


async def test_an_error_with_an_unreadable_body_counts_by_status() -> None:
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
    assert b"sk-main-secret" not in error_body(out)
    assert b"bad key *** here" in error_body(out)


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

    async with running(b, of, plan(A), made) as reply:
        chunks = [chunk async for chunk in reply.chunks]

    assert (reply.status, chunks) == (200, [BODY])
    assert reply.headers == {"content-type": "application/json; x=1", "openai-version": "2020-10-01"}
    assert made.upstream_request_id == "up-1"


async def test_each_target_gets_its_own_parameters() -> None:
    targets = (Target(A, {"temperature": 0.1}), Target(B, {"temperature": 0.9}))
    planned = Plan("scenario/x", "scenario", "", targets, dict)
    b = bench({"a": [E429], "b": [OK]})

    await b.run(call(HELLO, on=on(A, B)), planned)

    assert [json.loads(request.content)["temperature"] for request in b.transport.requests] == [0.1, 0.9]


async def test_a_reply_knows_whether_it_streams() -> None:
    b = bench({"a": [STREAMED, OK]})
    replies: list[Reply] = []

    for raw in (STREAM, HELLO):
        of = call(raw, on=on(A))
        async with running(b, of, plan(A), record(of, started=b.clock.now)) as reply:
            replies.append(reply)
            await reply.aclose()

    assert [reply.stream for reply in replies] == [True, False]


class Uncountable(dict[str, Any]):
    """A body whose messages cannot be read."""

    def get(self, name: str, default: Any = None) -> Any:
        if name == "messages":
            raise ZeroDivisionError
        return super().get(name, default)


async def test_an_error_while_an_attempt_is_settled_leaks_nothing() -> None:
    one = target("a", limits=LimitValues(concurrency=1))
    b = bench({"a": [Answer([TEXT, TEXT, STOP, DONE]), OK]})
    of = replace(call(STREAM, on=on(one)), body=Uncountable(model="m", stream=True))

    with pytest.raises(ZeroDivisionError):
        async with running(b, of, replace(plan(one), count_input=lambda: 1), record(of)) as reply:
            await anext(reply.chunks)

    out, _ = await b.run(call(HELLO, on=on(one)), plan(one))
    assert (out, b.transport.open) == (BODY, 0)


async def test_an_error_while_a_first_content_is_judged_leaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one = target("a", limits=LimitValues(concurrency=1))
    b = bench({"a": [STREAMED, OK]})
    monkeypatch.setattr(type(b.slow), "judge", lambda *_, **__: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        await b.run(call(STREAM, on=on(one)), plan(one))

    out, _ = await b.run(call(HELLO, on=on(one)), plan(one))
    assert (out, b.transport.open) == (BODY, 0)


async def test_a_fault_after_the_commit_point_is_never_failed_over() -> None:
    b = bench({"a": [Answer([TEXT, CUT])], "b": [STREAMED]})

    out, made = await b.run(call(STREAM, on=on(A, B)), plan(A, B))

    assert isinstance(out, bytes)
    assert out.startswith(TEXT + b'data: {"error"')
    assert b"[DONE]" not in out
    assert outcomes(made) == ["a broken_stream"]
    assert made.outcome == "partial"
