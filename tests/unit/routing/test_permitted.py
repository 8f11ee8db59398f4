"""Routing sees only what the caller may use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.errors import ModelNotFound, NotAllowed, ProxyError
from proxy.core.principal import UNKNOWN_CALLER, Identified, Principal
from proxy.core.snapshot import ScenarioEntry
from proxy.routing.permitted import model_for, names_for
from proxy.routing.plan import plan
from proxy.routing.router import Router
from tests.unit.routing.build import ALL, FixedHealth, call, snapshot

SNAPSHOT = snapshot(
    *ALL,
    aliases={"nick": "anthropic/opus", "cheap": "tier/low"},
    scenarios={
        "mixed": (ScenarioEntry("anthropic/opus"), ScenarioEntry("tier/low"), ScenarioEntry("openai/mini")),
    },
    default_route="tier/high",
    known=["anthropic/secret"],
)


def caller(*models: tuple[str, ...]) -> Principal:
    return Identified("key_1", models=models)


async def targets(call_: Call) -> list[str]:
    """The targets of a call's plan; the router and the pure plan agree."""
    planned = await Router(FixedHealth()).route(call_)
    assert [target.deployment.name for target in plan(call_, {}).targets] == [
        target.deployment.name for target in planned.targets
    ]
    return [target.deployment.name for target in planned.targets]


async def route(model: str, *models: tuple[str, ...], **options: Any) -> list[str]:
    """The targets for a caller with these lists of patterns."""
    return await targets(replace(call(model, on=SNAPSHOT, **options), principal=caller(*models)))


async def refused(model: str, *models: tuple[str, ...], **options: Any) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await route(model, *models, **options)
    return caught.value


@pytest.mark.parametrize(
    ("model", "patterns", "expected"),
    [
        ("tier/low", ["*"], ["openai/mini", "anthropic/haiku"]),
        ("tier/low", ["tier/low"], ["openai/mini", "anthropic/haiku"]),
        ("tier/low", ["tier/*"], ["openai/mini", "anthropic/haiku"]),
        ("tier/low", ["anthropic/*"], ["anthropic/haiku"]),
        ("tier/low", ["anthropic/haik[tu]"], ["anthropic/haiku"]),
        ("cheap", ["cheap"], ["openai/mini", "anthropic/haiku"]),
        ("cheap", ["tier/low"], ["openai/mini", "anthropic/haiku"]),
        ("cheap", ["openai/mini"], ["openai/mini"]),
        ("nick", ["nick"], ["anthropic/opus"]),
        ("nick", ["anthropic/opus"], ["anthropic/opus"]),
        ("mini", ["mini"], ["openai/mini"]),
        ("mini", ["openai/*"], ["openai/mini"]),
        ("openai/mini", ["openai/mini"], ["openai/mini"]),
        ("local/other", ["local/*"], ["local/other"]),
        ("scenario/mixed", ["anthropic/*"], ["anthropic/opus", "anthropic/haiku"]),
        ("scenario/mixed", ["openai/*"], ["openai/mini"]),
        ("auto", ["local/*"], ["local/llama"]),
        ("mode/fast", ["mode/fast", "x"], 5),
        ("unknown-name", ["tier/high"], ["anthropic/opus"]),
    ],
)
async def test_a_route_has_the_members_that_a_pattern_matches(model: str, patterns: list[str], expected: Any) -> None:
    names = await route(model, tuple(patterns))

    assert (len(names) if isinstance(expected, int) else names) == expected


@pytest.mark.parametrize(
    ("model", "patterns"),
    [
        ("openai/mini", ["anthropic/*"]),
        ("openai/mini", ["openai/min"]),
        ("openai/mini", ["OPENAI/*"]),
        ("openai/mini", []),
        ("tier/high", ["openai/*"]),
        ("tier/high", ["tier/low"]),
        ("nick", ["openai/*"]),
        ("auto", ["other/*"]),
        ("local/other", ["local/llama"]),
        ("unknown-name", ["unknown-*"]),  # `routing.default` stands in, for a name that the client chose
        ("unknown-name", ["openai/*"]),
    ],
)
async def test_a_route_without_permitted_members_is_refused(model: str, patterns: list[str]) -> None:
    error = await refused(model, tuple(patterns))

    assert isinstance(error, NotAllowed)
    assert (error.http_status, error.error_code, error.param) == (403, "model_not_allowed", "model")
    assert f"`{model}`" in str(error)
    assert ", ".join(f"`{pattern}`" for pattern in patterns) in str(error)


