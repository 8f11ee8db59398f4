"""Tests of proxy/routing/router.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from proxy.core.call import Call
from proxy.core.errors import ModelNotFound
from proxy.core.plan import DeploymentHealth, Plan
from proxy.core.work import LARGE
from proxy.routing.classify.rules import Profile
from proxy.routing.names import usable_names
from proxy.routing.plan import plan
from proxy.routing.router import Router
from tests.unit.routing.build import ALL, ILL, FixedHealth, call, snapshot

T = TypeVar("T")

ALIASES = {"mine": "openai/mini", "cheap": "tier/low", "m\u00fcller": "openai/mini", "deep": "mine"}
SNAPSHOT = snapshot(*ALL, aliases=ALIASES)


class Untouched(Mapping[str, Any]):
    """A body that must not be read."""

    def __getitem__(self, name: str) -> Any:
        raise AssertionError(f"read {name}")

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("iterated")

    def __len__(self) -> int:
        raise AssertionError("counted")


def values(plan: Plan) -> tuple[object, ...]:
    return plan, plan.decision, plan.input_tokens


@pytest.mark.parametrize("name", ["openai/mini", "mini", "mine", "m\u00fcller", "deep", "local/llama"])
@pytest.mark.parametrize("health", [DeploymentHealth(), DeploymentHealth(latency=0.5), ILL])
async def test_a_direct_call_gets_the_plan_of_all_steps(name: str, health: DeploymentHealth) -> None:
    view = dict.fromkeys(SNAPSHOT.deployments, health)
    asked = call(name, "how many tokens?", on=SNAPSHOT)

    routed = await Router(FixedHealth(view)).route(asked)

    assert values(routed) == values(plan(asked, view))


async def test_a_direct_call_is_planned_without_reading_the_body() -> None:
    asked = replace(call("openai/mini", on=SNAPSHOT), body=Untouched())

    routed = await Router(FixedHealth()).route(asked)

    assert [target.deployment.name for target in routed.targets] == ["openai/mini"]


@pytest.mark.parametrize(
    "options",
    [{"exclude": ("anthropic",)}, {"key_id": "main"}, {"fallbacks": ("auto",)}, {"max_cost_usd": 1.0}, {"debug": True}],
)
async def test_options_of_a_direct_call_are_applied(options: dict[str, Any]) -> None:
    asked = call("openai/mini", on=SNAPSHOT, **options)

    routed = await Router(FixedHealth()).route(asked)

    assert values(routed) == values(plan(asked, {}))


async def test_every_usable_name_gets_the_plan_of_all_steps() -> None:
    router = Router(FixedHealth())

    for usable in usable_names(SNAPSHOT):
        asked = call(usable.id, on=SNAPSHOT)
        assert values(await router.route(asked)) == values(plan(asked, {}))


async def test_names_are_those_of_the_call_s_snapshot() -> None:
    router = Router(FixedHealth())
    await router.route(call("mine", on=SNAPSHOT))

    moved = await router.route(call("mine", on=snapshot(*ALL, aliases={"mine": "anthropic/opus"})))

    assert moved.route == "anthropic/opus"
    with pytest.raises(ModelNotFound):
        await router.route(call("mine", on=snapshot()))


@pytest.mark.parametrize("name", ["openai/mini", "tier/low", "auto"])
async def test_a_large_body_is_planned_and_counted_off_the_loop(name: str) -> None:
    inside, counted = [False], list[bool]()

    async def off_loop(work: Callable[[], T], size: int) -> T:
        assert size == LARGE + 1
        inside[0] = True
        try:
            return work()
        finally:
            inside[0] = False

    def count(text: str) -> int:
        counted.append(inside[0])
        return 7

    asked = replace(call(name, on=SNAPSHOT), raw=b" " * (LARGE + 1))
    routed = await Router(FixedHealth(), count=count, off_loop=off_loop).route(asked)

    assert routed.input_tokens > 0
    assert set(counted) == {True}


async def test_auto_follows_its_classifier_but_the_client_s_task() -> None:
    class Hard:
        def classify(self, call: Call) -> Profile:
            return Profile("math", "high", 1.0, (), 1.0)

    routed = await Router(FixedHealth(), classifier=Hard()).route(call("auto", on=SNAPSHOT, task="code"))

    assert routed.targets[0].deployment.name == "anthropic/opus"
    assert (routed.decision["profile"]["tier"], routed.decision["profile"]["task"]) == ("high", "code")


async def test_the_family_of_a_loop_may_be_in_memory() -> None:
    router = Router(FixedHealth(), family_in_memory=lambda call: "gemini")

    plan = await router.route(call("tier/low", on=SNAPSHOT))

    assert plan.decision["affinity"] == {"family": "gemini", "kept": False}
