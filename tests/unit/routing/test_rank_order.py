"""Tests of the order of tiers in proxy/routing/rank.py: cheapest first, equal models alternate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from proxy.core.model import Deployment
from proxy.core.plan import DeploymentHealth
from proxy.core.snapshot import ScenarioEntry
from proxy.routing.plan import plan
from tests.unit.routing.build import HAIKU, ILL, MINI, call, price, provider, snapshot

EAST, WEST, NORTH = (
    Deployment(provider(name), "gpt-4o", tier="low", price=price(2.5, 10), twin=True)
    for name in ("east", "west", "north")
)
BARE = [Deployment(provider(name), "x", tier="low") for name in ("a", "b", "c")]


def used(number: int, latency: float | None = None) -> DeploymentHealth:
    return DeploymentHealth(used=number, latency=latency)


def order(*deployments: Deployment, model: str = "tier/low", **health: DeploymentHealth) -> list[str]:
    on = snapshot(*deployments, scenarios={"s": (ScenarioEntry("tier/low"),)})
    view = {f"{name}/gpt-4o": state for name, state in health.items()}
    return [target.deployment.provider.name for target in plan(call(model, on=on), view).targets]


@pytest.mark.parametrize("model", ["tier/low", "auto", "mode/fast", "scenario/s"])
@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ({}, ["east", "north", "west"]),
        ({"east": used(1)}, ["north", "west", "east"]),
        ({"east": used(1), "north": used(2)}, ["west", "east", "north"]),
        ({"east": used(1), "north": used(2), "west": used(3)}, ["east", "north", "west"]),
        ({"east": used(4), "north": used(2), "west": used(3)}, ["north", "west", "east"]),
    ],
)
def test_equal_models_alternate(model: str, health: dict[str, DeploymentHealth], expected: list[str]) -> None:
    assert order(EAST, WEST, NORTH, model=model, **health) == expected


def test_a_much_slower_equal_model_does_not_alternate() -> None:
    health = {"east": used(9, 1.0), "west": used(8, 1.4), "north": used(1, 9.0)}

    assert order(EAST, WEST, NORTH, **health) == ["west", "east", "north"]


def test_an_equal_model_that_is_not_available_is_last() -> None:
    assert order(EAST, WEST, east=structs.replace(ILL, used=0), west=used(5)) == ["west", "east"]


def test_models_that_are_not_equal_keep_their_order() -> None:
    cheap = replace(MINI, provider=provider("cheap"))

    assert order(EAST, cheap, WEST, east=used(7)) == ["cheap", "west", "east"]


def test_an_explicit_tier_keeps_its_order() -> None:
    on = snapshot(EAST, WEST, tiers={"low": ("east/gpt-4o", "west/gpt-4o")})

    found = plan(call("tier/low", on=on), {"east/gpt-4o": used(7)})

    assert [target.deployment.provider.name for target in found.targets] == ["east", "west"]


def test_the_same_view_gives_the_same_decision() -> None:
    on, health = snapshot(EAST, WEST), {"east/gpt-4o": used(3)}

    assert plan(call("tier/low", on=on), health).decision == plan(call("tier/low", on=on), health).decision


@pytest.mark.parametrize(
    ("deployments", "reason"),
    [
        ((MINI, HAIKU), "cheapest of 2 in tier/low"),
        ((MINI, *BARE), "the only one with a price, of 4 in tier/low"),
        ((MINI, HAIKU, *BARE), "cheapest of 2 with a price, of 5 in tier/low"),
        (BARE, "first by name of 3 without a price in tier/low"),
        ((*BARE, replace(BARE[0], model="y", latency=0.2)), "fastest of 4 without a price in tier/low"),
        ((EAST, WEST), "cheapest of 2, least recently used of 2 equal ones, in tier/low"),
    ],
)
def test_the_reason_states_why_the_first_is_first(deployments: tuple[Deployment, ...], reason: str) -> None:
    assert plan(call("tier/low", on=snapshot(*deployments)), {}).reason == reason


def test_a_tier_in_a_scenario_is_sorted_by_price() -> None:
    entries = (ScenarioEntry("anthropic/haiku"), ScenarioEntry("tier/low"))

    found = plan(call("scenario/s", on=snapshot(HAIKU, EAST, MINI, scenarios={"s": entries})), {})

    assert [target.deployment.name for target in found.targets] == ["anthropic/haiku", "openai/mini", "east/gpt-4o"]
