"""Tests of proxy/routing/filters.py and proxy/routing/measure.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.call import Call, NativeRequest
from proxy.core.model import Deployment
from proxy.core.plan import DeploymentHealth, Target
from proxy.routing.candidates import Candidate, read_query
from proxy.routing.filters import accepted, apply_filters
from proxy.routing.measure import expected_cost, measured, worst_cost
from tests.unit.routing.build import EMBED, HAIKU, LLAMA, LOCAL, MINI, OPENAI, OPUS, SONNET, call, price

IMAGE = [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]


def judge(asked: Call, *deployments: Deployment, **options: Any) -> list[Candidate]:
    case = read_query(asked, options.pop("health", {}))
    return apply_filters(case, [measured(case, Target(each)) for each in deployments], **options)


def kinds(candidates: list[Candidate]) -> list[str | None]:
    return [None if each.rejection is None else each.rejection.kind for each in candidates]


def test_images_never_go_to_a_model_that_declares_no_vision() -> None:
    assert kinds(judge(call("auto", IMAGE), MINI, HAIKU, SONNET)) == [None, "capability", None]


@pytest.mark.parametrize(
    "body",
    [{"tools": [{}]}, {"functions": [{}]}, {"response_format": {"type": "json_schema"}}, {"modalities": ["audio"]}],
)
def test_needs_filter_and_unknown_capabilities_pass(body: dict[str, Any]) -> None:
    assert kinds(judge(call("auto", body=body), HAIKU, SONNET)) == ["capability", None]


def test_prompts_over_a_known_context_window_are_rejected() -> None:
    asked = call("auto", "x" * 4 * 12_000)

    assert kinds(judge(asked, MINI, HAIKU, SONNET, LLAMA)) == ["context", None, None, None]


def test_room_for_the_answer_is_part_of_the_context() -> None:
    text = "x" * 4 * 9_000

    assert kinds(judge(call("auto", text, body={"max_tokens": 500}), MINI)) == [None]
    assert kinds(judge(call("auto", text, body={"max_tokens": 2_000}), MINI)) == ["context"]


def test_a_longer_answer_than_the_model_gives_is_rejected() -> None:
    assert kinds(judge(call("auto", body={"max_tokens": 4_001}), MINI, HAIKU)) == ["output", None]


def test_limit_of_a_translated_call_rejects_no_model() -> None:
    asked = replace(call("auto", body={"max_completion_tokens": 64_000}), native=NativeRequest("messages", b"{}", {}))

    assert kinds(judge(asked, MINI, HAIKU)) == [None, None]


def test_only_chat_models_chat() -> None:
    assert kinds(judge(call("auto"), EMBED)) == ["kind"]


def test_models_that_the_client_named_are_not_judged_by_the_body() -> None:
    asked = call("openai/embed", IMAGE, body={"max_tokens": 999_999})

    assert kinds(judge(asked, EMBED, HAIKU, fit=False)) == [None, None]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"providers": ("openai",)}, ["openai/mini"]),
        ({"providers": ("anthropic/opus", "local")}, ["anthropic/opus", "local/llama"]),
        ({"exclude": ("anthropic",)}, ["openai/mini", "local/llama"]),
        ({"exclude": ("anthropic/opus",)}, ["openai/mini", "local/llama"]),
        ({"key_id": "main"}, ["openai/mini", "anthropic/opus"]),
        ({"key_id": "other"}, []),
        ({"require": ("vision",)}, ["openai/mini", "local/llama", "anthropic/opus"]),
        ({"require": ("vision", "files")}, ["local/llama", "anthropic/opus"]),
        ({"max_latency_ms": 800.0}, ["openai/mini", "local/llama"]),
        ({"max_cost_usd": 0.01}, ["openai/mini"]),
        ({"max_cost_usd": 0.0}, []),
        ({}, ["openai/mini", "local/llama", "anthropic/opus"]),
    ],
)
@pytest.mark.parametrize("fit", [True, False])
def test_the_clients_options_apply_to_every_route(options: dict[str, Any], left: list[str], fit: bool) -> None:
    judged = judge(call("auto", **options), MINI, LLAMA, OPUS, fit=fit)

    assert sorted(each.name for each in accepted(judged)) == sorted(left)


def test_measured_latency_replaces_the_prior() -> None:
    health = {"openai/mini": DeploymentHealth(latency=0.1), "local/llama": DeploymentHealth(latency=9.0)}

    assert kinds(judge(call("auto", max_latency_ms=500.0), MINI, LLAMA, health=health)) == [None, "latency"]


def test_health_rejects_no_candidate() -> None:
    health = {"openai/mini": DeploymentHealth(available=False, reason="breaker open", retry_after=60)}

    assert kinds(judge(call("auto"), MINI, health=health)) == [None]


def test_stand_ins_give_way_to_one_real_provider() -> None:
    fake = replace(MINI, provider=replace(OPENAI, dialect="mock", stand_in=True))

    assert kinds(judge(call("auto"), fake, HAIKU, avoid_stand_ins=True)) == ["stand_in", None]
    assert kinds(judge(call("auto"), fake, avoid_stand_ins=True)) == [None]
    assert kinds(judge(call("auto"), fake, HAIKU)) == [None, None]


def test_stand_ins_serve_if_all_real_providers_are_excluded() -> None:
    fake = replace(MINI, provider=replace(OPENAI, dialect="mock", stand_in=True))
    judged = judge(call("auto", exclude=("anthropic",)), fake, HAIKU, avoid_stand_ins=True)

    assert kinds(judged) == [None, "provider"]


def test_a_configured_mock_counts_as_a_real_provider() -> None:
    mock = replace(MINI, provider=replace(LOCAL, dialect="mock"))

    assert kinds(judge(call("auto"), mock, HAIKU, avoid_stand_ins=True)) == [None, None]


def test_expected_and_worst_cost() -> None:
    model = Deployment(OPENAI, "m", price=replace(price(1, 2), cache_write=2_000_000_000))
    unlimited = read_query(call("auto", ""), {}).facts
    limited = read_query(call("auto", "", body={"max_tokens": 10, "n": 2}), {}).facts
    tokens = unlimited.input_tokens

    assert expected_cost(model, unlimited) == tokens * 1_000 + 1_000 * 2_000
    assert expected_cost(replace(model, max_output=100), unlimited) == tokens * 1_000 + 100 * 2_000
    assert expected_cost(model, limited) == tokens * 1_000 + 20 * 2_000
    assert worst_cost(model, limited) == tokens * 2_000 + 20 * 2_000
    assert worst_cost(model, unlimited) == tokens * 2_000 + 4_096 * 2_000
    assert worst_cost(replace(model, max_output=9_000), unlimited) == tokens * 2_000 + 9_000 * 2_000
    assert expected_cost(LLAMA, unlimited) is worst_cost(LLAMA, unlimited) is None
