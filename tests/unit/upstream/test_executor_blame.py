"""A failure that blames our key, the model or the address: what the attempt loop makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.errors import ProxyError
from tests.support.calls import HELLO, call, plan
from tests.support.fakes import Answer
from tests.unit.upstream.bench import BODY, OK, A, B, bench, on, outcomes, refusal, target

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


@pytest.mark.parametrize("answer", [refusal(404), Answer([b"<html>"], 404), Answer([b"<html>"], 403), refusal(405)])
async def test_a_target_that_keeps_refusing_is_put_into_cooldown(answer: Answer) -> None:
    b = bench({"a": [answer] * 3, "b": [OK] * 4})

    first = [outcomes((await b.run(call(HELLO, on=on(A, B)), plan(A, B)))[1]) for _ in range(3)]
    _, made = await b.run(call(HELLO, on=on(A, B)), plan(A, B))

    assert all(len(each) == 2 for each in first)
    assert outcomes(made) == ["b ok"]
    assert [row["state"] for row in b.health.breaker_rows()] == ["open"]
    assert b.health.of(A) is not None


async def test_refusals_between_successes_cause_no_cooldown() -> None:
    b = bench({"a": [refusal(404), OK] * 6})

    for _ in range(12):
        await b.run(call(HELLO, on=on(A)), plan(A))

    assert b.health.breaker_rows() == []


async def test_a_model_forbidden_to_one_key_is_tried_with_another() -> None:
    a = target("a", "one", "two")
    b = bench({"a": [refusal(404, "The model `m` does not exist or you do not have access to it."), OK]})

    out, made = await b.run(call(HELLO, on=on(a)), plan(a))

    assert out == BODY
    assert [attempt.key_id for attempt in made.attempts] == ["one", "two"]
    assert b.health.cooldown_rows() == []


async def test_a_model_with_a_small_context_window_is_skipped() -> None:
    small, large = target("a", context_window=100), target("b", context_window=10_000)
    b = bench({"a": [], "b": [OK]})

    out, made = await b.run(call(HELLO, on=on(small, large)), replace(plan(small, large), count_input=lambda: 5000))

    assert out == BODY
    assert outcomes(made) == ["b ok"]


async def test_an_only_model_is_asked_however_small_its_window() -> None:
    small = target("a", context_window=100)
    b = bench({"a": [OK]})

    out, _ = await b.run(call(HELLO, on=on(small)), replace(plan(small), count_input=lambda: 5000))

    assert out == BODY


async def test_a_rate_limit_is_not_hidden_by_what_the_fallback_says() -> None:
    for answer in (refusal(400), refusal(401), refusal(404), refusal(400, code="content_filter")):
        b = bench({"a": [refusal(429, headers={"retry_after": "30"})], "b": [answer]})

        error, _ = await b.run(call(HELLO, on=on(A, B)), plan(A, B))

        assert isinstance(error, ProxyError)
        assert (error.http_status, error.retry_after) == (429, 30.0)
        assert "`b/m`" in str(error)
