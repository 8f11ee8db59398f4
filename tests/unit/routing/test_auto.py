"""Tests of proxy/routing/auto.py, boosts.py, explore.py and conversation.py, through plans and a router."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.model import Deployment, Tier
from proxy.core.plan import DeploymentHealth, Plan, Room, Warm
from proxy.core.policies import CostTarget
from proxy.core.principal import Identified
from proxy.core.snapshot import Snapshot
from proxy.routing.classify.rules import Profile
from proxy.routing.conversation import continues, conversation_key
from proxy.routing.predict import PRIOR
from proxy.routing.router import Router
from tests.unit.routing.build import (
    ANTHROPIC,
    ILL,
    MINI,
    OPENAI,
    OPUS,
    SONNET,
    FixedHealth,
    call,
    snapshot,
)

HARD = "Prove rigorously, step by step, that the integral converges; derive the asymptotic complexity. " * 5
TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "thanks"},
]


async def planned(asked: Call, router: Router | None = None) -> Plan:
    return await (router or Router(FixedHealth())).route(asked)


def row(plan: Plan, model: str) -> Any:
    [found] = [row for row in plan.decision["candidates"] if row["model"] == model]
    return found


def names(plan: Plan) -> list[str]:
    return [target.deployment.model for target in plan.targets]


def on(**fields: Any) -> Snapshot:
    return replace(snapshot(MINI, SONNET, OPUS), **fields)


# what is true now


async def test_a_model_behind_an_open_breaker_is_rejected_with_the_reason() -> None:
    plan = await planned(call("auto"), Router(FixedHealth({"openai/mini": ILL})))

    assert "mini" not in names(plan)
    assert row(plan, "mini")["status"] == "rejected"
    assert (row(plan, "mini")["filter"], row(plan, "mini")["reason"]) == (
        "unavailable",
        "not available now: breaker open",
    )


async def test_a_model_that_is_available_in_time_stays_a_fallback() -> None:
    soon = replace_health(ILL, retry_after=2.0)
    plan = await planned(call("auto"), Router(FixedHealth({"openai/mini": soon})))

    assert names(plan)[-1] == "mini"


async def test_if_no_model_is_available_all_stay() -> None:
    ill = dict.fromkeys(("openai/mini", "anthropic/sonnet", "anthropic/opus"), ILL)
    plan = await planned(call("auto", on=on()), Router(FixedHealth(ill)))

    assert len(plan.targets) == 3


@pytest.mark.parametrize(("seconds", "rejected"), [(5.0, True), (0.5, False)])
async def test_limits_without_capacity_in_time_reject(seconds: float, rejected: bool) -> None:
    full = {"openai/mini": DeploymentHealth(wait=seconds)}
    plan = await planned(call("auto", max_wait_seconds=1.0), Router(FixedHealth(full)))

    assert (row(plan, "mini")["filter"] == "capacity") is rejected


async def test_a_budget_without_room_rejects_the_models_of_its_provider() -> None:
    caller = Identified("k", key_id="k", budgets=(("key", "k", None),))  # type: ignore[arg-type]
    rooms = {"anthropic": Room("provider/anthropic", 10), "openai": Room("total", 10**9)}
    router = Router(FixedHealth(), room=lambda call, deployment: rooms.get(deployment.provider.name))
    plan = await planned(replace(call("auto", HARD, on=on()), principal=caller), router)

    assert names(plan) == ["mini"]
    assert row(plan, "opus")["filter"] == "budget"
    assert row(plan, "opus")["reason"] == "the budget provider/anthropic has less left than the call may cost"


async def test_budgets_are_not_read_where_there_are_none() -> None:
    def room(call: Call, deployment: Deployment) -> Room:
        raise AssertionError

    assert names(await planned(call("auto", on=on()), Router(FixedHealth(), room=room)))


def replace_health(health: DeploymentHealth, **fields: Any) -> DeploymentHealth:
    return DeploymentHealth(**{name: getattr(health, name) for name in health.__struct_fields__} | fields)


# least quality


async def test_the_least_quality_replaces_the_tier() -> None:
    assert names(await planned(call("auto", "hi", on=on(quality=0.6))))[0] == "mini"
    assert names(await planned(call("auto", "hi", on=on(quality=0.83))))[0] == "sonnet"
    assert names(await planned(call("auto", HARD, on=on(quality=0.3))))[0] == "mini"


async def test_the_chosen_model_has_the_least_quality() -> None:
    plan = await planned(call("auto", HARD, on=on(quality=0.65)))

    assert row(plan, plan.targets[0].deployment.model)["predicted_success"] >= 0.65
    assert plan.decision["ranking"]["quality"] == 0.65
    assert "needs a success of 0.65" in plan.reason


# target cost


async def test_a_share_of_the_calls_goes_to_strong_models() -> None:
    asked = on(cost=CostTarget(0.5))
    router = Router(FixedHealth())
    plans = [await planned(call("auto", "word " * (number % 40), on=asked), router) for number in range(200)]

    strong = [plan.targets[0].deployment.model == "opus" for plan in plans]
    assert sum(strong) == pytest.approx(100, abs=8)
    assert plans[-1].sample is not None
    assert plans[-1].decision["ranking"]["calibration"].keys() == {
        *("target", "of", "threshold", "inclusive", "realised", "version")
    }
    assert "the threshold" in plans[-1].reason


async def test_a_target_of_zero_or_one_is_strict() -> None:
    assert names(await planned(call("auto", HARD, on=on(cost=CostTarget(0.0)))))[0] == "sonnet"
    assert names(await planned(call("auto", "hi", on=on(cost=CostTarget(1.0)))))[0] == "opus"


async def test_without_tiers_the_models_of_the_best_quality_are_strong() -> None:
    models = [Deployment(OPENAI, "a", quality=0.9), Deployment(OPENAI, "b", quality=0.2), Deployment(OPENAI, "c")]
    plan = await planned(call("auto", "hi", on=replace(snapshot(*models), cost=CostTarget(1.0))))

    assert names(plan)[0] == "a"


async def test_without_a_target_nothing_is_calibrated() -> None:
    plan = await planned(call("auto", on=on()))

    assert plan.sample is None
    assert plan.decision["ranking"]["calibration"] is None


# boosts


async def test_nudges_count_for_their_task_and_name_model_or_provider() -> None:
    asked = on(nudges={"writing": {"anthropic": -0.5, "anthropic/opus": 0.9}})
    plan = await planned(call("auto", "hi", on=asked, task="writing"))
    other = await planned(call("auto", "hi", on=asked, task="code"))

    assert [row(plan, model)["terms"]["nudge"] for model in ("opus", "sonnet", "mini")] == [0.9, -0.5, 0.0]
    assert row(other, "opus")["terms"]["nudge"] == 0.0


async def test_providers_that_the_client_names_first_are_preferred() -> None:
    twins = snapshot(replace(MINI, model="a", provider=OPENAI), replace(MINI, model="b", provider=ANTHROPIC))
    plan = await planned(call("auto", on=twins, providers=("anthropic", "openai")))

    assert names(plan) == ["b", "a"]
    assert [row(plan, model)["terms"]["preference"] for model in ("b", "a")] == [0.1, 0.05]


async def test_declared_capabilities_count_where_the_prompt_wants_them() -> None:
    declared = replace(SONNET, model="declared", capabilities=frozenset({"tools"}))
    asked = snapshot(SONNET, declared)
    plan = await planned(call("auto", on=asked, body={"tools": [{"type": "function"}]}))

    assert [row(plan, model)["terms"]["capability"] for model in ("declared", "sonnet")] == [0.05, 0.0]


# warm conversations


def warm(model: str, tokens: int = 0) -> Router:
    return Router(FixedHealth(), warm=lambda conversation: Warm(model, tokens))


def talk(text: str = "thanks", **fields: Any) -> Call:
    messages = [*TALK[:-1], {"role": "user", "content": text}]
    return call("auto", on=on(**fields), body={"messages": messages})


async def test_a_conversation_stays_with_the_model_that_has_it_in_its_cache() -> None:
    plan = await planned(talk(), warm("anthropic/opus"))

    assert names(plan)[0] == "opus"
    assert row(plan, "opus")["terms"]["affinity"] == 0.7
    assert plan.decision["ranking"]["warm"] == {"model": "anthropic/opus", "cached_tokens": 0}


async def test_a_conversation_leaves_a_model_when_the_tier_rises() -> None:
    plan = await planned(talk(HARD), warm("openai/mini"))

    assert names(plan)[0] == "opus"
    assert row(plan, "mini")["terms"]["affinity"] == 0.0


async def test_a_first_turn_has_no_warm_model() -> None:
    assert names(await planned(call("auto", on=on()), warm("anthropic/opus")))[0] == "mini"


async def test_cached_input_is_cheaper() -> None:
    messages = [*TALK[:-1], {"role": "user", "content": "x" * 40_000}]
    asked = call("auto", on=on(), body={"messages": messages})

    cold = row(await planned(asked, warm("anthropic/opus")), "opus")["estimated_cost_usd"]
    cached = row(await planned(asked, warm("anthropic/opus", 8_000)), "opus")["estimated_cost_usd"]

    assert cold - cached == pytest.approx(8_000 * 7.5e-6)


async def test_a_target_of_cost_lets_a_warm_strong_model_continue() -> None:
    plan = await planned(talk(cost=CostTarget(0.0)), warm("anthropic/opus"))

    assert names(plan)[0] == "opus"


def test_the_calls_of_a_conversation_have_one_key_per_tenant() -> None:
    first = call("auto", body={"messages": TALK[:2]})
    parts = call("auto", body={"messages": [TALK[0], {"role": "user", "content": [{"type": "text", "text": "hello"}]}]})
    key = conversation_key(call("auto", body={"messages": TALK}))

    assert conversation_key(first) == conversation_key(parts) == key
    assert conversation_key(replace(first, principal=Identified("x", team="t"))) != key
    assert conversation_key(call("auto", "hello")) != key


@pytest.mark.parametrize("messages", [None, [], "x", [1, None], [{"role": "system", "content": "a"}]])
def test_a_body_without_a_user_has_no_key(messages: Any) -> None:
    asked = call("auto", body={"messages": messages})

    assert conversation_key(asked) is None
    assert continues(asked) is False


# exploration


class Fixed:
    """A classifier with one result."""

    def classify(self, call: Call) -> Profile:
        return Profile("chat", "low", 0.2, (), 1.0)


def explorer(share: float) -> Router:
    router = Router(FixedHealth(), classifier=Fixed())
    router.explore = lambda call: share
    return router


async def test_exploration_has_its_share_and_logs_the_propensity() -> None:
    router, asked = explorer(0.3), call("auto", on=on())
    plans = [await planned(replace(asked, id=f"req_{number}"), router) for number in range(600)]

    by_model: dict[str, list[Plan]] = {}
    for plan in plans:
        by_model.setdefault(names(plan)[0], []).append(plan)
    assert {model: len(found) / 600 for model, found in by_model.items()} == pytest.approx(
        {"mini": 0.8, "sonnet": 0.1, "opus": 0.1}, abs=0.05
    )
    assert {model: {plan.propensity for plan in found} for model, found in by_model.items()} == {
        "mini": {0.8},
        "sonnet": {0.1},
        "opus": {0.1},
    }
    reasons = {model: {plan.decision["reason"] for plan in found} for model, found in by_model.items()}
    assert reasons == {
        "mini": {"balanced mode, task chat, needs tier low: best score of 3"},
        "sonnet": {"balanced mode, task chat, needs tier low: drawn by exploration, of 3"},
        "opus": {"balanced mode, task chat, needs tier low: drawn by exploration, of 3"},
    }


async def test_exploration_repeats_for_the_same_id() -> None:
    router, asked = explorer(0.9), replace(call("auto", on=on()), id="req_x")

    assert (await planned(asked, router)).decision == (await planned(asked, router)).decision


async def test_models_below_the_need_are_not_explored() -> None:
    plans = [await planned(replace(call("auto", HARD, on=on()), id=str(n)), explorer_of_rules()) for n in range(50)]

    assert {names(plan)[0] for plan in plans} == {"opus"}
    assert {plan.propensity for plan in plans} == {1.0}


def explorer_of_rules() -> Router:
    router = Router(FixedHealth())
    router.explore = lambda call: 1.0
    return router


# predictions


class Learned:
    """A predictor that has learned something."""

    version = "learned 7"

    def success(self, profile: Profile, deployment: Deployment, tier: str | None) -> float:
        return 0.95 if deployment.model == "mini" else 0.4

    def revise(self, profile: Profile) -> Profile:
        return replace(profile, score=0.9, tier="high")

    def required(self, profile: Profile, needed: Tier) -> float:
        return PRIOR.required(profile, needed)


async def test_a_learned_predictor_decides() -> None:
    router = Router(FixedHealth())
    router.predictor = Learned()
    plan = await planned(call("auto", "hi", on=on()), router)

    assert names(plan)[0] == "mini"
    assert (plan.decision["profile"]["score"], plan.decision["ranking"]["predictor"]) == (0.9, "learned 7")
    assert row(plan, "opus")["predicted_success"] == 0.4


async def test_the_same_call_and_conditions_give_the_same_record() -> None:
    asked = call("auto", HARD, on=on(cost=CostTarget(0.5), quality=0.5))

    assert (await planned(asked)).decision == (await planned(asked)).decision
