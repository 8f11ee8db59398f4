"""The attempt loop under an operator's rules: the retry budget, classes of failures, refusals, and rate limits."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from proxy.core.errors import InvalidRequest, ProxyError
from proxy.core.failures import RULES, FailureRule
from proxy.core.model import Deployment, LimitValues
from proxy.core.policies import BreakerPolicy, DeadlinePolicy, QueuePolicy, RetryPolicy
from proxy.core.record import Record
from proxy.dialects.openai.dialect import OpenAIDialect
from tests.support.calls import HELLO, STREAM, call, plan, retry_budget
from tests.support.clocks import VirtualClock
from tests.support.fakes import Answer, Script, Stall
from tests.unit.upstream.bench import (
    BODY,
    E400,
    E401,
    E429,
    E500,
    E503,
    FILTERED,
    OK,
    TOO_LONG,
    A,
    B,
    Bench,
    C,
    bench,
    on,
    outcomes,
    refusal,
    target,
)

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

TIMEOUT = refusal(408)
LARGE = refusal(413, "Request too large for m: Limit 5, Requested 6.")
PATIENT = BreakerPolicy(consecutive=100, window_failures=1000)


class Highest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


def scene(script: dict[str, Script], policy: BreakerPolicy = PATIENT, **options: Any) -> Bench:
    """A bench whose backoff is the longest that it may be; rules are given by their class."""
    rules = {name: options.pop(name) for name in RULES if name in options}
    return bench(script, policy, clock=VirtualClock(), rng=Highest(), rules={**RULES, **rules}, **options)


async def run(b: Bench, *deployments: Deployment, raw: bytes = HELLO, **policies: Any) -> tuple[Any, Record]:
    chosen = deployments or (A,)
    return await b.run(call(raw, on=on(*chosen, **policies)), plan(*chosen))


# the retry budget


@pytest.mark.parametrize(
    ("script", "targets", "status"),
    [
        ({"a": [E500]}, (A,), 502),  # a retry
        ({"a": [E429], "b": []}, (A, B), 429),  # another target
        ({"a": [refusal(429, headers={"retry_after": "2"})]}, (A,), 429),  # the same one when its rest is over
    ],
)
async def test_without_retry_budget_a_call_ends_with_its_failure(
    script: dict[str, Script], targets: tuple[Deployment, ...], status: int
) -> None:
    b = scene(script, budget=retry_budget(0.0, 0.0))

    out, made = await run(b, *targets)

    assert isinstance(out, ProxyError)
    assert out.http_status == status
    assert len(made.attempts) == 1
    assert b.budget.refused == 1


@pytest.mark.parametrize(
    ("script", "targets"),
    [
        ({"a": [E401, OK]}, (target("a", "one", "two"),)),  # another key
        ({"a": [E401], "b": [OK]}, (A, B)),  # the next target
        ({"a": [E401, E401], "b": [OK]}, (target("a", "one", "two"), B)),
    ],
)
async def test_what_follows_a_rejected_key_costs_no_budget(
    script: dict[str, Script], targets: tuple[Deployment]
) -> None:
    b = scene(script, budget=retry_budget(0.0, 0.0))

    out, _ = await run(b, *targets)

    assert out == BODY
    assert b.budget.refused == 0


async def test_a_rejected_key_does_not_hide_that_another_is_limited() -> None:
    limited = refusal(429, headers={"retry_after": "30"})
    b = scene({"a": [limited, E401]})

    out, made = await run(b, target("a", "one", "two"))

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.retry_after) == (429, 30.0)
    assert len(made.attempts) == 2


async def test_without_retry_budget_the_chosen_lease_is_released() -> None:
    limited = target("b", limits=LimitValues(rpm=1, concurrency=1))
    b = scene({"a": [E500], "b": []}, budget=retry_budget(0.0, 0.0))

    await run(b, A, limited, retry=RetryPolicy(same_target=0))

    assert await b.limits.wait(limited, "main", 1) == 0.0


async def test_the_retry_budget_covers_every_kind_of_attempt() -> None:
    b = scene({"a": lambda: E500, "b": lambda: E500}, budget=retry_budget(0.2, 0.0))

    for _ in range(100):
        await run(b, A, B)

    assert 115 <= len(b.transport.requests) <= 120


async def test_a_first_attempt_is_never_refused() -> None:
    b = scene({"a": [E500] * 3 + [OK]}, BreakerPolicy(consecutive=1), budget=retry_budget(0.0, 0.0))

    results = [await run(b) for _ in range(4)]

    assert [len(made.attempts) for _, made in results] == [1, 1, 1, 1]
    assert results[-1][0] == BODY


async def test_a_target_to_which_nothing_was_sent_has_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    b, request = scene({"a": [], "b": [OK]}, budget=retry_budget(0.0, 0.0)), OpenAIDialect.request

    def refuse(self: OpenAIDialect, of: Any, to: Any, key: Any) -> Any:
        if to.deployment is A:
            raise InvalidRequest("it has no such parameter", param="n")
        return request(self, of, to, key)

    monkeypatch.setattr(OpenAIDialect, "request", refuse)
    out, made = await run(b, A, B, retry=RetryPolicy(attempts=1))

    assert out == BODY
    assert outcomes(made) == ["b ok"]


# classes of failures


@pytest.mark.parametrize(
    ("retries", "policy", "asked"),
    [
        (None, RetryPolicy(attempts=9, same_target=3), 4),
        (0, RetryPolicy(attempts=9, same_target=3), 1),
        (5, RetryPolicy(attempts=9, same_target=0), 6),
        (5, RetryPolicy(attempts=4, same_target=0), 4),
    ],
)
@pytest.mark.parametrize(("name", "answer"), [("timeout", TIMEOUT), ("server_error", E500), ("unknown", Answer([]))])
async def test_a_class_has_its_own_retries(
    name: str, answer: Answer, retries: int | None, policy: RetryPolicy, asked: int
) -> None:
    b = scene({"a": [answer] * 9}, **{name: FailureRule(retries=retries)})

    await run(b, retry=policy)

    assert len(b.transport.requests) == asked


async def test_each_failure_of_a_target_goes_by_its_own_class() -> None:
    b = scene({"a": [E500, E500, TIMEOUT], "b": [OK]}, server_error=FailureRule(retries=2), timeout=FailureRule())

    _, made = await run(b, A, B, retry=RetryPolicy(attempts=9))

    assert outcomes(made) == ["a server_error", "a server_error", "a first_token_timeout", "b ok"]


@pytest.mark.parametrize(
    ("rule", "slept"),
    [
        (FailureRule(retries=4), [0.5, 1.0, 2.0, 3.0]),  # the policy's
        (FailureRule(retries=4, backoff=0.1), [0.1, 0.2, 0.4, 0.8]),
        (FailureRule(retries=4, max_backoff=0.75), [0.5, 0.75, 0.75, 0.75]),
        (FailureRule(retries=4, backoff=0.0, max_backoff=0.0), [0.0, 0.0, 0.0, 0.0]),
    ],
)
async def test_a_class_has_its_own_backoff(rule: FailureRule, slept: list[float]) -> None:
    b = scene({"a": [E500] * 5}, server_error=rule)

    await run(b, retry=RetryPolicy(attempts=5, backoff=0.5, max_backoff=3.0))

    assert b.clock.slept == slept


@pytest.mark.parametrize(("hint", "asked"), [("2", "aa"), ("3", "ab")])
async def test_max_backoff_of_a_class_bounds_retry_after(hint: str, asked: str) -> None:
    b = scene(
        {"a": [refusal(503, headers={"retry_after": hint}), OK], "b": [OK]},
        server_error=FailureRule(retries=1, max_backoff=2.0),
    )

    await run(b, A, B)

    assert "".join(b.transport.hosts) == asked


@pytest.mark.parametrize(("breaker", "states"), [(True, ["open"]), (False, [])])
@pytest.mark.parametrize(
    ("name", "answer"), [("rate_limit", E429), ("server_error", E503), ("auth", E401), ("unknown", Answer([]))]
)
async def test_a_class_counts_against_the_breaker_or_does_not(
    name: str, answer: Answer, breaker: bool, states: list[str]
) -> None:
    b = scene({"a": [answer]}, BreakerPolicy(consecutive=1), **{name: FailureRule(breaker=breaker)})

    await run(b, retry=RetryPolicy(attempts=1))

    assert [row["state"] for row in b.health.breaker_rows()] == states


async def test_after_a_key_cooldown_another_key_is_used_at_once() -> None:
    b = scene({"a": [E500, OK]}, server_error=FailureRule(key="model"))

    out, made = await run(b, target("a", "one", "two"), B)

    assert out == BODY
    assert {attempt.key_id for attempt in made.attempts} == {"one", "two"}
    assert b.clock.slept == []


async def test_a_rate_limit_without_cooldown_is_retried() -> None:
    limited = refusal(429, headers={"retry_after": "2"})
    b = scene({"a": [limited, limited, OK]}, rate_limit=FailureRule(retries=2, key="none"))

    out, made = await run(b)

    assert out == BODY
    assert b.clock.slept == [2.0, 2.0]
    assert outcomes(made) == ["a rate_limited", "a rate_limited", "a ok"]


async def test_a_cooldown_is_bounded_by_the_maximum_of_its_class() -> None:
    b = scene(
        {"a": [refusal(429, headers={"retry_after": "3600"}), OK]}, rate_limit=FailureRule(key="model", max_rest=6.0)
    )

    await run(b, retry=RetryPolicy(attempts=1))
    out, made = await run(b)

    assert out == BODY
    assert made.timings.queue_seconds == 6.0


async def test_an_operator_s_reset_ends_the_rest_of_a_rate_limit() -> None:
    b = scene({"a": [refusal(429, headers={"retry_after": "3600"}), OK]})
    await run(b, retry=RetryPolicy(attempts=1))

    b.health.reset()
    out, made = await run(b)

    assert out == BODY
    assert made.timings.queue_seconds == 0.0


@pytest.mark.parametrize(("answer", "asked"), [(LARGE, 2), (E400, 1), (FILTERED, 1), (TOO_LONG, 1)])
async def test_a_bad_request_is_not_retried_at_the_same_target(answer: Answer, asked: int) -> None:
    b = scene({"a": [answer] * 2}, content=FailureRule(retries=1, backoff=0.0, max_backoff=0.0))

    await run(b)

    assert len(b.transport.requests) == asked  # a limit depends on the target


# faults of the request


@pytest.mark.parametrize(
    ("allowed", "expected"), [(True, ["a content_filtered", "b ok"]), (False, ["a content_filtered"])]
)
async def test_a_content_refusal_falls_back_if_the_plan_allows(allowed: bool, expected: list[str]) -> None:
    b = scene({"a": [FILTERED], "b": [OK]}, BreakerPolicy(consecutive=1))
    planned = replace(plan(A, B), content_fallback=allowed)

    out, made = await b.run(call(HELLO, on=on(A, B)), planned)

    assert outcomes(made) == expected
    assert b.health.breaker_rows() == []
    assert allowed or (isinstance(out, ProxyError) and (out.http_status, out.error_code) == (400, "content_filter"))


async def test_if_everybody_refuses_the_content_that_is_told() -> None:
    b = scene({"a": [FILTERED], "b": [FILTERED]})
    planned = replace(plan(A, B), content_fallback=True)

    out, made = await b.run(call(HELLO, on=on(A, B)), planned)

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.error_code) == (400, "content_filter")
    assert outcomes(made) == ["a content_filtered", "b content_filtered"]


@pytest.mark.parametrize(("answer", "then"), [(E400, ""), (FILTERED, ""), (refusal(422), ""), (TOO_LONG, "c")])
async def test_a_thousand_client_errors_leave_breakers_closed(answer: Answer, then: str) -> None:
    small, same, larger = (target(name, context_window=size) for name, size in (("a", 8), ("b", 8), ("c", 16)))
    b = scene({"a": lambda: answer, "b": [], "c": lambda: OK}, BreakerPolicy(consecutive=3))

    results = []
    for _ in range(1000):
        await asyncio.sleep(0.1)  # a larger model is paid from the retry budget like anything else
        results.append(await run(b, small, same, larger))

    assert set(b.transport.hosts) == set("a" + then)
    assert len(b.transport.requests) == 1000 * len("a" + then)
    assert b.health.breaker_rows() == []
    assert all(out == BODY if then else isinstance(out, ProxyError) for out, _ in results)


async def test_a_revoked_key_is_met_once_and_the_others_serve() -> None:
    pooled = target("a", "good", "revoked", "spare")
    b: Bench

    def judge() -> Answer:
        return E401 if "revoked" in b.transport.requests[-1].headers["authorization"] else OK

    b = scene({"a": judge})
    results = [await run(b, pooled) for _ in range(100)]

    met = [made for _, made in results if "a key_rejected" in outcomes(made)]
    assert all(out == BODY for out, _ in results)
    assert len(met) == 1
    assert len(b.transport.requests) == 101
    assert [(row["key"], row["model"], row["reason"]) for row in b.health.cooldown_rows()] == [
        ("revoked", None, "key_rejected")
    ]


# rate limits


def when(seconds: float) -> str:
    """A time of the bench's clock as an HTTP date."""
    return format_datetime(datetime.fromtimestamp(1_800_001_000 + seconds, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after": when(7)}, 7.0),
        ({"retry_after": "10"}, 10.0),
    ],
)
async def test_a_rest_that_fits_the_call_s_patience_is_waited_for(headers: dict[str, str], seconds: float) -> None:
    b = scene({"a": [refusal(429, headers=headers), OK]})

    out, made = await run(b)

    assert out == BODY
    assert outcomes(made) == ["a rate_limited", "a ok"]
    assert (made.timings.queue_seconds, made.timings.predicted_queue_seconds) == (seconds, seconds)
    assert b.clock.now == 1000.0 + seconds


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"retry_after": "3600"}, "3600"),
        ({"retry_after": when(3600)}, "3600"),
        ({"retry_after": "11"}, "11"),
        ({"retry_after": "soon"}, "5"),  # garbage is no word at all
        ({"retry_after": "-7"}, "5"),
        ({"retry_after_ms": "NaN"}, "5"),
        ({}, "5"),
    ],
)
async def test_other_failures_end_the_call_with_a_retry_after(headers: dict[str, str], told: str) -> None:
    b = scene({"a": [refusal(429, headers=headers)]})

    out, made = await run(b)

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.response_headers()["retry-after"]) == (429, told)
    assert (len(made.attempts), made.timings.queue_seconds, b.clock.now) == (1, 0.0, 1000.0)


