"""Tests of proxy/replay/recorded.py."""

from __future__ import annotations

from proxy.core.plan import DeploymentHealth
from proxy.replay.recorded import recorded
from tests.unit.replay.records import a_call, rejected, row
from tests.unit.routing.build import ILL, call


def test_the_profile_and_the_options_are_those_of_the_call() -> None:
    options = {"exclude": ("local",), "mode": "fast", "max_cost_usd": 2.0, "body": {"max_tokens": 7, "n": 3}}
    found = a_call("auto", "Prove it", options=options)
    asked = call("auto", "Prove it", exclude=("local",), mode="fast", max_cost_usd=2.0)

    assert found.profile is not None
    assert (found.profile.task, found.profile.classifier) == ("math", "rules")
    assert found.options == asked.options
    assert (found.constraints["max_tokens"], found.constraints["choices"]) == (7, 3)


def test_a_mode_of_the_configuration_is_no_option() -> None:
    assert a_call("auto").options.mode is None


def test_the_health_is_that_of_the_candidates() -> None:
    measured = DeploymentHealth(latency=0.25)
    health = a_call("tier/low", health={"openai/mini": measured, "anthropic/haiku": ILL}).health()

    assert health["openai/mini"] == measured
    assert (health["anthropic/haiku"].available, health["anthropic/haiku"].reason) == (False, "breaker open")
    assert health["anthropic/haiku"].latency is None
    assert health["anthropic/haiku"].retry_after == 30.0


def test_targets_before_the_one_that_answered_failed() -> None:
    found = a_call("tier/low", provider="anthropic", upstream_model="haiku")

    assert found.served == "anthropic/haiku"
    assert found.failed == {"openai/mini"}


def test_a_hidden_provider_is_found_among_the_targets() -> None:
    assert a_call("tier/low", provider="mock", upstream_model="haiku").served == "anthropic/haiku"
    assert a_call("tier/low", provider="mock", upstream_model="other").served == "mock/other"


def test_a_call_that_was_not_routed_has_nothing_but_its_name() -> None:
    found = recorded(rejected("old-name", "model_not_found"))

    assert (found.model, found.served, found.usage, found.profile, found.input_tokens) == (
        "old-name",
        None,
        None,
        None,
        0,
    )


def test_a_damaged_decision_record_is_as_none() -> None:
    assert recorded(row("auto", decision=b"{")).decision == {}
    assert recorded(row("auto", decision=b"[1]")).decision == {}


def test_features_of_another_release_are_left_out() -> None:
    found = a_call("auto", features=b"\xff123")

    assert found.profile is not None
    assert (found.profile.inputs, found.profile.hashed) == ((), ())
