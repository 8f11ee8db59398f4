"""What a chat's messages contain."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from proxy.core.messages import MessageFacts
from proxy.surfaces.openai.shape import AnyMessage, PlainMessage, facts_of_any, facts_of_plain

LEVELS = 20
DEEP: Any = []
for _ in range(2 * LEVELS):
    DEEP = [DEEP]
TOOL_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def plain(*messages: Any) -> MessageFacts | None:
    return facts_of_plain(msgspec.json.decode(json.dumps(messages), type=list[PlainMessage]), LEVELS)


def any_(*messages: Any) -> MessageFacts | None:
    return facts_of_any(msgspec.json.decode(json.dumps(messages), type=list[AnyMessage]))


USUAL = [
    ({"role": "user", "content": "Hi [[{{"}, MessageFacts(parts=False, replayed=False, large=False)),
    ({"role": "assistant", "content": None}, MessageFacts(parts=False, replayed=False, large=False)),
    ({"role": "assistant", "tool_calls": [TOOL_CALL]}, MessageFacts(parts=False, replayed=False, large=False)),
    (
        {"role": "assistant", "tool_calls": [TOOL_CALL | {"extra_content": {"google": {}}}]},
        MessageFacts(parts=False, replayed=True, large=False),
    ),
    (
        {"role": "user", "content": [{"type": "text", "text": "x"}, "y"]},
        MessageFacts(parts=True, replayed=False, large=False),
    ),
    ({"role": "user", "content": [{"type": DEEP}]}, MessageFacts(parts=True, replayed=False, large=True)),
    ({"role": "assistant", "tool_calls": DEEP}, MessageFacts(parts=False, replayed=False, large=True)),
]


@pytest.mark.parametrize(("message", "facts"), USUAL)
def test_usual_messages_are_known(message: Any, facts: MessageFacts) -> None:
    first = {"role": "system", "content": "Be brief."}

    assert plain(message) == plain(first, message) == plain(message, first) == facts


@pytest.mark.parametrize(("message", "facts"), USUAL)
def test_size_of_other_messages_is_unknown(message: Any, facts: MessageFacts) -> None:
    assert any_(message | {"unknown": 1}) == MessageFacts(facts.parts, facts.replayed, large=True)


@pytest.mark.parametrize("name", ["reasoning_details", "extra_content", "google_parts", "images"])
def test_members_of_answers_are_noticed_in_assistant_messages(name: str) -> None:
    message = {"content": "x", name: [{}]}

    assert any_(message | {"role": "assistant"}) == MessageFacts(parts=False, replayed=True)
    assert any_(message | {"role": "user"}) == MessageFacts(parts=False, replayed=False)


@pytest.mark.parametrize("member", [{"unknown": 1}, {"annotations": [1]}, {"audio": {}}, {"function_call": {}}])
def test_other_messages_are_not_plain(member: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        plain({"role": "user", **member})


@pytest.mark.parametrize("member", [{"annotations": []}, {"audio": None}, {"function_call": None}, {"refusal": None}])
def test_messages_of_answers_are_plain(member: dict[str, Any]) -> None:
    assert plain({"role": "assistant", "content": "x", **member}) is not None


@pytest.mark.parametrize("content", [1, {}, True])
def test_content_of_another_type_is_not_accepted(content: Any) -> None:
    message = {"role": "user", "content": content}

    assert plain(message) is any_(message) is None


@pytest.mark.parametrize("part", [1, None, []])
def test_part_of_another_type_is_an_error(part: Any) -> None:
    message = {"role": "user", "content": ["x", part]}

    for facts_of in (plain, any_):
        with pytest.raises(ValueError, match="Expected"):
            facts_of(message)