@pytest.mark.parametrize("headers", [{"retry_after": "7"}, {"retry_after": "3600"}, {}])
async def test_another_target_is_asked_before_anybody_waits(headers: dict[str, str]) -> None:
    b = scene({"a": [refusal(429, headers=headers)], "b": [OK]})

    out, made = await run(b, A, B)

    assert out == BODY
    assert (outcomes(made), b.clock.now) == (["a rate_limited", "b ok"], 1000.0)


async def test_of_several_rests_the_soonest_is_waited_for() -> None:
    b = scene(
        {"a": [refusal(429, headers={"retry_after": "7"})], "b": [refusal(429, headers={"retry_after": "3"}), OK]}
    )

    out, made = await run(b, A, B)

    assert out == BODY
    assert outcomes(made) == ["a rate_limited", "b rate_limited", "b ok"]
    assert made.timings.queue_seconds == 3.0


@pytest.mark.parametrize(
    ("raw", "policies"),
    [
        (b'{"model":"x","messages":[{"role":"user"}],"router":{"max_wait_seconds":6.9}}', {}),
        (HELLO, {"queue": QueuePolicy(max_wait=6.9)}),
        (HELLO, {"deadline": DeadlinePolicy(soft=1.0, hard=6.9)}),
        (HELLO, {"retry": RetryPolicy(attempts=1)}),
    ],
)
async def test_waits_are_bounded_by_client_operator_and_deadline(raw: bytes, policies: dict[str, Any]) -> None:
    b = scene({"a": [refusal(429, headers={"retry_after": "7"})]})

    out, _ = await run(b, raw=raw, **policies)

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.response_headers()["retry-after"]) == (429, "7")
    assert b.clock.now == 1000.0


