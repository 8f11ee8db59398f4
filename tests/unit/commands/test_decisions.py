"""Tests of proxy/commands/decisions.py, with the records of plans."""

from __future__ import annotations

from proxy.commands.decisions import decision_text
from proxy.routing.classify.strongest import with_words
from proxy.routing.plan import plan
from tests.unit.routing.build import ILL, call


def lines(name: str, text: str = "hi", **options: object) -> list[str]:
    asked = call(name, text, **options)
    return decision_text(with_words(plan(asked, {"anthropic/haiku": ILL}).decision, asked)).splitlines()


def test_the_targets_have_their_terms_and_the_rejected_their_reasons() -> None:
    found = lines("auto", "Prove it", exclude=("local",))

    table = next(at for at, line in enumerate(found) if line.startswith("#"))
    assert {"target", "score", "cost", "latency", "cost_usd", "latency_ms"} <= set(found[table].split())
    assert found[table + 1].split()[0] == "1"
    assert any(line.startswith("local/llama") and line.endswith("excluded by router.exclude") for line in found)
    assert any(line.startswith("anthropic/haiku ") and line.endswith("breaker open") for line in found)


def test_a_fallback_that_is_not_simply_next_has_its_reason() -> None:
    assert "anthropic/haiku: not available now: breaker open" in lines("tier/low")


def test_what_was_not_weighed_is_not_shown() -> None:
    found = "\n".join(lines("openai/mini"))

    assert found.startswith("route      openai/mini -> openai/mini")
    assert "score" not in found
    assert "prompt " not in found


def test_a_record_of_a_named_model_is_enough() -> None:
    text = decision_text({"route": "a/b", "chosen": "a/b", "candidates": [], "config_version": "v"})

    assert text.splitlines() == ["route      a/b -> a/b", "why        -", "version    v"]


def test_what_a_model_and_learning_have_said_of_the_prompt_is_shown() -> None:
    profile = {
        "task": "math",
        "tier": "high",
        "score": 0.7,
        "confidence": 0.9,
        "classifier": "llm a/b",
        "before_learning": 0.6,
        "needs": ["vision", "tools"],
        "fallback": "deadline",
    }

    found = decision_text({"route": "a/b", "chosen": "a/b", "profile": profile}).splitlines()

    assert found[2] == (
        "prompt     task math, tier high, score 0.7, confidence 0.9, classifier llm a/b, "
        "before learning 0.6, needs vision,tools"
    )
    assert found[3] == "fallback   to the local profile: deadline"
