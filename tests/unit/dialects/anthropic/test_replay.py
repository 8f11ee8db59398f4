"""Signed blocks: sent back whole and in place, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.recall import Recall
from proxy.dialects.anthropic.answer import events_of
from proxy.dialects.anthropic.replay import FORMAT, PREFIX, signed_blocks, signed_entry
from tests.support.fakes import FakeClock
from tests.unit.dialects.anthropic.build import (
    END,
    USER,
    block,
    call,
    decoded,
    event,
    facts,
    message,
    sent,
    start,
    stop,
    target,
)

THOUGHT = {"type": "thinking", "thinking": "t", "signature": "s"}
SECOND = {"type": "thinking", "thinking": "u", "signature": "r"}
HIDDEN = {"type": "redacted_thinking", "data": "d"}
TEXT = {"type": "text", "text": "Let me see."}
A = {"type": "tool_use", "id": "toolu_a", "name": "f", "input": {"x": 1}}
B = {"type": "tool_use", "id": "toolu_b", "name": "g", "input": {}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rain"}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "url": "https://a.example", "title": "A", "encrypted_content": "e"}],
}
CITED = {"type": "text", "text": "Rain.", "citations": [{"type": "web_search_result_location", "url": "https://a"}]}
SEQUENCES = {
    "thinking between calls": [THOUGHT, A, SECOND, B],
    "thinking twice": [THOUGHT, SECOND, TEXT, A],
    "hidden thinking between": [HIDDEN, TEXT, THOUGHT, A],
    "thinking after text": [TEXT, THOUGHT, A],
    "text after a call": [THOUGHT, A, TEXT],
    "a server tool": [THOUGHT, SEARCH, FOUND, SECOND, TEXT, A],
    "a server tool without thinking": [SEARCH, FOUND, CITED, A],
    "the usual order": [THOUGHT, TEXT, A, B],
    "a call first": [THOUGHT, A, B],
    "a blank text": [THOUGHT, {"type": "text", "text": "\n"}, A],
}
each_sequence = pytest.mark.parametrize("blocks", SEQUENCES.values(), ids=SEQUENCES)
each_form = pytest.mark.parametrize("stream", [True, False])


def pieces(native: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it begins in a stream, and its deltas."""
    if native["type"] == "thinking":
        thought = {"type": "thinking_delta", "thinking": native["thinking"]}
        return {**native, "thinking": "", "signature": ""}, [
            thought,
            {"type": "signature_delta", "signature": native["signature"]},
        ]
    if native["type"] == "text":
        cited = [{"type": "citations_delta", "citation": item} for item in native.get("citations", [])]
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": native["text"]}, *cited]
    if native["type"].endswith("tool_use"):
        fragment = {"type": "input_json_delta", "partial_json": json.dumps(native["input"])}
        return {**native, "input": {}}, [fragment]
    return native, []


def wire(blocks: list[dict[str, Any]], *, stream: bool) -> list[bytes]:
    if not stream:
        return [message(*blocks, reason="tool_use")]
    events = [block(place, pieces(native)[0], *pieces(native)[1]) for place, native in enumerate(blocks)]
    return [start(), *events, stop("tool_use"), END]


def answer(blocks: list[dict[str, Any]], *, stream: bool, recall: Recall | None = None) -> dict[str, Any]:
    """The assistant's message as the client has it."""
    found = facts(decoded(call(stream=stream), wire(blocks, stream=stream), target(), recall))
    return {"role": "assistant", **{name: value for name, value in found.items() if name in MEMBERS}}


MEMBERS = ("content", "tool_calls", "reasoning_details", "reasoning_content")


def next_turn(replied: dict[str, Any], recall: Recall | None = None) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The assistant's turn in the next request, and what is dropped."""
    results = [{"role": "tool", "tool_call_id": made["id"], "content": "ok"} for made in replied["tool_calls"]]
    body, dropped = sent(call(messages=[USER, replied, *results]), target(), recall)
    found = body["messages"][1]["content"]
    return found, dropped


