"""Planning any call is deterministic, gives a valid plan, and raises only `ProxyError`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from proxy.core.call import NO_OPTIONS, Call, RouterOptions
from proxy.core.errors import ProxyError
from proxy.core.model import TASKS
from proxy.core.plan import DeploymentHealth, HealthView, Plan
from proxy.core.snapshot import ScenarioEntry, Snapshot
from proxy.routing.plan import plan
from proxy.routing.router import Router
from tests.unit.routing.build import ALL, LLAMA, MINI, OPENAI, FixedHealth, call, snapshot

STAND_IN = replace(MINI, provider=replace(OPENAI, name="fake", dialect="mock", stand_in=True))
SNAPSHOTS = [
    snapshot(),
    snapshot(
        *ALL,
        STAND_IN,
        aliases={"gpt-4": "openai/mini", "cheap": "tier/low", "loop": "loop", "haiku": "anthropic/opus"},
        tiers={"low": ("anthropic/opus", "gemini/flash", "openai/mini"), "high": ("gemini/flash",)},
        scenarios={"s": (ScenarioEntry("openai/mini"), ScenarioEntry("gemini/flash"), ScenarioEntry("openai/mini"))},
        left_out={"gemini": "no key"},
        known=["gemini/flash", "openai/off"],
        default_route="auto",
        weights={"cost": 5.0, "quality": 0.0},
    ),
    snapshot(STAND_IN),
    snapshot(MINI, replace(MINI, model="local/llama"), replace(MINI, model="other/x"), LLAMA),
]
NAMES = [
    *("auto", "mode/fast", "mode/accurate", "tier/low", "tier/medium", "tier/high", "scenario/s", "agent/x"),
    *("gpt-4", "cheap", "loop", "mini", "openai/mini", "openai/off", "local/any", "gemini/flash", "flash", "nope"),
    *("haiku", "llama", "local/llama", "openai/local/llama", "other/x"),
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS | st.sampled_from(["user", "text", "image_url", "json_schema", "audio", "high", "low"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "image_url", "detail", "file", "tool_calls", "name"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
BODIES = st.dictionaries(
    st.sampled_from(
        [
            *("messages", "tools", "functions", "response_format", "max_tokens", "max_completion_tokens", "n"),
            *("reasoning_effort", "modalities"),
        ]
    ),
    JSON,
    max_size=6,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant"]), "content": st.text(max_size=200) | JSON}
    ),
    max_size=4,
)
CHOICE = st.lists(
    st.sampled_from(["openai", "anthropic", "local", "openai/mini", "anthropic/opus", "nobody"]), max_size=2
).map(tuple)
OPTIONS = st.builds(
    RouterOptions,
    mode=st.sampled_from([None, "fast", "balanced", "accurate"]),
    max_cost_usd=st.none() | st.floats(min_value=0, max_value=1),
    max_latency_ms=st.none() | st.floats(min_value=0, max_value=3_000),
    require=st.lists(st.sampled_from(["vision", "tools", "telepathy"]), max_size=2).map(tuple),
    providers=CHOICE,
    exclude=CHOICE,
    key_id=st.sampled_from([None, None, None, "main", "other"]),
    task=st.sampled_from([None, *TASKS, "cooking"]),
    fallbacks=st.lists(st.sampled_from(NAMES), max_size=3).map(tuple),
)
HEALTH = st.dictionaries(
    st.sampled_from([each.name for each in ALL]),
    st.builds(
        DeploymentHealth,
        available=st.booleans(),
        reason=st.sampled_from(["", "breaker open"]),
        latency=st.none() | st.floats(min_value=0, max_value=100),
    ),
)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    body: dict[str, Any] = draw(BODIES)
    if draw(st.booleans()):
        body = {**body, "messages": draw(MESSAGES)}
    on: Snapshot = draw(st.sampled_from(SNAPSHOTS))
    name = draw(st.sampled_from(NAMES) | st.text(max_size=12))
    options: RouterOptions = draw(OPTIONS | st.just(NO_OPTIONS))
    return replace(call(name, on=on), body=body, options=options)


def attempt(asked: Call, health: HealthView) -> Plan | str:
    """The plan, or the error's words."""
    try:
        return plan(asked, health)
    except ProxyError as error:
        return f"{error.http_status} {error.error_code} {error}"


def values(outcome: Plan | str) -> object:
    """The plan with the values that are computed on first use, or the error."""
    return outcome if isinstance(outcome, str) else (outcome, outcome.decision, outcome.input_tokens)


@settings(max_examples=100, deadline=None)
@given(calls(), HEALTH)
def test_planning_is_deterministic_and_raises_only_proxy_errors(asked: Call, health: HealthView) -> None:
    assert values(attempt(asked, health)) == values(attempt(asked, dict(reversed(health.items()))))


@settings(max_examples=150, deadline=None)
@given(calls(), HEALTH)
def test_the_router_s_table_changes_no_plan(asked: Call, health: HealthView) -> None:
    try:
        routed: Plan | str = asyncio.run(Router(FixedHealth(health)).route(asked))
    except ProxyError as error:
        routed = f"{error.http_status} {error.error_code} {error}"

    assert values(routed) == values(attempt(asked, health))


@settings(max_examples=100, deadline=None)
@given(calls(), HEALTH)
def test_a_plan_is_valid_for_any_call(asked: Call, health: HealthView) -> None:
    found = attempt(asked, health)
    if isinstance(found, str):
        return

    names = [target.deployment.name for target in found.targets]
    assert 1 <= len(names) <= 16
    assert len(names) == len(set(names))
    assert found.reason.isascii()
    assert found.reason.isprintable()
    assert 0 < len(found.reason) < 200
    rows = json.loads(json.dumps(found.decision))["candidates"]
    ordered = [f"{row['provider']}/{row['model']}" for row in rows if row["status"] != "rejected"]
    assert ordered == names
    assert found.decision["chosen"] == names[0]
    well = [health.get(name, DeploymentHealth()).available for name in names]
    assert well == sorted(well, reverse=True)


@settings(max_examples=100, deadline=None)
@given(calls(), HEALTH)
def test_failing_health_never_adds_or_removes_a_target(asked: Call, health: HealthView) -> None:
    ill = {name: structs.replace(each, available=False, reason="breaker open") for name, each in health.items()}

    before, after = attempt(asked, health), attempt(asked, ill)

    if isinstance(before, str) or isinstance(after, str):
        assert before == after
    else:
        assert {each.deployment.name for each in before.targets} == {each.deployment.name for each in after.targets}


@settings(max_examples=60, deadline=None)
@given(calls())
def test_the_clients_exclusions_hold_on_every_route(asked: Call) -> None:
    found = attempt(asked, {})
    if isinstance(found, str):
        return

    for target in found.targets:
        names = {target.deployment.provider.name, target.deployment.name}
        assert not names & set(asked.options.exclude)
        assert not asked.options.providers or names & set(asked.options.providers)
