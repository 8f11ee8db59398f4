"""Ratings of answers by cheap signs."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from proxy.learning.rating import SCORES, Answer, ToolCall, rate, requests_of

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
STRUCTURED = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}
TOOLS = {"tools": [{"type": "function", "function": {"name": "add", "parameters": SCHEMA}}]}


def asked(text: str, **members: Any) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}], **members}


def reasons(body: dict[str, Any], answer: Answer | str | None, finish: str | None = "stop") -> tuple[str, ...]:
    rating = rate(body, Answer(answer) if isinstance(answer, str) else answer, finish)
    assert rating.score == min([1.0, *[SCORES[reason] for reason in rating.reasons]])
    return rating.reasons


@pytest.mark.parametrize("text", ["Paris.", "No.", "I can't believe how good this is: 42.", "Sorry, it was Rome."])
def test_an_ordinary_answer_has_the_best_rating(text: str) -> None:
    assert rate(asked("Where?"), Answer(text), "stop") == (1.0, ())


def test_an_answer_without_content_is_empty() -> None:
    assert reasons(asked("Where?"), " \n") == ("empty",)
    assert reasons(asked("Draw"), Answer("", media=True)) == ()


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I cannot help with this request.",
        "Unfortunately, I am not able to do that.",
        "As an AI language model, I cannot have opinions.",
        "Es tut mir leid, aber ich kann dabei nicht helfen.",
    ],
)
def test_a_refusal_in_words(text: str) -> None:
    assert reasons(asked("Where?"), text) == ("refusal",)
    assert reasons(asked("Where?"), text + " Instead:" + " here it is, at length." * 60) != ("refusal",)


def test_a_refusal_of_the_format() -> None:
    assert reasons(asked("Where?"), Answer("", refused=True)) == ("refusal",)


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("content_filter", "filtered"),
        ("refusal", "refusal"),
        ("length", "cut"),
        ("max_tokens", "cut"),
        ("MAX_TOKENS", "cut"),
        ("SAFETY", "filtered"),
    ],
)
def test_the_finish_reason(finish: str, reason: str) -> None:
    assert reasons(asked("Where?"), "In", finish) == (reason,)
    assert reasons(asked("Where?"), None, finish) == (reason,)


def test_a_length_that_the_client_has_set_is_no_fault() -> None:
    assert reasons(asked("Where?", max_tokens=5), "In", "length") == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [('{"n": 1}', ()), ('{"n": "1"}', ("invalid JSON",)), ("n is 1", ("invalid JSON",)), ("[]", ("invalid JSON",))],
)
def test_structured_output_is_checked(text: str, found: tuple[str, ...]) -> None:
    assert reasons(asked("How many?", **STRUCTURED), text) == found


def test_json_mode_needs_an_object() -> None:
    body = asked("How many?", response_format={"type": "json_object"})

    assert reasons(body, "{}") == ()
    assert reasons(body, "1") == ("invalid JSON",)


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (ToolCall("add", '{"n": 1}'), ()),
        (ToolCall("add", '{"n": '), ("invalid tool call",)),
        (ToolCall("add", "{}"), ("invalid tool call",)),
        (ToolCall("add", ""), ("invalid tool call",)),
        (ToolCall("subtract", '{"n": 1}'), ("invalid tool call",)),
    ],
)
def test_tool_calls_are_checked(call: ToolCall, found: tuple[str, ...]) -> None:
    assert reasons(asked("1+1?", **TOOLS), Answer("", [call]), "tool_calls") == found


def test_free_text_and_tools_of_other_kinds_are_valid() -> None:
    custom = {
        "tools": [{"type": "custom", "custom": {"name": "run"}}, {"type": "function", "function": {"name": "now"}}]
    }

    assert reasons(asked("1+1?", **custom), Answer("", [ToolCall("run", "print(", is_function=False)])) == ()
    assert reasons(asked("1+1?", **custom), Answer("", [ToolCall("now", "")])) == ()
    assert reasons(asked("1+1?"), Answer("", [ToolCall("web_search", "{}")])) == ()


def test_an_answer_that_repeats_itself() -> None:
    words = random.Random(1).sample(range(10_000), 900)
    text = " ".join(f"word{number}" for number in words)

    assert reasons(asked("Where?"), text) == ()
    assert reasons(asked("Where?"), text + " and then and then" * 500) == ("repetition",)
    assert reasons(asked("Where?"), json.dumps([{"id": number, "name": f"n{number}"} for number in words])) == ()


def test_another_language_than_asked() -> None:
    text = "The bridge is one of the oldest in the country, and it has been repaired many times by the people."

    assert reasons(asked("Answer in German: which bridge?"), text) == ("other language",)
    assert reasons(asked("Answer in English: which bridge?"), text) == ()


@pytest.mark.parametrize(
    ("prompt", "text", "found"),
    [
        ("List them. Return only JSON.", '```json\n["a"]\n```', ()),
        ("List them. Return only valid JSON.", "Here they are: a", ("other format",)),
        ("Answer with one word: where?", "Paris", ()),
        ("Answer with one word: where?", "It is in the city of Paris", ("other format",)),
        ("Answer with one word or more", "It is in the city of Paris", ()),
    ],
)
def test_another_format_than_asked(prompt: str, text: str, found: tuple[str, ...]) -> None:
    assert reasons(asked(prompt), text) == found


def test_text_that_only_looks_like_a_fence_is_read_in_linear_time() -> None:
    text = "```" + " " * 100_000 + "x"

    assert reasons(asked("List them. Return only JSON."), text) == ("repetition", "other format")


def test_a_prompt_of_any_size_is_searched_at_its_start_and_its_end() -> None:
    text = "The bridge is one of the oldest in the country, and it has been repaired many times by the people."
    parts = [{"type": "text", "text": "x" * 50_000}] * 500

    body = asked("")
    body["messages"][1]["content"] = [*parts, {"type": "text", "text": "Answer in German."}]

    assert reasons(body, text) == ("other language",)
    assert len(requests_of(body)) < 20_000


def test_a_part_of_a_long_answer_is_not_checked_for_form() -> None:
    assert reasons(asked("How many?", **STRUCTURED), Answer('{"n": ', whole=False)) == ()
    assert reasons(asked("How many?", **TOOLS), Answer("", [ToolCall("add", "{")], whole=False)) == ()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": "x"},
        {
            "messages": [1, {"role": "user", "content": [{"text": 3}, 4]}],
            "tools": [None, {"type": []}, {"type": "x", "x": 1}],
        },
        {"messages": [], "response_format": "json", "functions": {}},
        {"response_format": {"type": "json_schema", "json_schema": 1}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#", "properties": 3}}}},
    ],
)
def test_bodies_of_any_shape_are_rated(body: dict[str, Any]) -> None:
    assert rate(body, Answer("{}", [ToolCall("x", "[1")]), None).score in (0.0, 1.0)
    assert rate(body, Answer('{"a": 1}'), None).score in (0.0, 1.0)
