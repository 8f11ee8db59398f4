"""What is remembered for a conversation is found by this conversation only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.principal import Principal
from proxy.core.recall import Recall
from proxy.dialects.memory import Memory, ToolCall, family_in_memory
from tests.support import calls
from tests.support.fakes import FakeClock
from tests.unit.dialects.anthropic.build import call, target

ASKED: list[dict[str, Any]] = [{"role": "system", "content": "S"}, {"role": "user", "content": "Read it."}]
MADE = [ToolCall("read_file:0", "read_file", '{"path": "a"}')]


def kept() -> Recall:
    recall = Recall(FakeClock())
    Memory(recall, replace(call(messages=ASKED), principal=Principal("ann")), target().deployment).keep(MADE, "signed")
    return recall


def found(
    messages: list[dict[str, Any]],
    calls: list[ToolCall] | None = None,
    caller: str = "ann",
    model: str = "anthropic",
    place: int | None = None,
) -> Any:
    asked = replace(call(messages=messages), principal=Principal(caller))
    memory = Memory(kept(), asked, target(provider={"name": model}).deployment)
    return memory.find(len(messages) if place is None else place, MADE if calls is None else calls)


def test_the_same_conversation_finds_what_it_left() -> None:
    assert found(ASKED) == "signed"


@pytest.mark.parametrize(
    ("messages", "calls"),
    [
        ([ASKED[0], {"role": "user", "content": [{"type": "text", "text": "Read it."}]}], MADE),
        ([{**ASKED[0], "name": None}, {**ASKED[1], "cache_control": {"type": "ephemeral"}}], MADE),
        (ASKED, [ToolCall("read_file:0", "read_file", '{"path":"a"}')]),
        (ASKED, [ToolCall("read_file:0", "read_file", {"path": "a"})]),
    ],
)
def test_what_clients_write_in_their_own_way_is_the_same(messages: Any, calls: Any) -> None:
    assert found(messages, calls) == "signed"


@pytest.mark.parametrize(
    "changed",
    [
        {"caller": "bob"},
        {"model": "other"},
        {"messages": [ASKED[0], {"role": "user", "content": "Read that."}]},
        {"messages": [{"role": "system", "content": "T"}, ASKED[1]]},
        {"messages": [ASKED[1]]},
        {"messages": [*ASKED, {"role": "user", "content": "x"}]},
        {"messages": [{**ASKED[0], "role": "user"}, ASKED[1]]},
        {"messages": [ASKED[0], {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"calls": [MADE[0]._replace(arguments='{"path": "b"}')]},
        {"calls": [MADE[0]._replace(name="write_file")]},
        {"calls": [MADE[0]._replace(id="read_file:1")]},
        {"calls": [MADE[0]._replace(id=None)]},
        {"calls": [*MADE, *MADE]},
        {"calls": []},
    ],
)
def test_another_conversation_finds_nothing(changed: dict[str, Any]) -> None:
    assert found(**{"messages": ASKED, **changed}) is None


def test_places_may_be_asked_in_any_order() -> None:
    memory = Memory(kept(), replace(call(messages=[*ASKED, *ASKED]), principal=Principal("ann")), target().deployment)

    assert [memory.find(place, MADE) for place in (4, 2, 3, 2)] == [None, "signed", None, "signed"]


def loop(*then: dict[str, Any], **changed: Any) -> list[dict[str, Any]]:
    function = {"name": "read_file", "arguments": '{"path": "a"}'}
    called = {"id": "read_file:0", "type": "function", "function": function, **changed}
    return [*ASKED, {"role": "assistant", "content": None, "tool_calls": [called]}, *then]


RESULT = {"role": "tool", "tool_call_id": "read_file:0", "content": "text"}


def family(messages: list[dict[str, Any]], caller: str = "ann", model: str = "anthropic") -> str | None:
    deployment = target(provider={"name": model}).deployment
    asked = replace(
        call(messages=messages), principal=Principal(caller), snapshot=calls.snapshot(deployment, deployment)
    )
    assert b'"tool_call_id"' in asked.raw or RESULT not in messages
    return family_in_memory(kept(), asked)


def test_an_open_loop_in_memory_has_its_family() -> None:
    assert family(loop(RESULT)) == family(loop(RESULT, RESULT)) == "anthropic"


@pytest.mark.parametrize(
    "messages",
    [
        loop(),
        loop(RESULT, {"role": "user", "content": "And?"}),
        loop(RESULT, id="read_file:1"),  # an id that was not issued
        loop(RESULT, id=None),
        loop(RESULT, function=None),
        [RESULT],
        [{"role": "user", "content": "Other."}, *loop(RESULT)[2:]],
        [*ASKED, {"role": "assistant", "tool_calls": "x"}, RESULT],
        [*ASKED, {"role": "assistant", "tool_calls": [1]}, RESULT],
    ],
)
def test_no_other_messages_have_a_family(messages: list[dict[str, Any]]) -> None:
    assert family(messages) is None


def test_another_caller_or_model_has_no_family() -> None:
    assert family(loop(RESULT), caller="bob") is family(loop(RESULT), model="other") is None
