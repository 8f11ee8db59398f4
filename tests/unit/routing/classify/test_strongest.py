"""Tests of proxy/routing/classify/strongest.py."""

from __future__ import annotations

from typing import Any

from proxy.routing.classify.strongest import MOST, with_words
from tests.unit.routing.build import call

PROMPT = "Prove the theorem rigorously, optimize the algorithm, and justify each step. Thanks, hello, my name is Bob."


def words(classifier: str, prompt: Any = PROMPT) -> list[dict[str, Any]]:
    decision = {"profile": {"task": "math", "classifier": classifier}}
    found: list[dict[str, Any]] = with_words(decision, call("auto", prompt))["profile"]["words"]
    return found


def test_the_trained_classifier_names_words_in_both_directions() -> None:
    found = words("model 1 abc")
    weights = [each["weight"] for each in found]

    assert all(each["word"] in PROMPT.lower() for each in found)
    assert 0 < sum(weight > 0 for weight in weights) <= MOST
    assert 0 < sum(weight < 0 for weight in weights) <= MOST
    assert weights == sorted(weights, reverse=True)


def test_the_rules_name_the_words_that_ask_for_depth() -> None:
    assert [each["word"] for each in words("rules")] == ["algorithm", "justify", "optimize", "prove", "rigorously"]
    assert words("rules", "hello") == []


def test_another_classifier_names_none() -> None:
    assert words("llm up/mini") == []


def test_a_record_without_a_profile_stays_as_it_is() -> None:
    assert with_words({"chosen": "a/b", "profile": None}, call("a/b")) == {"chosen": "a/b", "profile": None}


def test_the_record_itself_gets_no_words() -> None:
    decision = {"profile": {"classifier": "rules"}}

    with_words(decision, call("auto", PROMPT))

    assert decision == {"profile": {"classifier": "rules"}}
