"""Budgets in the attempt loop: the worst case is reserved before each attempt, and the real cost is settled once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.capacity.budget_store import Spending
from proxy.core.accounts import Budget
from proxy.core.budgets import BudgetPolicy, BudgetRule
from proxy.core.call import Call
from proxy.core.errors import BudgetExceeded, ProxyError
from proxy.core.model import Deployment, Price, Timeouts
from proxy.core.money import worst_case_nusd
from proxy.core.plan import Target
from proxy.core.policies import HedgePolicy, RetryPolicy
from proxy.core.principal import Identified
from proxy.core.record import Record, Timings
from proxy.core.snapshot import Snapshot
from proxy.dialects.table import Dialects
from proxy.surfaces.openai.endpoints import PASSED, read_passed
from tests.support.calls import HELLO, STREAM, call, deployment, plan, provider, record
from tests.support.fakes import REFUSED, Answer, Stall, Wait
from tests.support.native_calls import BODIES, native_call, native_target
from tests.support.natives import anthropic_stream
from tests.unit.upstream.bench import (
    BODY,
    CUT,
    DONE,
    E400,
    E429,
    E500,
    FILTERED,
    OK,
    ROLE,
    STOP,
    TEXT,
    Bench,
    bench,
    on,
    outcomes,
    running,
    target,
)

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

USD = 1_000_000_000
PRICE = Price(input=1_000_000_000, output=2_000_000_000, cached_input=1_000_000_000, cache_write=1_000_000_000)
CHEAP = Price(input=1_000_000, output=2_000_000, cached_input=1_000_000, cache_write=1_000_000)
A = target("a", price=PRICE, max_output=1000)
B = target("b", price=CHEAP, max_output=1000)
GEMINI = deployment("m", provider("g", dialect="gemini"), kind="embedding", price=PRICE)
COST = 2 * 1000 + 1 * 2000  # of `OK`
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1}}\n\n'
STREAMED = Answer([ROLE, TEXT, STOP, USAGE, DONE])
TOTAL = BudgetRule("total", "", USD)
BOUND = worst_case_nusd(A, {}, len(HELLO))
assert BOUND is not None


def budgeted(*deployments: Deployment, rule: BudgetRule = TOTAL, **policies: Any) -> Snapshot:
    return on(*deployments, budgets=BudgetPolicy({(rule.scope, rule.id): (rule,)}), **policies)


async def state(b: Bench, rule: BudgetRule = TOTAL) -> Spending:
    [row] = await b.budgets.read([rule])
    return row.spending


def asked(snapshot: Snapshot, raw: bytes = HELLO, **principal: Any) -> Call:
    made = call(raw, on=snapshot)
    if principal:
        made.principal = Identified("p", **principal)
    return made


async def test_the_real_cost_replaces_the_reservation() -> None:
    b = bench({"a": [OK]})

    out, made = await b.run(asked(budgeted(A)), plan(A))

    assert out == BODY
    assert made.cost_nusd == COST
    assert await state(b) == Spending(COST, 0)


async def test_the_worst_case_is_reserved_while_an_attempt_runs() -> None:
    b = bench({"a": [STREAMED]})
    of = asked(budgeted(A), STREAM)

    async with running(b, of, plan(A), record(of, started=b.clock.now)) as reply:
        await anext(reply.chunks)
        assert await state(b) == Spending(0, worst_case_nusd(A, {}, len(STREAM)) or 0)

    assert (await state(b)).reserved == 0


async def test_a_call_is_settled_before_the_client_has_its_end() -> None:
    b = bench({"a": [STREAMED]})
    of = asked(budgeted(A), STREAM)

    async with running(b, of, plan(A), record(of, started=b.clock.now)) as reply:
        async for piece in reply.chunks:
            if DONE in piece:
                assert await state(b) == Spending(COST, 0)


# a script of `a` with one attempt, and what it costs
ENDS = [
    ([REFUSED, REFUSED], 0),
    ([E500, E500], 0),
    ([E429], 0),
    ([E400], 0),
    ([FILTERED], 0),
    ([Answer(before=[Wait(700.0)])], BOUND),
]


@pytest.mark.parametrize(("script", "cost"), ENDS[:5])
async def test_failed_attempts_cost_nothing(script: list[Answer], cost: int) -> None:
    b = bench({"a": script})

    out, made = await b.run(asked(budgeted(A)), plan(A))

    assert isinstance(out, ProxyError)
    assert made.cost_nusd is None
    assert await state(b) == Spending(cost, 0)


async def test_an_answer_that_is_cut_before_its_end_counts_the_reservation() -> None:
    b = bench({"a": [Answer([BODY[:30], CUT])] * 2})

    out, made = await b.run(asked(budgeted(A)), plan(A))

    assert isinstance(out, ProxyError)
    assert outcomes(made) == ["a connect"] * 2
    assert await state(b) == Spending(2 * (BOUND or 0), 0)
    assert (made.cost_nusd, made.cost_status) == (2 * (BOUND or 0), "estimated")


async def test_a_batch_after_answered_ones_counts_the_reservation() -> None:
    of = read_passed(
        PASSED[1],
        json.dumps({"model": "g/m", "input": ["x"] * 101}).encode(),
        {},
        id="req_1",
        request_id="theirs",
        snapshot=budgeted(GEMINI),
    )
    b = bench({"g": [Answer([b'{"embeddings":[]}']), E429]})
    b.attempts.dialects = Dialects(b.clock)
    b.attempts.transports = {"gemini": b.transport}

    out, made = await b.run(of, plan(GEMINI))

    assert isinstance(out, ProxyError)
    assert len(b.transport.requests) == 2
    assert (made.cost_nusd or 0) > 0
    assert await state(b) == Spending(made.cost_nusd or 0, 0)


async def test_an_attempt_of_unknown_cost_counts_its_reservation() -> None:
    quick = target("a", price=PRICE, max_output=1000, timeouts=Timeouts(total=5.0))
    b = bench({"a": [Answer(before=[Stall()])]})

    out, made = await b.run(asked(budgeted(quick)), plan(quick))

    assert isinstance(out, ProxyError)
    assert outcomes(made) == ["a first_token_timeout"]
    assert await state(b) == Spending(BOUND or 0, 0)
    assert (made.cost_nusd, made.attempts[0].cost_status) == (BOUND, "estimated")


async def test_impossible_usage_counts_in_full_and_closes_the_budget() -> None:
    false = Answer([ROLE, TEXT, STOP, USAGE.replace(b'completion_tokens":1', b'completion_tokens":5000'), DONE])
    raw = STREAM[:-1] + b',"max_tokens":1}'
    b = bench({"a": [false]})

    _, made = await b.run(asked(budgeted(A), raw), plan(A))

    assert made.usage is not None
    assert made.usage.source == "clamped"
    assert await state(b) == Spending(made.cost_nusd or 0, 0, closed=True)


@pytest.mark.parametrize("price", [PRICE, None])
async def test_an_estimate_is_the_same_in_the_record_and_in_the_budget(price: Price | None) -> None:
    """Also where the estimate is above the bound, and where a soft budget has no bound."""
    raw = STREAM[:-1] + b',"max_tokens":1' + (b"}" if price else b',"web_search_options":{"a":1}}')
    b = bench({"a": [Answer([ROLE, *[TEXT] * 300, CUT])]})
    rule = TOTAL._replace(hard=price is not None)

    _, made = await b.run(asked(budgeted(A, rule=rule), raw), plan(A))

    assert made.cost_nusd
    assert await state(b, rule) == Spending(made.cost_nusd, 0)


async def test_a_client_that_leaves_pays_the_reservation() -> None:
    b = bench({"a": [Answer(before=[Stall()])]})
    of = asked(budgeted(A))
    made = record(of, started=b.clock.now)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(b.executor.run(of, plan(A), made))
        while not b.transport.open:  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()

    assert outcomes(made) == ["a cancelled"]
    assert await state(b) == Spending(BOUND or 0, 0)


async def test_every_attempt_of_a_call_is_settled() -> None:
    b = bench({"a": [E500, REFUSED], "b": [OK]})

    out, made = await b.run(asked(budgeted(A, B)), plan(A, B))

    assert out == BODY
    assert outcomes(made) == ["a server_error", "a connect", "b ok"]
    assert await state(b) == Spending(made.cost_nusd or 0, 0)


async def test_a_cheaper_target_may_fit() -> None:
    b = bench({"a": [], "b": [OK]})
    small = TOTAL._replace(nusd=BOUND - 1 if BOUND else 0)

    out, made = await b.run(asked(budgeted(A, B, rule=small)), plan(A, B))

    assert out == BODY
    assert outcomes(made) == ["b ok"]


async def test_without_a_target_that_fits_the_client_learns_the_budget() -> None:
    b = bench({"a": [], "b": []})
    small = TOTAL._replace(nusd=1)

    out, made = await b.run(asked(budgeted(A, B, rule=small)), plan(A, B))

    assert isinstance(out, BudgetExceeded)
    assert "The budget `total` of 0.000000001 USD a month" in str(out)
    assert out.response_headers()["x-should-retry"] == "false"
    assert made.attempts == []
    assert b.limits.contended is False
    assert b.health.breaker_rows() == []


async def test_a_failure_is_more_helpful_than_a_budget() -> None:
    b = bench({"a": [E500, E500]})
    dear = target("b", price=PRICE, max_output=9_000_000)

    out, _ = await b.run(asked(budgeted(A, dear, rule=TOTAL._replace(nusd=BOUND or 0))), plan(A, dear))

    assert isinstance(out, ProxyError)
    assert out.http_status == 502
    assert "`b/m`: The budget `total`" in str(out)


async def test_a_fallback_that_a_budget_refuses_costs_no_retry_budget() -> None:
    b = bench({"a": [E500]})
    dear = target("b", price=PRICE, max_output=9_000_000)
    rule = TOTAL._replace(nusd=BOUND or 0)

    _, made = await b.run(asked(budgeted(A, dear, rule=rule, retry=RetryPolicy(same_target=0))), plan(A, dear))

    assert outcomes(made) == ["a server_error"]
    assert b.budget.used(b.clock.now) == 0


async def test_budgets_of_the_principal_count_too() -> None:
    b = bench({"a": [OK]})
    of = asked(on(A), key_id="k_1", budgets=(("key", "k_1", Budget(BOUND or 0)),))

    await b.run(of, plan(A))
    again, _ = await b.run(of, plan(A))

    assert isinstance(again, BudgetExceeded)
    assert await state(b, BudgetRule("key", "k_1", BOUND or 0)) == Spending(COST, 0)


async def test_a_soft_budget_only_warns() -> None:
    b = bench({"a": [OK, OK]})
    of = asked(budgeted(A, rule=TOTAL._replace(nusd=1, hard=False)))

    _, first = await b.run(of, plan(A))
    out, second = await b.run(of, plan(A))

    assert out == BODY
    assert (first.exceeded, second.exceeded) == ((), ("total",))


async def test_a_call_without_budget_reserves_nothing() -> None:
    b = bench({"a": [OK]})

    await b.run(asked(on(A)), plan(A))

    assert await b.budgets.read([TOTAL]) != []
    assert await state(b) == Spending(0, 0)


LIMITED = b',"max_completion_tokens":7'


def text_completion(raw: bytes, *, on: Snapshot) -> Call:
    return read_passed(PASSED[0], raw, {}, id="req_1", request_id="theirs", snapshot=on)


def sent(b: Bench) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(b.transport.requests[-1].content)
    return body


async def test_a_request_without_limit_is_given_one() -> None:
    b = bench({"a": [OK]})

    await b.run(asked(budgeted(A)), plan(A))

    assert sent(b)["max_completion_tokens"] == 1000


async def test_a_limit_of_the_client_stays() -> None:
    b = bench({"a": [OK]})
    raw = b'{"model":"auto","messages":[{"role":"user","content":"Hello"}],"max_tokens":7}'

    await b.run(asked(budgeted(A), raw), plan(A))

    assert sent(b) | {"max_tokens": 7} == sent(b)
    assert "max_completion_tokens" not in sent(b)


@pytest.mark.parametrize(("limits", "expected"), [((50, -1), (50, 50)), ((-1, 50), (50, 50)), ((-1, -1), (1000, 1000))])
async def test_no_limit_of_the_client_is_replaced(limits: tuple[int, int], expected: tuple[int, int]) -> None:
    b = bench({"a": [OK]})
    raw = (
        b'{"model":"auto","messages":[{"role":"user","content":"Hello"}],"max_tokens":%d,"max_completion_tokens":%d}'
        % limits
    )

    await b.run(asked(budgeted(A), raw), plan(A))

    assert (sent(b)["max_tokens"], sent(b)["max_completion_tokens"]) == expected


@pytest.mark.parametrize("unsupported", [(), ("max_tokens",), ("max_completion_tokens",)])
@pytest.mark.parametrize(("members", "expected"), [(b"", 1000), (b',"max_tokens":7', 1000), (LIMITED, 7)])
async def test_a_limit_that_a_scenario_removes_is_set_again(
    members: bytes, expected: int, unsupported: tuple[str, ...]
) -> None:
    b = bench({"a": [OK]})
    of = asked(budgeted(A), HELLO[:-1] + members + b"}")
    some = target("a", price=PRICE, max_output=1000, unsupported=frozenset(unsupported))
    routed = replace(plan(some), targets=(Target(some, {"max_tokens": None}),))

    await b.run(of, routed)

    limits = [sent(b)[name] for name in ("max_tokens", "max_completion_tokens") if sent(b).get(name) is not None]
    assert set(limits) == {expected}


@pytest.mark.parametrize(
    ("members", "expected"),
    [(b"", 16), (b',"max_tokens":null', 16), (b',"max_tokens":"900"', 16), (b',"max_completion_tokens":1', 16)]
    + [(b',"max_tokens":0', 0), (b',"max_tokens":7', 7)],
)
async def test_a_text_completion_without_limit_is_given_the_default_one(members: bytes, expected: int) -> None:
    b = bench({"a": [OK]})
    of = text_completion(b'{"model":"a/m","prompt":"Hello"%b}' % members, on=budgeted(A))

    await b.run(of, plan(A))

    assert sent(b)["max_tokens"] == expected


async def test_soft_budgets_add_no_limit() -> None:
    b = bench({"a": [OK]})

    await b.run(asked(budgeted(A, rule=TOTAL._replace(hard=False))), plan(A))

    assert "max_completion_tokens" not in sent(b)


async def test_the_added_limit_leaves_space_for_the_prompt() -> None:
    narrow = target("a", price=PRICE, max_output=1000, context_window=1000)
    b = bench({"a": [OK]})

    await b.run(asked(budgeted(narrow)), plan(narrow))

    assert 900 <= sent(b)["max_completion_tokens"] <= 1000 - 5


async def test_both_attempts_of_a_hedge_are_settled() -> None:
    b = bench({"a": [Answer([Stall()])], "b": [STREAMED]})
    of = asked(budgeted(A, B, hedge=HedgePolicy(enabled=True, samples=1)), STREAM)
    b.slow.judge(A.name, 1.0, of.snapshot.slow, teach=True, own=0.0)
    made = Record("req_1", "theirs", Timings(b.clock.now))

    out, made = await b.run(of, plan(A, B), made)

    assert isinstance(out, bytes)
    assert made.cost_nusd is not None
    assert await state(b) == Spending(made.cost_nusd, 0)


async def test_a_broken_stream_is_settled_once() -> None:
    b = bench({"a": [Answer([ROLE, TEXT, CUT])]})
    of = asked(budgeted(A), STREAM)

    _, made = await b.run(of, plan(A))

    assert outcomes(made) == ["a broken_stream"]
    spending = await state(b)
    assert spending.reserved == 0
    assert spending.spent == made.cost_nusd
    assert 0 < spending.spent <= (worst_case_nusd(A, {}, len(STREAM)) or 0)


async def test_both_attempts_of_a_continued_answer_are_settled() -> None:
    able = {"capabilities": frozenset({"prefill"}), "price": PRICE, "max_output": 1000}
    first, second = target("a", **able), target("b", **able)
    b = bench({"a": [Answer([ROLE, TEXT, CUT])], "b": [STREAMED]})
    of = asked(budgeted(first, second, mid_stream="continue"), STREAM)

    _, made = await b.run(of, plan(first, second))

    assert outcomes(made) == ["a broken_stream", "b ok"]
    costs = [attempt.cost_nusd for attempt in made.attempts]
    assert None not in costs
    assert await state(b) == Spending(made.cost_nusd or 0, 0)


async def test_a_continuation_needs_money_too() -> None:
    able = {"capabilities": frozenset({"prefill"}), "price": PRICE}
    first, second = target("a", max_output=10, **able), target("b", max_output=10_000, **able)
    b = bench({"a": [Answer([ROLE, TEXT, CUT])], "b": []})
    cap = worst_case_nusd(first, {}, len(STREAM)) or 0
    of = asked(budgeted(first, second, rule=TOTAL._replace(nusd=cap), mid_stream="continue"), STREAM)

    out, made = await b.run(of, plan(first, second))

    assert outcomes(made) == ["a broken_stream"]
    assert isinstance(out, bytes)
    assert b"closed the connection" in out
    assert (await state(b)).reserved == 0


NATIVE = native_target("messages", price=PRICE, max_output=1000)
SAID = anthropic_stream({"type": "text", "text": "Hello"})


async def test_a_native_call_reserves_for_the_larger_body_and_pays_what_it_cost() -> None:
    b = bench({"a": [Answer(SAID)]})
    raw = json.dumps({**BODIES["messages"], "stream": True, "note": "x" * 2000}).encode()
    of = native_call("messages", raw, stream=True, on=budgeted(NATIVE))

    async with running(b, of, plan(NATIVE), record(of, started=b.clock.now)) as reply:
        await anext(reply.chunks)
        reserved = (await state(b)).reserved
        async for _ in reply.chunks:
            pass

    assert reserved == worst_case_nusd(NATIVE, of.body, len(raw))
    assert await state(b) == Spending(7 * 1000 + 3 * 2000, 0)


async def test_a_hard_budget_refuses_tools_that_a_provider_runs() -> None:
    b = bench({"a": []})
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    raw = json.dumps({**BODIES["messages"], "stream": True, "tools": tools}).encode()

    out, _ = await b.run(native_call("messages", raw, stream=True, on=budgeted(NATIVE)), plan(NATIVE))

    assert isinstance(out, BudgetExceeded)
    assert "tools that the provider runs" in str(out)
