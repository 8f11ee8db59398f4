"""Routing of calls to agents: by their model, for callers who may use them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.agents import Agent, AgentUse, by_name
from proxy.core.call import Call
from proxy.core.errors import InvalidRequest, ModelNotFound, NotAllowed
from proxy.core.model import Deployment
from proxy.core.plan import Plan
from proxy.core.principal import Identified
from proxy.core.snapshot import ScenarioEntry, Snapshot
from proxy.routing.names import find_model, resolve, usable_names
from proxy.routing.permitted import names_for
from proxy.routing.plan import plan
from proxy.routing.router import Router
from proxy.surfaces.openai.chat import read_chat
from tests.support.calls import deployment, snapshot

SMALL, LARGE = deployment("small", tier="low"), deployment("large", tier="high")


class Healthy:
    """Knows no failures."""

    def health_of(self, deployment: Deployment) -> None:
        return None

    def view(self, snapshot: Snapshot) -> dict[str, Any]:
        return {}


def agents(*models: str, **fields: Any) -> dict[str, Agent]:
    """Agents `a`, `b`, ... with these models."""
    names: dict[str, Agent] = {}
    for id, model in zip("abcdef", models, strict=False):
        names |= by_name([Agent(id, "1", model, **fields)], {"production": "1", "latest": "1"})
    return names


def on(*models: str, **fields: Any) -> Snapshot:
    return snapshot(SMALL, LARGE, agents=agents(*models), **fields)


def ask(on: Snapshot, model: str, *patterns: str, **members: Any) -> Plan:
    return plan(call(on, model, *patterns, **members), {})


def call(on: Snapshot, model: str, *patterns: str, **members: Any) -> Call:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **members}
    principal = Identified("key:1", models=(patterns,) if patterns else ())
    return read_chat(json.dumps(body).encode(), {}, id="r", request_id="r", snapshot=on, principal=principal)


@pytest.mark.parametrize(
    ("model", "route", "first"),
    [
        ("acme/small", "acme/small", SMALL),
        ("large", "acme/large", LARGE),
        ("tier/high", "tier/high", LARGE),
        ("scenario/s", "scenario/s", LARGE),
        ("cheap", "tier/low", SMALL),
    ],
)
def test_an_agent_is_routed_by_its_model(model: str, route: str, first: object) -> None:
    scenarios = {"s": (ScenarioEntry("acme/large"), ScenarioEntry("acme/small"))}

    made = ask(on(model, scenarios=scenarios, aliases={"cheap": "tier/low"}), "agent/a@latest")

    assert (made.route, made.rule, made.targets[0].deployment) == (route, "agent", first)
    assert made.reason.startswith("agent/a version 1")
    assert (made.decision["model"], made.decision["agent"]) == ("agent/a@latest", {"id": "a", "version": "1"})


def test_agents_are_listed_if_their_model_can_be_used() -> None:
    listed = [
        name.id for name in usable_names(on("tier/low", "acme/gone", "tier/medium", "auto")) if name.kind == "agent"
    ]

    assert listed == ["agent/a", "agent/d"]


@pytest.mark.parametrize("model", ["acme/small", "tier/low"])
def test_a_version_is_found_without_its_model(model: str) -> None:
    found = find_model(on(model), "agent/a@1")

    assert (found.id, found.kind, found.deployment) == ("agent/a@1", "agent", None)


def test_an_agent_whose_model_is_gone_says_so() -> None:
    with pytest.raises(ModelNotFound, match="The model of `agent/a`, `acme/gone`, does not exist"):
        resolve(on("acme/gone"), "agent/a")


@pytest.mark.parametrize("model", ["agent/b", "mine"])
def test_an_agent_cannot_have_an_agent_as_its_model(model: str) -> None:
    with pytest.raises(ModelNotFound, match="it must be a model or a route"):
        resolve(on(model, "tier/low", aliases={"mine": "agent/a"}), "agent/a")


@pytest.mark.parametrize("name", ["agent/x", "agent/a@2", "mine"])
def test_an_unknown_agent_never_gets_the_default_route(name: str) -> None:
    made = on("tier/low", aliases={"mine": "agent/x"}, default_route="tier/low")

    with pytest.raises(ModelNotFound):
        resolve(made, name)


def test_an_alias_stands_for_an_agent() -> None:
    made = on("tier/low", aliases={"mine": "agent/a"})

    assert ask(made, "mine").rule == "alias"
    assert find_model(made, "mine").kind == "alias"


@pytest.mark.parametrize(
    "patterns", [["agent/*"], ["agent/a"], ["tier/low"], ["acme/small"], ["*", "nothing"], ["agent/a@production"]]
)
def test_a_caller_may_use_an_agent_by_its_name_or_its_models(patterns: list[str]) -> None:
    assert ask(on("tier/low"), "agent/a@production", *patterns).targets[0].deployment is SMALL


@pytest.mark.parametrize("patterns", [["agent/b"], ["acme/large"], ["tier/*h"]])
def test_a_caller_without_the_agent_and_its_models_is_rejected(patterns: list[str]) -> None:
    made = on("tier/low")

    with pytest.raises(NotAllowed):
        ask(made, "agent/a", *patterns)

    assert [name.id for name in names_for(made, call(made, "auto", *patterns).principal) if name.kind == "agent"] == []


def test_a_caller_by_another_models_pattern_gets_only_that_model() -> None:
    made = on("scenario/s", scenarios={"s": (ScenarioEntry("acme/large"), ScenarioEntry("acme/small"))})

    assert [target.deployment for target in ask(made, "agent/a", "acme/small").targets] == [SMALL]


@pytest.mark.parametrize("model", ["tier/low", "acme/small"])
def test_variables_are_checked_after_the_permission(model: str) -> None:
    made = snapshot(SMALL, agents=agents(model, instructions="{{secret}}"))

    with pytest.raises(InvalidRequest, match="needs a value of `secret`"):
        ask(made, "agent/a", "agent/*")
    with pytest.raises(NotAllowed):
        ask(made, "agent/a", "other/*")


def test_the_agent_of_a_request_with_its_own_model_must_be_allowed() -> None:
    made = on("tier/high")
    use = AgentUse(made.agents["a"], own_model=True)

    assert plan(replace(call(made, "acme/small", "acme/small", "agent/a"), agent=use), {}).route == "acme/small"
    with pytest.raises(NotAllowed, match="`agent/a`"):
        plan(replace(call(made, "acme/small", "acme/small"), agent=use), {})


@pytest.mark.parametrize("model", ["acme/small", "tier/low", "mine"])
def test_only_a_chat_can_use_an_agent(model: str) -> None:
    made = on("acme/small" if model == "mine" else model, aliases={"mine": "agent/a"})
    plain = call(made, "acme/small")
    embedding = replace(plain, model="mine" if model == "mine" else "agent/a", endpoint="embeddings", kind="embedding")

    with pytest.raises(InvalidRequest, match="answers chats only") as caught:
        asyncio.run(Router(Healthy()).route(embedding))

    assert caught.value.param == "model"


def test_an_agent_with_one_model_is_resolved_once() -> None:
    made = on("acme/small")
    router = Router(Healthy())

    plans = [asyncio.run(router.route(call(made, "agent/a"))) for _ in range(2)]

    assert [(plan.route, plan.rule) for plan in plans] == [("acme/small", "agent")] * 2
    assert plans[0].targets is plans[1].targets


@pytest.mark.parametrize("patterns", [[], ["*"]])
def test_a_fallback_cannot_be_an_agent(patterns: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="`agent/a` is an agent") as caught:
        ask(on("tier/low"), "acme/small", *patterns, router={"fallbacks": ["agent/a"]})

    assert caught.value.param == "router.fallbacks"
