"""Tests of proxy/routing/plan.py, including selection.py and refusal.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest, ModelNotFound, ProxyError, Unavailable
from proxy.core.model import Deployment
from proxy.core.plan import DeploymentHealth, HealthView, Plan
from proxy.core.snapshot import ScenarioEntry
from proxy.routing.plan import plan
from tests.unit.routing.build import (
    ALL,
    ANTHROPIC,
    EMBED,
    HAIKU,
    ILL,
    LOCAL,
    MINI,
    OPENAI,
    OPUS,
    SONNET,
    call,
    snapshot,
)

IMAGE = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]
FAKE = replace(OPENAI, name="fake", dialect="mock", stand_in=True)
SUPPORT = {"support": (ScenarioEntry("anthropic/haiku", {"temperature": 0.2}), ScenarioEntry("openai/mini"))}


def names(found: Plan) -> list[str]:
    return [target.deployment.name for target in found.targets]


def planned(asked: Call, health: HealthView | None = None) -> list[str]:
    return names(plan(asked, health or {}))


def refused(asked: Call, kind: type[ProxyError] = InvalidRequest) -> ProxyError:
    with pytest.raises(kind) as caught:
        plan(asked, {})
    return caught.value


# direct, alias, bare


@pytest.mark.parametrize(("name", "rule"), [("anthropic/haiku", "direct"), ("haiku", "bare"), ("claude", "alias")])
def test_a_named_model_is_the_only_target(name: str, rule: str) -> None:
    on = snapshot(aliases={"claude": "anthropic/haiku"})
    found = plan(call(name, IMAGE, on=on, body={"max_tokens": 10**6, "tools": [1]}), {})

    assert (names(found), found.rule, found.route) == (["anthropic/haiku"], rule, "anthropic/haiku")


def test_a_model_of_another_kind_may_be_named() -> None:
    assert planned(call("openai/embed")) == ["openai/embed"]


def test_an_unsatisfiable_requirement_is_a_400_with_its_reason() -> None:
    error = refused(call("anthropic/haiku", require=("vision",)))

    assert (error.http_status, error.error_code) == (400, "no_candidate_available")
    assert "anthropic/haiku: lacks a capability" in str(error)


def test_a_call_without_a_possible_target_has_a_decision_record() -> None:
    error = refused(call("tier/low", exclude=("openai/mini", "anthropic/haiku")))

    assert error.decide is not None
    decision = error.decide()
    assert (decision["route"], decision["chosen"], decision["reason"]) == ("tier/low", None, str(error))
    rejected = {f"{row['provider']}/{row['model']}": row["reason"] for row in decision["candidates"]}
    assert rejected["openai/mini"] == "excluded by router.exclude"
    assert {row["status"] for row in decision["candidates"]} == {"rejected"}


def test_an_unlisted_model_is_not_in_the_reason() -> None:
    found = plan(call("local/clients-own-word"), {})

    assert names(found) == ["local/clients-own-word"]
    assert "clients-own-word" not in found.reason


# fallbacks


def test_fallbacks_of_any_form_follow_without_repeats() -> None:
    asked = call("anthropic/opus", fallbacks=("mini", "tier/low", "anthropic/opus", "local/other"))

    assert planned(asked) == ["anthropic/opus", "openai/mini", "anthropic/haiku", "local/other"]


def test_fallbacks_serve_a_route_without_candidates() -> None:
    found = plan(call("anthropic/haiku", require=("vision",), fallbacks=("openai/mini",)), {})

    assert names(found) == ["openai/mini"]
    assert found.reason.startswith("router.fallbacks, ")


@pytest.mark.parametrize("default", [None, "tier/low"])
def test_an_unknown_fallback_is_named(default: str | None) -> None:
    error = refused(call("openai/mini", on=snapshot(default_route=default), fallbacks=("nope",)), ModelNotFound)

    assert error.param == "router.fallbacks"
    assert "`nope`" in str(error)


def test_a_plan_has_at_most_sixteen_targets() -> None:
    many = [replace(MINI, model=f"m{number:02}") for number in range(40)]
    found = plan(call("tier/low", on=snapshot(*many)), {})

    assert len(found.targets) == 16
    assert [row["status"] for row in found.decision["candidates"]] == ["chosen"] + ["fallback"] * 15 + ["rejected"] * 24


# tiers


def test_a_tier_is_sorted_from_cheap_to_expensive() -> None:
    assert planned(call("tier/low")) == ["openai/mini", "anthropic/haiku"]
    assert planned(call("tier/medium")) == ["anthropic/sonnet", "local/llama"]


def test_the_length_of_the_answer_can_change_which_is_cheaper() -> None:
    talker = Deployment(OPENAI, "talker", tier="low", price=replace(MINI.price, input=10**10, output=0))  # type: ignore[type-var]
    on = snapshot(talker, MINI)

    assert planned(call("tier/low", "x" * 40, on=on))[0] == "openai/talker"
    assert planned(call("tier/low", "x" * 40, on=on, body={"max_tokens": 10}))[0] == "openai/mini"


def test_unavailable_targets_move_to_the_end_of_the_plan() -> None:
    found = plan(call("tier/low"), {"openai/mini": ILL})

    assert names(found) == ["anthropic/haiku", "openai/mini"]
    assert found.reason.endswith("skipped 1 unavailable")
    assert found.decision["candidates"][1]["reason"] == "not available now: breaker open"


def test_the_order_stays_if_all_targets_are_unavailable() -> None:
    found = plan(call("tier/low"), {"openai/mini": ILL, "anthropic/haiku": ILL})

    assert names(found) == ["openai/mini", "anthropic/haiku"]
    assert found.reason.endswith("no target is available now")


def test_an_explicit_tier_keeps_the_operators_order() -> None:
    on = snapshot(tiers={"low": ("anthropic/opus", "openai/mini")})

    assert planned(call("tier/low", on=on)) == ["anthropic/opus", "openai/mini"]


def test_a_prompt_with_an_image_goes_to_a_vision_model() -> None:
    assert planned(call("tier/low", IMAGE)) == ["openai/mini"]


def test_long_prompts_go_to_a_larger_model_of_the_tier() -> None:
    assert planned(call("tier/low", "x" * 4 * 15_000)) == ["anthropic/haiku"]


def test_calls_that_exceed_a_tier_go_to_the_next_higher_one() -> None:
    found = plan(call("tier/low", "x" * 4 * 30_000), {})

    assert names(found) == ["anthropic/sonnet", "local/llama"]
    assert found.reason.startswith("nothing in tier/low fits the call, went up to tier/medium")


def test_an_empty_tier_is_skipped_on_the_way_up() -> None:
    assert planned(call("tier/low", "x" * 4 * 30_000, on=snapshot(MINI, OPUS))) == ["anthropic/opus"]


def test_exclusions_of_the_client_do_not_raise_the_tier() -> None:
    error = refused(call("tier/low", exclude=("openai/mini", "anthropic/haiku")))

    assert error.error_code == "no_candidate_available"
    assert "openai/mini: excluded by router.exclude" in str(error)


def test_too_long_for_every_model_is_a_context_length_error() -> None:
    error = refused(call("tier/low", "x" * 4 * 300_000, on=snapshot(MINI, HAIKU, SONNET)))

    assert (error.error_code, error.param) == ("context_length_exceeded", "messages")
    assert "200000" in str(error)


def test_exclusions_do_not_hide_context_length_exceeded() -> None:
    asked = call("tier/low", "x" * 4 * 300_000, on=snapshot(MINI, HAIKU), exclude=("anthropic",))

    assert refused(asked).error_code == "context_length_exceeded"


def test_a_tier_without_providers_is_unavailable_with_reasons() -> None:
    on = snapshot(MINI, left_out={"gemini": "GEMINI_API_KEY is not set"}, tiers={"high": ("gemini/pro",)})

    for name in ("tier/high", "tier/medium"):
        error = refused(call(name, on=on), Unavailable)
        assert (error.http_status, error.error_code) == (503, "no_candidate_available")
        assert "GEMINI_API_KEY is not set" in str(error)
        assert "retry-after" in error.response_headers()


def test_a_tier_without_models_is_a_400() -> None:
    assert refused(call("tier/high", on=snapshot(MINI))).error_code == "no_candidate_available"


# scenarios


def test_a_scenario_keeps_its_order_and_its_overrides() -> None:
    found = plan(call("scenario/support", on=snapshot(scenarios=SUPPORT)), {})

    assert names(found) == ["anthropic/haiku", "openai/mini"]
    assert [dict(target.overrides) for target in found.targets] == [{"temperature": 0.2}, {}]


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [("scenario/support", True), ("help", True), ("scenario/other", False), ("openai/mini", False)],
)
def test_content_fallback_only_in_scenarios_that_allow_it(asked: str, allowed: bool) -> None:
    scenarios = {**SUPPORT, "other": SUPPORT["support"]}
    on = replace(
        snapshot(scenarios=scenarios, aliases={"help": "scenario/support"}), content_fallback=frozenset({"support"})
    )

    assert plan(call(asked, on=on), {}).content_fallback is allowed


def test_a_scenario_filters_and_takes_the_next_entry() -> None:
    assert planned(call("scenario/support", IMAGE, on=snapshot(scenarios=SUPPORT))) == ["openai/mini"]


def test_a_scenario_without_a_fitting_model_lists_all_reasons() -> None:
    on = snapshot(scenarios={"s": (ScenarioEntry("anthropic/haiku"), ScenarioEntry("openai/embed"))})
    error = refused(call("scenario/s", IMAGE, on=on))

    assert error.error_code == "no_candidate_available"
    assert "anthropic/haiku: does not declare vision" in str(error)
    assert "openai/embed: a model of kind embedding, not chat" in str(error)


def test_a_scenario_prefers_real_models_to_stand_ins() -> None:
    fake = Deployment(FAKE, "m")
    on = snapshot(fake, MINI, scenarios={"s": (ScenarioEntry("fake/m"), ScenarioEntry("openai/mini"))})

    assert planned(call("scenario/s", on=on)) == ["openai/mini"]


def test_a_scenario_without_providers_or_enabled_models_fails() -> None:
    scenarios = {"out": (ScenarioEntry("gemini/flash"),), "off": (ScenarioEntry("openai/off"),)}
    on = snapshot(MINI, scenarios=scenarios, left_out={"gemini": "no key"}, known=["openai/off"])

    assert "provider gemini is left out: no key" in str(refused(call("scenario/out", on=on), Unavailable))
    assert "openai/off: it is disabled" in str(refused(call("scenario/off", on=on)))


def test_an_entry_of_a_left_out_provider_is_skipped_and_recorded() -> None:
    scenarios = {"s": (ScenarioEntry("gemini/flash"), ScenarioEntry("openai/mini"))}
    found = plan(call("scenario/s", on=snapshot(MINI, scenarios=scenarios, left_out={"gemini": "no key"})), {})

    assert names(found) == ["openai/mini"]
    assert found.decision["candidates"][1]["reason"] == "provider left out: no key"


# stand-ins


def test_stand_ins_serve_routes_only_without_real_providers() -> None:
    fake = Deployment(FAKE, "m", tier="low")

    for name in ("tier/low", "auto"):
        assert planned(call(name, on=snapshot(fake, MINI))) == ["openai/mini"]
        assert planned(call(name, on=snapshot(fake, EMBED))) == ["fake/m"]


def test_a_higher_stand_in_does_not_hide_context_length_exceeded() -> None:
    fake = Deployment(FAKE, "m", tier="medium")
    error = refused(call("tier/low", "x" * 4 * 30_000, on=snapshot(MINI, fake)))

    assert error.error_code == "context_length_exceeded"


# auto and modes


def test_auto_uses_cheap_models_for_easy_prompts_only() -> None:
    hard = "Prove rigorously, step by step, that the integral converges; derive the asymptotic complexity. " * 5

    assert planned(call("auto", "hi"))[0] == "openai/mini"
    assert planned(call("auto", hard))[0] == "anthropic/opus"


def test_mode_precedence_is_name_then_option_then_configuration() -> None:
    def mode(name: str, **options: Any) -> Any:
        return plan(call(name, on=snapshot(mode="accurate"), **options), {}).decision["constraints"]["mode"]

    assert mode("mode/fast", mode="balanced") == "fast"
    assert mode("auto", mode="balanced") == "balanced"
    assert mode("auto") == "accurate"


def test_accurate_goes_one_tier_up_and_fast_takes_the_quickest() -> None:
    assert planned(call("mode/accurate", "hi"))[0] in {"anthropic/sonnet", "local/llama"}
    assert planned(call("mode/fast", "hi"))[0] == "local/llama"
    assert planned(call("mode/fast", "hi"), {"local/llama": DeploymentHealth(latency=30.0)})[0] != "local/llama"


def test_auto_prefers_models_with_a_tier() -> None:
    untiered = Deployment(LOCAL, "plain")

    assert "local/plain" not in planned(call("auto", on=snapshot(MINI, untiered)))
    assert planned(call("auto", on=snapshot(untiered, EMBED))) == ["local/plain"]


def test_a_specialist_is_preferred_for_its_task() -> None:
    poet = replace(MINI, model="poet", specialties=frozenset({"writing"}))
    on = snapshot(MINI, poet)

    assert planned(call("auto", "Write a poem about rain", on=on))[0] == "openai/poet"
    assert planned(call("auto", "hi", on=on))[0] == "openai/mini"
    assert planned(call("auto", "hi", on=on, task="writing"))[0] == "openai/poet"


def test_the_configured_weights_decide() -> None:
    on = snapshot(
        MINI, replace(MINI, model="rich", price=OPUS.price, latency=0.1), weights={"cost": 0.0, "latency": 1.0}
    )

    assert planned(call("auto", on=on))[0] == "openai/rich"


def test_without_any_chat_model_auto_is_refused() -> None:
    assert refused(call("auto", on=snapshot(EMBED))).http_status == 400
    assert refused(call("auto", on=snapshot(EMBED, left_out={"x": "no key"})), Unavailable).http_status == 503


# the default route and the reason


def test_the_default_route_serves_an_unknown_name() -> None:
    found = plan(call("gpt-99", on=snapshot(default_route="tier/low")), {})

    assert (found.rule, found.route, names(found)[0]) == ("default", "tier/low", "openai/mini")
    assert "gpt-99" not in found.reason


def test_the_reason_is_printable_ascii_in_one_line() -> None:
    wild = "r\u00e9sum\u00e9\r\nx-evil: 1" + "y" * 300
    on = snapshot(scenarios={wild: (ScenarioEntry("openai/mini"),)}, aliases={wild: f"scenario/{wild}"})

    for name in (f"scenario/{wild}", wild, "auto", "tier/low", "openai/mini"):
        reason = plan(call(name, on=on), {}).reason
        assert 0 < len(reason) < 200
        assert reason.isascii()
        assert reason.isprintable()


def test_a_refusal_lists_a_bounded_number_of_reasons() -> None:
    many = [replace(HAIKU, model=f"m{number:03}") for number in range(100)]
    error = refused(call("tier/low", IMAGE, on=snapshot(*many)))

    assert str(error).endswith("and 92 more.")


def test_all_the_deployments_of_the_example_are_reachable() -> None:
    assert {each.name for each in ALL} == {planned(call(each.name))[0] for each in ALL}


def test_a_tier_sets_the_effort_unless_the_client_does() -> None:
    asked = Deployment(ANTHROPIC, "a", tier="low", thinking={"high": {"x": 1}}, thinking_off={})
    on = snapshot(asked, Deployment(OPENAI, "b", tier="low"), thinking={"low": "none"})

    said = {target.deployment.model: dict(target.overrides) for target in plan(call("tier/low", on=on), {}).targets}
    silent = plan(call("tier/low", on=on, body={"reasoning_effort": "high"}), {}).targets

    assert said == {"a": {"reasoning_effort": "none"}, "b": {}}
    assert all(not target.overrides for target in silent)
