"""Tests of proxy/replay/replay.py, with its budgets and limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.accounts import Budget
from proxy.core.budgets import BudgetPolicy, BudgetRule
from proxy.core.model import LimitValues, Price
from proxy.core.money import cost_nusd
from proxy.core.policies import QueuePolicy
from proxy.core.principal import Identified
from proxy.core.snapshot import Snapshot
from proxy.core.usage import Usage
from proxy.replay.recorded import recorded
from proxy.replay.replay import Outcome, Replay
from tests.unit.replay.records import a_call, rejected, row
from tests.unit.routing.build import HAIKU, MINI, OPUS, SONNET, price, snapshot

USAGE = Usage(input=1_000, output=100)


def cost(rates: Price | None) -> int:
    assert rates is not None
    return cost_nusd(USAGE, rates)


def only(name: str, config: Snapshot, **fields: object) -> Outcome:
    """Replay one call."""
    return Replay(config).replay(a_call(name, **fields))


def test_the_same_configuration_moves_nothing() -> None:
    found = only("auto", snapshot())

    assert found.before is not None
    assert found.after is not None
    assert (found.moved, found.before.model, found.after.model) == (False, "openai/mini", "openai/mini")
    assert (found.before.cost_nusd, found.after.cost_nusd) == (210_000, cost(MINI.price))
    assert found.before.success == found.after.success
    assert (found.before.latency_ms, found.after.latency_ms) == (800.0, 800.0)


def test_a_call_moves_with_its_tokens() -> None:
    found = only("tier/low", snapshot(replace(MINI, tier="high"), HAIKU, SONNET, OPUS))

    assert found.after is not None
    assert (found.moved, found.after.model, found.after.cost_nusd) == (True, "anthropic/haiku", cost(HAIKU.price))
    assert found.after.latency_ms == 400.0


def test_equal_models_alternate_without_a_move() -> None:
    other = replace(MINI, provider=replace(MINI.provider, name="azure"), twin=True)
    config = snapshot(replace(MINI, twin=True), other)

    found = only("tier/low", config, provider="azure", upstream_model="mini", options={"on": config})

    assert not found.moved


def test_a_target_that_failed_fails_again() -> None:
    found = only("tier/low", snapshot(), provider="anthropic", upstream_model="haiku")

    assert found.after is not None
    assert found.after.model == "anthropic/haiku"
    assert only("tier/low", snapshot(MINI), provider="anthropic", upstream_model="haiku").refusal == "no other target"


def test_a_hard_budget_rejects_what_exceeds_it_and_resets() -> None:
    rule = BudgetRule("total", "", 2 * cost(MINI.price), "day")
    replay = Replay(replace(snapshot(), budgets=BudgetPolicy({("total", ""): (rule,)})))
    day = 86_400

    found = [replay.replay(a_call("openai/mini", at=at)).refusal for at in (0, 1, 2, day, day + 1, day + 2)]

    assert found == [None, None, "budget", None, None, "budget"]


def test_a_soft_budget_rejects_nothing() -> None:
    rule = BudgetRule("total", "", 1, "day", hard=False)

    assert only("openai/mini", replace(snapshot(), budgets=BudgetPolicy({("total", ""): (rule,)}))).refusal is None


def test_the_budget_of_a_provider_sends_calls_to_the_next_one() -> None:
    rule = BudgetRule("provider", "openai", 1, "day")
    found = only("tier/low", replace(snapshot(), budgets=BudgetPolicy({("provider", "openai"): (rule,)})))

    assert found.after is not None
    assert found.after.model == "anthropic/haiku"


def test_the_default_budget_of_users_counts_for_each() -> None:
    replay = Replay(replace(snapshot(), budgets=BudgetPolicy(user=Budget(cost(MINI.price), "day"))))
    ann, bob = Identified("a", user="ann"), Identified("b", user="bob")

    found = [replay.replay(a_call("openai/mini"), each).refusal for each in (ann, ann, bob)]

    assert found == [None, "budget", None]


def test_a_limit_sends_calls_to_the_next_target_and_then_rejects_them() -> None:
    tight = LimitValues(rpm=1)
    config = snapshot(replace(MINI, limits=tight), replace(HAIKU, limits=tight))
    replay = Replay(config)

    found = [replay.replay(a_call("tier/low", at=at)) for at in (0.0, 1.0, 2.0, 55.0)]

    assert [each.after.model if each.after else each.refusal for each in found] == [
        "openai/mini",
        "anthropic/haiku",
        "limits",
        "openai/mini",
    ]
    assert [each.wait_ms for each in found] == [0.0, 0.0, 0.0, 5000.0]


def test_calls_do_not_wait_longer_than_the_queue_allows() -> None:
    config = replace(snapshot(replace(MINI, limits=LimitValues(rpm=1))), queue=QueuePolicy(max_wait=1.0))
    replay = Replay(config)

    assert [replay.replay(a_call("tier/low", at=at)).refusal for at in (0.0, 55.0, 59.5)] == [None, "limits", None]


def test_what_the_new_configuration_rejects_has_the_code_of_the_error() -> None:
    assert only("tier/low", snapshot(SONNET)).refusal == "no_candidate_available"
    assert only("openai/mini", snapshot(HAIKU)).refusal == "model_not_found"


def test_a_call_that_was_rejected_by_its_name_may_be_answered_now() -> None:
    config = snapshot(aliases={"new-name": "openai/mini"})
    found = Replay(config).replay(recorded(rejected("new-name", "model_not_found")))

    assert found.before is None
    assert found.after is not None
    assert (found.after.model, found.after.cost_nusd, found.moved) == ("openai/mini", None, False)


@pytest.mark.parametrize("code", ["no_candidate_available", "context_length_exceeded"])
def test_a_rejected_call_without_recorded_needs_is_not_replayed(code: str) -> None:
    found = Replay(snapshot()).replay(recorded(rejected("tier/low", code)))

    assert (found.after, found.skipped) == (None, f"no model could serve it, and its needs are not recorded: {code}")


def test_other_failures_are_not_replayed() -> None:
    found = Replay(snapshot()).replay(recorded(rejected("auto", "insufficient_quota")))

    assert found.skipped == "no target answered it: insufficient_quota"


def test_a_call_that_was_not_classified_is_not_replayed_as_auto() -> None:
    before = snapshot(aliases={"cheap": "openai/mini"})
    found = only("cheap", snapshot(aliases={"cheap": "auto"}), options={"on": before})

    assert found.skipped == "its prompt was not classified"


def test_latency_that_was_measured_counts_for_later_calls_without_it() -> None:
    replay = Replay(snapshot())
    replay.replay(recorded(row("tier/low", health=None)))

    found = replay.replay(recorded(row("openai/mini", decision=b'{"chosen": "openai/mini", "route": "openai/mini"}')))

    assert found.after is not None
    assert found.after.latency_ms == 800.0


def test_a_price_that_changes_changes_the_cost_of_the_same_model() -> None:
    found = only("openai/mini", snapshot(replace(MINI, price=price(1.5, 6))))

    assert found.after is not None
    assert (found.moved, found.after.cost_nusd) == (False, 10 * cost(MINI.price))
