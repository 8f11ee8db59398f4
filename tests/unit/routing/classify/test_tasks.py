"""Tests of proxy/routing/classify/tasks.py and words.py."""

from __future__ import annotations

import pytest

from proxy.core.model import TASKS
from proxy.routing.classify.tasks import read_words
from proxy.routing.classify.words import TASK_PHRASES, TASK_WORDS


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("Write a Python function that parses a CSV file and returns the rows as a list.", "code"),
        ("Why does this raise?\n```\ndef f(x): return x[0]\n```", "code"),
        ("const a = [1]; for (let i = 0; i < a.length; i++) { b[i] = a[i]; c = { d: e }; f = a[0]; }", "code"),
        ("Write a short poem about autumn leaves.", "writing"),
        ("Rewrite this email in a friendlier tone.", "writing"),
        ("Compare the advantages and disadvantages of nuclear power and discuss the implications.", "analysis"),
        ("Translate the following sentence into German: good morning", "translation"),
        ("请把这句话翻译成英文", "translation"),
        ("Solve the equation 3x + 7 = 22 for x.", "math"),
        ("Tom has 12 apples and buys 7 more. How many does he have?", "math"),
        ("Summarize the following article in three bullet points.", "extraction"),
        ("Extract all names and dates from the text below as JSON.", "extraction"),
        ("Hello, how are you today?", "chat"),
        ("", "chat"),
        ("Мне сегодня грустно", "chat"),
    ],
)
def test_plain_prompts_get_the_expected_task(text: str, task: str) -> None:
    assert read_words(text).task == task


def test_confidence_is_zero_without_votes() -> None:
    assert read_words("qwerty").confidence == 0.0
    assert read_words("Translate this to French").confidence > 0.5


def test_case_does_not_matter() -> None:
    assert read_words("SOLVE THE EQUATION") == read_words("solve the equation")


def test_votes_of_a_repeated_word_are_bounded() -> None:
    spam = "poem " * 600

    assert read_words(spam + "\nsolve the equation, calculate the integral, prove the theorem").task == "math"


def test_counts_what_the_score_needs() -> None:
    reading = read_words("Prove it? Derive it? Why?\n- a\n- b\n1. c\n```\nx\n```")

    assert (reading.depth, reading.questions, reading.lines, reading.fences) == (3, 3, 3, 2)


def test_the_tables_name_only_real_tasks_and_lower_case_words() -> None:
    assert {task for votes in TASK_WORDS.values() for task, _ in votes} | {task for _, task in TASK_PHRASES} <= set(
        TASKS
    )
    assert all(word == word.lower() for word in TASK_WORDS)