def without_blank(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [native for native in blocks if native["type"] != "text" or native["text"].strip()]


@each_sequence
@each_form
def test_echoed_blocks_are_repeated_in_their_places(blocks: list[dict[str, Any]], stream: bool) -> None:
    replied = answer(blocks, stream=stream)

    assert next_turn(replied) == (without_blank(blocks), ())


@each_sequence
@each_form
def test_recalled_blocks_are_repeated_in_their_places(blocks: list[dict[str, Any]], stream: bool) -> None:
    recall = Recall(FakeClock())
    replied = answer(blocks, stream=stream, recall=recall)
    replied = {name: replied[name] for name in ("role", "content", "tool_calls") if name in replied}

    assert next_turn(replied, recall)[0] == without_blank(blocks)


@pytest.mark.parametrize(
    "change",
    [
        {"content": "Something else"},
        {"tool_calls": [{"id": "toolu_a", "type": "function", "function": {"name": "f", "arguments": '{"x":2}'}}]},
        {"tool_calls": [{"id": "toolu_a", "type": "function", "function": {"name": "g", "arguments": '{"x":1}'}}]},
    ],
)
def test_an_edited_message_has_no_signed_block(change: dict[str, Any]) -> None:
    replied = {**answer([TEXT, THOUGHT, A], stream=True), **change}

    found, dropped = next_turn(replied)

    assert [native["type"] for native in found] == ["text", "tool_use"]
    assert dropped == ("messages.reasoning_details", "messages.reasoning_content")


def test_a_sequence_that_cannot_be_rebuilt_is_not_repeated() -> None:
    odd = event("content_block_delta", index=1, delta={"type": "unheard_of_delta", "x": 1})
    began = event("content_block_start", index=1, content_block={"type": "odd_tool_use", "id": "o"})
    stopped = event("content_block_stop", index=1)
    last = block(2, *[pieces(A)[0], *pieces(A)[1]])
    raw = [start(), block(0, pieces(THOUGHT)[0], *pieces(THOUGHT)[1]), began, odd, stopped, last, stop("tool_use"), END]
    found = facts(decoded(call(stream=True), raw, target()))

    replied = {"role": "assistant", **{name: found[name] for name in MEMBERS if name in found}}

    assert next_turn(replied)[0] == [A]


def test_text_that_a_client_left_out_is_not_brought_back() -> None:
    replied = {**answer([THOUGHT, TEXT, A, SECOND, B], stream=True), "content": None}

    assert next_turn(replied)[0] == [THOUGHT, A, SECOND, B]


def test_thinking_is_not_the_end_of_a_turn() -> None:
    replied = answer([TEXT, THOUGHT], stream=False)

    body, _ = sent(call(messages=[USER, replied, USER]), target())

    assert body["messages"][1] == {"role": "assistant", "content": "Let me see."}


@pytest.mark.parametrize(("after", "kept"), [([], True), ([USER], False)])
def test_a_server_tool_at_work_is_repeated_only_at_the_end(after: list[Any], kept: bool) -> None:
    replied = answer([TEXT, SEARCH], stream=False)

    body, _ = sent(call(messages=[USER, replied, *after]), target())

    assert body["messages"][1]["content"] == ([TEXT, SEARCH] if kept else "Let me see.")


def test_several_thinking_blocks_without_places_are_left_out() -> None:
    calls = answer([A], stream=False)["tool_calls"]
    replied = {"role": "assistant", "tool_calls": calls, "thinking_blocks": [THOUGHT, SECOND]}

    assert next_turn(replied) == ([A], ("messages.thinking_blocks",))


@pytest.mark.parametrize("data", ["", "x", "7", "[7]", "[{}]", '[{"type": 7}]', "[" * 9000])
def test_a_broken_sequence_of_a_client_is_left_out(data: str) -> None:
    replied = answer([THOUGHT, A], stream=False)
    replied["reasoning_details"].append({"index": 1, "type": "reasoning.encrypted", "data": PREFIX + data})

    assert next_turn(replied)[0] == [A]


def test_a_thinking_answer_in_usual_order_has_no_further_entry() -> None:
    replied = answer([HIDDEN, THOUGHT, TEXT, A], stream=True)

    assert [entry["type"] for entry in replied["reasoning_details"]] == ["reasoning.encrypted", "reasoning.text"]


@each_form
def test_an_answer_without_signatures_has_no_details(stream: bool) -> None:
    unsigned = {"type": "thinking", "thinking": "t", "signature": ""}

    replied = answer([unsigned, A, unsigned, TEXT, B], stream=stream)

    assert "reasoning_details" not in replied


@each_form
def test_a_whole_answer_reads_like_its_events(stream: bool) -> None:
    blocks = SEQUENCES["a server tool"]
    events = b"".join(event(one["type"], **one) for one in events_of(json.loads(message(*blocks))))

    replied = answer(blocks, stream=stream)
    again = facts(decoded(call(stream=True), [events]))

    assert replied["reasoning_details"] == again["reasoning_details"]


@pytest.mark.parametrize("native", [THOUGHT, HIDDEN])
def test_a_block_comes_back_as_it_went(native: dict[str, Any]) -> None:
    detail = signed_entry(native, 0)

    assert detail["format"] == FORMAT
    assert signed_blocks({"reasoning_details": [detail]}) == [native]
    assert signed_blocks({"thinking_blocks": [native]}) == [native]


@pytest.mark.parametrize(
    "entries",
    [
        None,
        "x",
        [7],
        [{"type": "reasoning.text", "text": "unsigned"}],
        [{"type": "reasoning.text", "text": "t", "signature": "s", "format": "google-gemini-v1"}],
        [{"type": "reasoning.summary", "summary": "x"}],
        [{"type": "reasoning.encrypted"}],
    ],
)
def test_what_is_no_signed_block_is_passed_over(entries: Any) -> None:
    assert signed_blocks({"reasoning_details": entries}) == []


def test_models_without_prefill_continue_an_interrupted_turn() -> None:
    replied = answer([THOUGHT, TEXT, SEARCH], stream=False)
    low = {"low": {"thinking": {"type": "enabled", "budget_tokens": 2048}}}
    aim = target(unsupported=frozenset({"messages.prefill"}), thinking=low)

    body, dropped = sent(call(messages=[USER, replied], reasoning_effort="low", max_tokens=9000), aim)

    assert body["messages"][1]["content"] == [THOUGHT, TEXT, SEARCH]
    assert (body["thinking"], dropped) == (low["low"]["thinking"], ())
