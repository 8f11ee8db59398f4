"""The terms that depend on the kind of a prompt."""

from __future__ import annotations

import pytest

from proxy.core.model import TASKS
from proxy.routing.classify.features import NAMES, Text
from proxy.routing.classify.kinds import SIZE, Kinds, before_options

HEADER = {
    "tasks": [0.1 if task in ("math", "code") else -0.1 for task in TASKS],
    "question": [0.1, 3.0],
    "size": [0.05, 1.0],
}
MATH = [float(task == "math") for task in TASKS]
VALUES = [1.0 if at in SIZE else 0.0 for at in range(len(NAMES))]


@pytest.mark.parametrize(
    "text",
    [
        "Why is it so?\nA. one\nB. two\nC. three\nD. four",
        "Why is it so?\n(A) one\n(B) two\n(C) three",
        "Why is it so? A) one B) two C) three",
        "Why is it so? A: one B: two C: three",
    ],
)
def test_the_question_of_a_multiple_choice_prompt_ends_at_its_options(text: str) -> None:
    assert before_options(text) == len("Why is it so?")


@pytest.mark.parametrize(
    "text", ["", "Hi, A. Smith is here.", "A. one\nB. two", "B. two\nC. three\nD. four", "Plan A: go.\nPlan C: stay."]
)
def test_other_prompts_have_no_options(text: str) -> None:
    assert before_options(text) is None


def test_a_multiple_choice_prompt_has_the_term_of_its_question_alone() -> None:
    short, long = (Text(f"{question}\nA. 1\nB. 2\nC. 3") for question in ("Why?", "Why? " * 20))
    kinds = Kinds(HEADER)

    (name, of_short), (_, of_long) = (*kinds.terms(short, VALUES, MATH), *kinds.terms(long, VALUES, MATH))

    assert name == "length of the question"
    assert -0.2 <= of_short < 0 < of_long <= 0.2


def test_another_prompt_has_the_term_of_its_tasks() -> None:
    half = [0.5 if task in ("math", "writing") else 0.0 for task in TASKS]

    assert dict(Kinds(HEADER).terms(Text("Write a poem"), VALUES, MATH))["task"] == pytest.approx(0.1)
    assert dict(Kinds(HEADER).terms(Text("Write a poem"), VALUES, half))["task"] == pytest.approx(0.0)


def test_the_size_counts_for_calculations_in_words() -> None:
    kinds = Kinds(HEADER)
    writing = [float(task == "writing") for task in TASKS]

    assert dict(kinds.terms(Text("3 apples cost $2"), VALUES, MATH))["size of the calculation"] == pytest.approx(0.1)
    assert dict(kinds.terms(Text("3 apples cost $2"), VALUES, writing))["size of the calculation"] == 0
    assert "size of the calculation" not in dict(kinds.terms(Text("solve x = 3 - 2"), VALUES, MATH))
    assert "size of the calculation" not in dict(kinds.terms(Text("Prove that 2 is prime."), VALUES, MATH))


def test_a_term_is_bounded() -> None:
    far = [9.0] * len(NAMES)

    assert dict(Kinds(HEADER).terms(Text("3 apples, 2 pears"), far, MATH))["size of the calculation"] == pytest.approx(
        0.1
    )
