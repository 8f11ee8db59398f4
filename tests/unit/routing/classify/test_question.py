"""The question to a classifying model, and the check of its answer."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.model import CAPABILITIES
from proxy.routing.classify.prompt import Prompt, read_prompt
from proxy.routing.classify.question import (
    MAX_ANSWER,
    NEEDS,
    SCHEMA,
    Answer,
    InvalidAnswer,
    digest,
    profiled,
    question,
    read_answer,
    repair,
)
from proxy.routing.classify.rules import RULES, Profile
from tests.unit.routing.build import call

VALID = '{"task": "math", "difficulty": 7, "needs": ["reasoning", "tools"]}'


def prompt(text: str = "Prove it.", **more: Any) -> Prompt:
    return read_prompt({"messages": [{"role": "user", "content": text}], **more})


def answered(difficulty: float, *, needs: tuple[str, ...] = (), **options: Any) -> Profile:
    asked = call("auto", "Prove it.", **options)
    return profiled(asked, prompt(), RULES.classify(asked), Answer("math", difficulty, needs), "up/judge")


@pytest.mark.parametrize(
    "text",
    [VALID, f"```json\n{VALID}\n```", f"Here it is:\n{VALID}\nDone.", VALID.replace("7,", '7.0, "why": "hard",')],
)
def test_an_answer_is_read_with_what_surrounds_it(text: str) -> None:
    assert read_answer(text) == ("math", 7.0, ("tools", "reasoning"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is not a JSON object"),
        ("math, 7", "it is not a JSON object"),
        ("}{", "it is not a JSON object"),
        (VALID.ljust(MAX_ANSWER + 1), "it is not a JSON object"),
        ("{task: math}", "it is not a valid JSON object"),
        ("{" * 1000 + "}", "it is not a valid JSON object"),
        ("{}", "`task` must be"),
        (VALID.replace('"math"', '"poetry"'), "`task` must be"),
        (VALID.replace('"math"', '["math"]'), "`task` must be"),
        (VALID.replace("7", "11"), "`difficulty` must be"),
        (VALID.replace("7", "-1"), "`difficulty` must be"),
        (VALID.replace("7", "true"), "`difficulty` must be"),
        (VALID.replace("7", '"7"'), "`difficulty` must be"),
        (VALID.replace("7", "NaN"), "`difficulty` must be"),
        (VALID.replace('["reasoning", "tools"]', '"tools"'), "`needs` must be"),
        (VALID.replace('"tools"', '"wings"'), "`needs` must be"),
        (VALID.replace('"tools"', "[]"), "`needs` must be"),
    ],
)
def test_an_answer_that_is_not_by_the_schema_is_invalid(text: str, problem: str) -> None:
    with pytest.raises(InvalidAnswer, match=problem):
        read_answer(text)


def test_needs_are_capabilities_of_models() -> None:
    assert set(NEEDS) <= set(CAPABILITIES)
    assert SCHEMA["properties"]["needs"]["items"]["enum"] == list(NEEDS)


def test_a_question_contains_the_prompt_and_what_surrounds_it() -> None:
    asked = question("up/judge", prompt("Prove it.", tools=[{}, {}]), structured=True)

    assert asked["model"] == "up/judge"
    assert asked["messages"][1]["content"].startswith("<prompt>\nProve it.\n</prompt>\nturns: 1, images: 0, tools: 2,")
    assert asked["response_format"]["json_schema"]["schema"] == SCHEMA
    assert "response_format" not in question("up/judge", prompt(), structured=False)


def test_the_length_of_a_question_is_bounded() -> None:
    [_, message] = question("up/judge", prompt("x" * 100_000), structured=False)["messages"]

    assert len(message["content"]) < 4_000


def test_a_repair_continues_the_dialog() -> None:
    asked = question("up/judge", prompt(), structured=False)

    again = repair(asked, "oh" * MAX_ANSWER, "it is not a JSON object")

    assert again["messages"][:2] == asked["messages"]
    assert again["messages"][2] == {"role": "assistant", "content": "oh" * (MAX_ANSWER // 2)}
    assert again["messages"][3]["content"].startswith("This is not valid: it is not a JSON object.")
    assert len(asked["messages"]) == 2


@pytest.mark.parametrize(
    ("difficulty", "tier", "score"),
    [(0, "low", 0.1), (3.4, "low", 0.4886), (3.5, "medium", 0.5), (6.5, "high", 0.62), (10, "high", 1.0)],
)
def test_a_difficulty_becomes_a_score_and_a_tier(difficulty: float, tier: str, score: float) -> None:
    profile = answered(difficulty)

    assert (profile.task, profile.tier, profile.score) == ("math", tier, score)
    assert (profile.classifier, profile.features) == ("llm up/judge", (("difficulty", score),))


def test_parameters_that_the_model_does_not_see_still_count() -> None:
    asked = call("auto", "Prove it.", body={"reasoning_effort": "high"})

    profile = profiled(asked, prompt(), RULES.classify(asked), Answer("math", 5, ()), "up/judge")

    assert profile.features == (("difficulty", 0.56), ("reasoning_effort", 0.25))
    assert profile.score == pytest.approx(0.81)


def test_the_client_s_task_has_priority() -> None:
    profile = answered(5, task="code")

    assert (profile.task, profile.confidence) == ("code", 1.0)


def test_tenants_and_prompts_have_different_digests() -> None:
    one, other = prompt("Prove it."), prompt("Prove it!")

    assert digest("a", one) == digest("a", prompt("Prove it."))
    assert len({digest("a", one), digest("b", one), digest("a", other), digest("a", prompt(tools=[{}]))}) == 4
    assert digest("a", prompt("\ud800"))
