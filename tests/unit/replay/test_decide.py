"""Tests of proxy/replay/decide.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.errors import ModelNotFound, NotAllowed, ProxyError
from proxy.core.learning import LearningRules
from proxy.core.model import Deployment
from proxy.core.plan import Room
from proxy.core.policies import CostTarget
from proxy.core.principal import Identified
from proxy.core.snapshot import ScenarioEntry
from proxy.replay.decide import Decider, NotClassified
from proxy.replay.recorded import recorded
from proxy.routing.plan import plan
from tests.unit.replay.records import a_call, rejected
from tests.unit.routing.build import HAIKU, ILL, MINI, OPUS, SONNET, call, snapshot

SAME = Decider(snapshot())


@pytest.mark.parametrize("model", ["auto", "mode/fast", "tier/low", "tier/high", "openai/mini", "mini"])
@pytest.mark.parametrize("text", ["hi", "Prove the theorem step by step and derive the equation rigorously."])
def test_the_same_configuration_gives_the_same_plan(model: str, text: str) -> None:
    options: dict[str, Any] = {"exclude": ("local",), "body": {"max_tokens": 100, "tools": [{}]}}
    before = plan(call(model, text, **options), {"openai/mini": ILL})

    after = SAME.plan(a_call(model, text, options=options, health={"openai/mini": ILL}))

    assert [each.deployment.name for each in after.targets] == [each.deployment.name for each in before.targets]
    assert after.decision == {**before.decision, "profile": after.decision["profile"]}


def test_another_configuration_gives_another_plan() -> None:
    cheaper = Decider(snapshot(HAIKU, SONNET, OPUS))

    assert cheaper.plan(a_call("tier/low")).targets[0].deployment is HAIKU
    assert cheaper.plan(a_call("auto")).targets[0].deployment is HAIKU


def test_the_new_mode_applies_unless_the_call_has_its_own() -> None:
    accurate = Decider(snapshot(mode="accurate"))

    assert accurate.plan(a_call("auto")).decision["constraints"]["mode"] == "accurate"
    assert accurate.plan(a_call("auto", options={"mode": "fast"})).decision["constraints"]["mode"] == "fast"


def test_the_needs_of_the_body_still_filter() -> None:
    needs_vision = {"body": {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}}

    found = Decider(snapshot(HAIKU, MINI)).plan(a_call("tier/low", options=needs_vision))

    assert [each.deployment for each in found.targets] == [MINI]


def test_a_name_that_now_depends_on_the_prompt_cannot_be_decided() -> None:
    renamed = Decider(snapshot(aliases={"cheap": "auto"}))

    with pytest.raises(NotClassified):
        renamed.plan(a_call("cheap", options={"on": snapshot(aliases={"cheap": "openai/mini"})}))


def test_a_name_that_is_gone_is_an_error_and_one_that_is_new_is_none() -> None:
    scenario = snapshot(scenarios={"support": (ScenarioEntry("openai/mini"),)})

    with pytest.raises(ModelNotFound):
        SAME.plan(a_call("scenario/support", options={"on": scenario}))
    assert (
        Decider(scenario).plan(recorded(rejected("scenario/support", "model_not_found"))).targets[0].deployment is MINI
    )


def test_callers_keep_their_permissions() -> None:
    with pytest.raises(NotAllowed):
        SAME.plan(a_call("openai/mini"), Identified("a", models=(("anthropic/*",),)))


def test_a_deployment_without_capacity_has_its_wait_in_the_plan() -> None:
    rows = SAME.plan(a_call("tier/low"), waits={"openai/mini": 2.0}).decision["candidates"]

    assert {row["model"]: row["estimated_wait_ms"] for row in rows}["mini"] == 2000.0


def test_options_that_name_what_is_gone_are_errors() -> None:
    with pytest.raises(ProxyError):
        Decider(snapshot(HAIKU)).plan(a_call("tier/low", options={"exclude": ("openai",)}))


def test_the_calibration_of_the_record_counts_for_the_same_target() -> None:
    half = replace(snapshot(), cost=CostTarget(0.5))
    state = {"target": 0.5, "of": "calls", "threshold": 0.0, "inclusive": True, "realised": 0.5, "version": 7}
    asked = a_call("auto", "hi")
    recorded_half = replace(asked, decision={**asked.decision, "ranking": {"calibration": state}})

    same = Decider(half).plan(recorded_half).decision
    other = Decider(replace(half, cost=CostTarget(0.1))).plan(recorded_half).decision

    assert (same["ranking"]["calibration"], same["chosen"]) == (state, "anthropic/opus")
    assert other["ranking"]["calibration"]["version"] == 0
    assert other["chosen"] != "anthropic/opus"


@pytest.mark.parametrize(("learning", "others"), [(LearningRules(explore=1.0), True), (None, False)])
def test_the_share_of_exploration_is_that_of_the_new_configuration(
    learning: LearningRules | None, others: bool
) -> None:
    exploring = Decider(replace(snapshot(), learning=learning))

    chosen = {exploring.plan(a_call("auto", "hi", id=f"req_{n}")).decision["chosen"] for n in range(50)}

    assert (len(chosen) > 1) is others


def test_a_warm_prompt_cache_is_that_of_the_record() -> None:
    asked = a_call("auto", "hi")
    warm = {"model": "anthropic/haiku", "cached_tokens": 7}

    found = SAME.plan(replace(asked, decision={**asked.decision, "ranking": {"warm": warm}})).decision

    assert found["ranking"]["warm"] == warm


def test_a_spent_budget_rejects_candidates_of_auto() -> None:
    def room(deployment: Deployment) -> Room | None:
        return Room("provider/openai", 0) if deployment.provider.name == "openai" else None

    rows = SAME.plan(a_call("auto"), room=room).decision["candidates"]

    assert {row["model"] for row in rows if row["filter"] == "budget"} == {"mini"}
