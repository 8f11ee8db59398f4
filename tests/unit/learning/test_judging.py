"""The question to the judge, and the check of its verdict."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.learning.judging import question, read_verdict
from proxy.learning.rating import Answer, ToolCall
from proxy.routing.classify.question import InvalidAnswer


def shown(body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """What the judge is shown."""
    found: dict[str, Any] = json.loads(question("judge", body, answer, structured=True)["messages"][1]["content"])
    return found


def test_the_judge_sees_the_conversation_and_the_answer() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": 'Say "}" \ud800'}]}]

    found = shown({"messages": messages, "model": "auto"}, Answer("Yes", [ToolCall("add", '{"n": 1}')]))

    assert found["conversation"] == [{"role": "user", "content": 'Say "}" ?'}]
    assert found["answer"] == 'Yes\n[calls the tool add with {"n": 1}]'


def test_a_long_conversation_is_shortened() -> None:
    messages = [{"role": "system", "content": "S"}] + [{"role": "user", "content": f"{n}" * 9_000} for n in range(9)]

    found = shown({"messages": messages}, Answer("a" * 20_000))

    assert [each["content"][:1] for each in found["conversation"]] == ["S", "3", "4", "5", "6", "7", "8"]
    assert "[... 5000 characters are left out ...]" in found["conversation"][1]["content"]
    assert len(found["answer"]) < 9_000


@pytest.mark.parametrize("messages", [None, "x", [1, None], [{"role": 3, "content": {}}]])
def test_conversations_of_any_shape_are_shown(messages: Any) -> None:
    assert shown({"messages": messages}, Answer("a"))["answer"] == "a"


def test_the_schema_is_asked_for_only_where_it_is_accepted() -> None:
    assert "response_format" in question("judge", {}, Answer("a"), structured=True)
    assert "response_format" not in question("judge", {}, Answer("a"), structured=False)


@pytest.mark.parametrize(
    ("text", "score"), [('{"score": 7}', 0.7), ('Here: {"score": 10}.', 1.0), ('{"score": 0.0}', 0.0)]
)
def test_a_valid_verdict(text: str, score: float) -> None:
    assert read_verdict(text) == score


@pytest.mark.parametrize(
    "text",
    ["", "7", "{}", '{"score": true}', '{"score": 11}', '{"score": -1}', '{"score": "7"}', '{"score": NaN}', "}{"],
)
def test_an_invalid_verdict(text: str) -> None:
    with pytest.raises(InvalidAnswer):
        read_verdict(text)
