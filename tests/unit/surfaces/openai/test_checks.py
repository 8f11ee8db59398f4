"""The two checks of a chat body: the fast one accepts nothing that the exact one rejects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.surfaces.openai.checks import check, check_repeated
from proxy.surfaces.openai.shape import Shape, read_shape

HELLO = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([1.0, 0.5, -1.0, 10**30, -(10**30), "", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["include_usage", "a"]), inner),
    max_leaves=4,
)
NUMBERS = ["n", "max_tokens", "max_completion_tokens", "temperature", "top_p", "presence_penalty", "seed"]
OTHERS = ["model", "stream", "stream_options", "stop", "tools", "functions", "tool_choice", "response_format", "user"]
NAMES = st.sampled_from([*NUMBERS, *OTHERS, "frequency_penalty", "parallel_tool_calls", "logprobs", "x"])
MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "name", "refusal", "annotations", "audio", "x"]), ANYTHING
) | st.builds(lambda content: {"role": "user", "content": content}, ANYTHING)
BODIES = st.builds(
    lambda members, messages: {**HELLO, **members, **messages},
    st.dictionaries(NAMES, ANYTHING, max_size=3),
    st.just({}) | st.fixed_dictionaries({"messages": ANYTHING | st.lists(MESSAGE | ANYTHING, max_size=3)}),
)


@settings(max_examples=1500, deadline=None)
@given(BODIES)
def test_body_with_a_shape_passes_the_exact_check(body: dict[str, Any]) -> None:
    shape = read_shape(json.dumps(body).encode())

    if shape is not None:
        check(body)
        usage = (body.get("stream_options") or {}).get("include_usage")
        assert (shape.model, shape.stream, shape.usage_asked) == (body["model"], bool(body.get("stream")), bool(usage))


def test_usual_bodies_have_a_shape() -> None:
    members = {"temperature": 1, "n": 2, "stop": ["x"], "tools": [{}], "max_tokens": -1, "stream": True, "x": [{}]}

    shape = read_shape(json.dumps(HELLO | members | {"stream_options": {"include_usage": True}}).encode())

    assert shape is not None
    assert (shape.model, shape.stream, shape.usage_asked, shape.messages.parts) == ("auto", True, True, False)


@pytest.mark.parametrize("members", [{"n": 1.0}, {"max_tokens": 0}, {"seed": 1.0}, {"messages": []}, {"model": ""}])
def test_doubtful_body_has_no_shape(members: dict[str, Any]) -> None:
    body = HELLO | members

    assert read_shape(json.dumps(body).encode()) is None
    with pytest.raises(InvalidRequest):
        check(body)


def test_message_with_unknown_members_has_a_shape() -> None:
    body = HELLO | {"messages": [{"role": "user", "content": "x", "x": 1}]}

    shape = read_shape(json.dumps(body).encode())

    assert isinstance(shape, Shape)
    assert shape.messages.large


def test_only_members_that_are_edited_must_not_be_repeated() -> None:
    check_repeated({"seed", "messages"})

    with pytest.raises(InvalidRequest, match="`router` must be given once"):
        check_repeated({"seed", "router"})
