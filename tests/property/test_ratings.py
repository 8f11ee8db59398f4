"""Ratings, schemas and verdicts for any JSON."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.learning.conformity import conforms
from proxy.learning.judging import question
from proxy.learning.rating import SCORES, Answer, ToolCall, rate

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
NAMES = st.sampled_from(
    ["type", "enum", "const", "properties", "required", "additionalProperties", "items", "anyOf", "$ref", "$defs", "a"]
)
VALUES = st.recursive(
    SCALARS | st.sampled_from(["object", "array", "#", "#/$defs/a", "function", "user"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "messages": VALUES | st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": VALUES}), max_size=3),
        "tools": VALUES
        | st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": VALUES}), max_size=3),
        "response_format": st.fixed_dictionaries(
            {"type": st.sampled_from(["json_object", "json_schema"]), "json_schema": VALUES}
        ),
        "max_tokens": VALUES,
    },
)
CALLS = st.lists(st.builds(ToolCall, st.text(max_size=5), st.text(max_size=20), st.booleans()), max_size=3)
ANSWERS = st.builds(
    Answer, st.text(max_size=200) | st.just('{"a": 1}'), CALLS, st.booleans(), st.booleans(), st.booleans()
)


@given(BODIES, ANSWERS | st.none(), st.sampled_from(["stop", "length", "content_filter", None]))
def test_any_answer_to_any_body_has_a_rating(body: dict[str, Any], answer: Answer | None, finish: str | None) -> None:
    score, reasons = rate(body, answer, finish)

    assert score == min([1.0, *[SCORES[reason] for reason in reasons]])
    assert len(set(reasons)) == len(reasons)


@given(VALUES, VALUES)
def test_any_value_can_be_compared_with_any_schema(value: Any, schema: Any) -> None:
    assert conforms(value, schema) in (True, False)


@given(BODIES, ANSWERS)
def test_any_conversation_can_be_shown_to_the_judge(body: dict[str, Any], answer: Answer) -> None:
    assert question("judge", body, answer, structured=True)["model"] == "judge"