async def test_a_call_s_waits_together_are_no_longer_than_its_patience() -> None:
    b = scene({"a": [refusal(429, headers={"retry_after": "6"})] * 2})

    out, made = await run(b)

    assert isinstance(out, ProxyError)
    assert (out.http_status, made.timings.queue_seconds, len(made.attempts)) == (429, 6.0, 2)


async def test_a_later_call_waits_for_the_rest_that_was_only_guessed() -> None:
    b = scene({"a": [E429, OK]})
    await run(b)

    out, made = await run(b)

    assert out == BODY
    assert (outcomes(made), made.timings.queue_seconds, made.timings.predicted_queue_seconds) == (["a ok"], 5.0, 5.0)


async def test_calls_that_wait_for_one_key_go_in_their_order() -> None:
    limited = target("a", limits=LimitValues(concurrency=1))
    b = scene({"a": lambda: OK})
    order: list[int] = []

    async def come(number: int) -> None:
        await run(b, limited)
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(come(number))

    assert order == list(range(20))


# the whole of a call's time


async def test_a_call_ends_at_its_deadline_if_all_targets_hang() -> None:
    hanging = [replace(each, timeouts=replace(each.timeouts, first_token=4.0)) for each in (A, B, C)]
    b = scene({each.provider.name: [Answer(before=[Stall()])] for each in hanging})

    out, made = await run(b, *hanging, raw=STREAM, deadline=DeadlinePolicy(soft=30.0, hard=10.0))

    assert isinstance(out, ProxyError)
    assert (out.http_status, out.error_code) == (504, "deadline_exceeded")
    assert b.clock.now == 1010.0
    assert [(a.deployment.provider.name, a.outcome, a.ms) for a in made.attempts] == [
        ("a", "first_token_timeout", 4000.0),
        ("b", "first_token_timeout", 4000.0),
        ("c", "deadline_exceeded", 2000.0),
    ]
    assert [row["provider"] for row in b.health.breaker_rows()] == ["a", "b"]  # c has not had its time


async def test_waits_in_the_queue_are_part_of_the_call_s_time() -> None:
    b = scene({"a": [refusal(429, headers={"retry_after": "8"}), Answer(before=[Stall()])]})

    out, made = await run(b, deadline=DeadlinePolicy(soft=1.0, hard=10.0))

    assert isinstance(out, ProxyError)
    assert out.error_code == "deadline_exceeded"
    assert (b.clock.now, made.timings.queue_seconds) == (1010.0, 8.0)
