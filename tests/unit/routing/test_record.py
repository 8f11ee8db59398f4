"""Tests of proxy/routing/record.py, through a plan."""

from __future__ import annotations

import json
from typing import Any

from proxy.core.plan import DeploymentHealth
from proxy.routing.candidates import TERMS
from proxy.routing.plan import plan
from tests.unit.routing.build import ILL, call


def record(name: str, text: Any = "hi", **options: Any) -> dict[str, Any]:
    return dict(plan(call(name, text, **options), {}).decision)


def test_the_record_has_its_members_and_is_json() -> None:
    found = record("auto")

    assert found.keys() >= {"model", "route", "profile", "constraints", "candidates", "chosen", "config_version"}
    assert json.loads(json.dumps(found)) == found


def test_each_candidate_has_its_terms_and_estimates() -> None:
    found = record("auto")

    [chosen] = [row for row in found["candidates"] if row["status"] == "chosen"]
    assert f"{chosen['provider']}/{chosen['model']}" == found["chosen"] == "openai/mini"
    assert chosen["terms"].keys() == set(TERMS)
    assert chosen["estimated_cost_usd"] > 0
    assert (chosen["estimated_wait_ms"], chosen["latency_ms"]) == (0, 800.0)
    assert found["candidates"][0] is chosen


def test_rejected_candidates_are_last_with_their_reasons() -> None:
    rows = record("tier/low", exclude=("openai",))["candidates"]

    assert [(row["model"], row["status"], row["reason"]) for row in rows] == [
        ("haiku", "chosen", "cheapest of 1 in tier/low"),
        ("mini", "rejected", "excluded by router.exclude"),
    ]


def test_every_deployment_occurs_once() -> None:
    rows = record("tier/low", require=("vision",), fallbacks=("auto", "tier/low"))["candidates"]
    names = [(row["provider"], row["model"]) for row in rows]

    assert len(names) == len(set(names))


def test_only_classified_calls_have_a_profile() -> None:
    assert record("tier/low")["profile"] is None
    assert record("openai/mini")["profile"] is None
    assert record("auto")["profile"].keys() == {"task", "tier", "score", "confidence", "classifier", "features"}
    assert record("openai/mini", fallbacks=("auto",))["profile"] is not None


def test_the_constraints_of_the_call_are_recorded() -> None:
    found = record(
        "auto", body={"max_tokens": 9, "tools": [1]}, max_cost_usd=1.0, client_id="batch-7", exclude=("anthropic",)
    )

    constraints = found["constraints"]
    assert constraints.pop("input_tokens") > 0
    assert constraints == {
        "capabilities": ["tools"],
        "mode": "balanced",
        "max_tokens": 9,
        "max_cost_usd": 1.0,
        "exclude": ["anthropic"],
        "client_id": "batch-7",
    }


def test_the_record_contains_no_text_of_the_prompt() -> None:
    assert "xylophone" not in json.dumps(record("auto", "prove the xylophone theorem"))


def test_the_same_call_and_health_give_the_same_record() -> None:
    health = {"openai/mini": ILL, "anthropic/opus": DeploymentHealth(latency=0.7)}
    asked = call("auto", "Compare the two algorithms and explain why one is faster.")

    first, second = plan(asked, health), plan(asked, dict(reversed(health.items())))

    assert json.dumps(first.decision) == json.dumps(second.decision)
    assert first == second