async def test_every_list_must_match() -> None:
    key, team = ("tier/*", "openai/mini"), ("openai/*", "local/*")

    assert await route("tier/low", key, team) == ["openai/mini"]
    assert await route("tier/medium", key, team) == ["local/llama"]
    assert isinstance(await refused("tier/high", key, team), NotAllowed)
    assert "and of these only `openai/*`, `local/*`" in str(await refused("anthropic/opus", key, team))


async def test_fallbacks_are_permitted_too() -> None:
    assert await route("openai/mini", ("openai/*", "tier/low"), fallbacks=("tier/low",)) == [
        "openai/mini",
        "anthropic/haiku",
    ]

    error = await refused("openai/mini", ("openai/*",), fallbacks=("anthropic/opus",))
    assert (error.error_code, error.param) == ("model_not_allowed", "router.fallbacks")


async def test_a_higher_tier_has_permitted_members_only() -> None:
    long = {"messages": [{"role": "user", "content": "many words " * 30_000}]}

    assert await route("tier/low", ("tier/low", "anthropic/opus"), body=long) == ["anthropic/opus"]
    assert set(await route("tier/low", ("tier/low", "tier/medium"), body=long)) == {"anthropic/sonnet", "local/llama"}


def test_a_decision_record_names_no_other_models() -> None:
    asked = replace(call("scenario/mixed", on=SNAPSHOT, max_cost_usd=1.0), principal=caller(("openai/*",)))

    decision = str(plan(asked, {}).decision)

    assert "anthropic" not in decision
    assert "'mini'" in decision


async def test_a_refusal_names_no_other_models() -> None:
    error = await refused("tier/low", ("openai/*",), max_cost_usd=1e-9)

    assert error.http_status == 400
    assert "openai/mini" in str(error)
    assert "anthropic" not in str(error)


@pytest.mark.parametrize("name", ["anthropic/opux", "anthropic/secret", "opux"])
async def test_suggestions_contain_permitted_names_only(name: str) -> None:
    on = replace(SNAPSHOT, default_route=None)
    asked = replace(call(name, on=on), principal=caller(("openai/*",)))

    with pytest.raises(ModelNotFound) as caught:
        await targets(asked)

    assert "opus" not in str(caught.value)
    assert str(caught.value).startswith(f"The model `{name}` does not exist.")


def test_the_list_of_models_has_permitted_names_only() -> None:
    names = [usable.id for usable in names_for(SNAPSHOT, caller(("openai/*", "nick")))]

    models = ["openai/mini", "openai/embed", "nick", "cheap", "tier/low", "scenario/mixed"]
    assert names == [*models, "auto", "mode/fast", "mode/balanced", "mode/accurate"]


def test_a_caller_without_patterns_sees_everything() -> None:
    assert len(names_for(SNAPSHOT, UNKNOWN_CALLER)) > 10
    assert model_for(SNAPSHOT, "anthropic/opus", UNKNOWN_CALLER).id == "anthropic/opus"


@pytest.mark.parametrize("name", ["anthropic/opus", "opus", "tier/high", "anthropic/secret", "none", "local/other"])
def test_one_model_is_shown_only_if_it_is_permitted(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        model_for(SNAPSHOT, name, caller(("openai/*",)))

    assert str(caught.value).startswith(f"The model `{name}` does not exist.")


@pytest.mark.parametrize("name", ["openai/mini", "mini", "tier/low"])
def test_a_permitted_model_is_shown(name: str) -> None:
    assert model_for(SNAPSHOT, name, caller(("openai/*",))).id == name
