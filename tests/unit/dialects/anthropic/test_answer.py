"""Anthropic's answers as OpenAI's, streamed and not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.usage import UNKNOWN_WINDOW, Usage
from proxy.dialects.anthropic.usage import usage_of
from tests.unit.dialects.anthropic.build import (
    END,
    block,
    call,
    chunks_of,
    decoded,
    event,
    facts,
    message,
    start,
    stop,
    text,
    tool,
)

STREAM = {"stream": True, "stream_options": {"include_usage": True}}
CITATION = {"type": "web_search_result_location", "url": "https://x.test", "title": "X", "cited_text": "c"}


def streamed(*pieces: bytes, **members: Any) -> dict[str, Any]:
    return facts(decoded(call(**STREAM, **members), pieces))


def whole(*content: dict[str, Any], **members: Any) -> dict[str, Any]:
    return facts(decoded(call(), [message(*content, **members)]))


def test_text_is_joined_with_nothing_between() -> None:
    found = streamed(start(), text(0, "Hi", " there"), text(1, "!"), stop(), END)

    assert (found["content"], found["finish"], found["model"]) == ("Hi there!", "stop", "claude-x-1")
    assert whole({"type": "text", "text": "Hi there"}, {"type": "text", "text": "!"})["content"] == "Hi there!"


@pytest.mark.parametrize(
    ("native", "word"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "stop"),  # without a call for the client
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        ("compaction", "stop"),
        ("something_new", "stop"),
    ],
)
def test_every_stop_reason_has_a_word(native: str, word: str) -> None:
    assert streamed(start(), text(0, "a"), stop(native), END)["finish"] == word
    assert whole({"type": "text", "text": "a"}, reason=native)["finish"] == word


def test_calls_keep_their_ids_and_stream_their_arguments() -> None:
    raw = decoded(
        call(**STREAM),
        [
            start(),
            text(0, "Let me see."),
            tool(1, "toolu_1", "f", "", '{"a"', ":1}"),
            tool(2, "toolu_2", "g"),
            stop("tool_use"),
            END,
        ],
    )

    found = facts(raw)
    first = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    second = {"id": "toolu_2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    assert (found["tool_calls"], found["finish"], found["content"]) == ([first, second], "tool_calls", "Let me see.")
    assert sum("role" in choice["delta"] for chunk in chunks_of(raw) for choice in chunk["choices"]) == 1


def test_calls_of_a_whole_message_are_the_same() -> None:
    found = whole({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"city": "Köln"}}, reason="tool_use")

    [made] = found["tool_calls"]
    assert (made["id"], json.loads(made["function"]["arguments"])) == ("toolu_1", {"city": "Köln"})
    assert "content" not in found


def test_a_client_of_the_older_functions_gets_a_function_call() -> None:
    asked = call(functions=[{"name": "f"}], **STREAM)
    unstreamed = call(functions=[{"name": "f"}])

    found = facts(decoded(asked, [start(), tool(0, "t", "f", '{"a":', "1}"), stop("tool_use"), END]))
    other = facts(
        decoded(unstreamed, [message({"type": "tool_use", "id": "t", "name": "f", "input": {}}, reason="tool_use")])
    )

    assert (found["function_call"], found["finish"]) == ({"name": "f", "arguments": '{"a":1}'}, "function_call")
    assert (other["function_call"]["name"], other["finish"]) == ("f", "function_call")


def test_thinking_is_reasoning_and_its_signature_can_be_echoed() -> None:
    thinking = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta", "signature": "sig"},
    )
    hidden = block(1, {"type": "redacted_thinking", "data": "xyz"})

    found = streamed(start(), thinking, hidden, text(2, "Yes."), stop(), END)

    assert (found["reasoning_content"], found["content"]) == ("hm", "Yes.")
    assert [(entry["index"], entry["type"]) for entry in found["reasoning_details"]] == [
        (0, "reasoning.text"),
        (1, "reasoning.encrypted"),
    ]
    assert found == whole(
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Yes."},
    )


def test_what_happened_on_anthropics_side_is_no_call_and_no_text() -> None:
    found = streamed(
        start(),
        block(
            0,
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "input_json_delta", "partial_json": "{}"},
        ),
        block(1, {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"text": "no"}]}),
        block(2, {"type": "mcp_tool_use", "id": "m", "name": "x", "input": {}}),
        block(3, {"type": "compaction", "content": "summary"}),
        block(4, {"type": "something_new", "text": "no"}, {"type": "text_delta", "text": "no"}),
        text(5, "Found."),
        stop(),
        END,
    )

    assert (found["content"], found["finish"]) == ("Found.", "stop")
    assert "tool_calls" not in found


def test_web_citations_are_annotations() -> None:
    cited = block(
        1,
        {"type": "text", "text": "", "citations": []},
        {"type": "citations_delta", "citation": CITATION},
        {"type": "text_delta", "text": "fact"},
    )

    found = streamed(start(), text(0, "So: "), cited, stop(), END)

    span = {"start_index": 4, "end_index": 8, "url": "https://x.test", "title": "X"}
    assert found["annotations"] == [{"index": 0, "type": "url_citation", "url_citation": span}]
    assert found == whole({"type": "text", "text": "So: "}, {"type": "text", "text": "fact", "citations": [CITATION]})


def test_citations_of_documents_are_passed_over() -> None:
    cited = {"type": "text", "text": "fact", "citations": [{"type": "char_location", "document_index": 0}, None]}

    assert "annotations" not in whole(cited)


def test_a_refusal_is_told_where_it_is_explained() -> None:
    delta = {"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "Not this."}}

    found = streamed(start(), event("message_delta", delta=delta, usage={}), END)

    assert (found["finish"], found["refusal"], found["content"]) == ("content_filter", "Not this.", "")


def test_usage_adds_what_the_cache_read_and_wrote() -> None:
    counts = {
        "input_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 30,
        "output_tokens_details": {"thinking_tokens": 12},
        "service_tier": "standard",
    }

    assert usage_of(counts) == Usage(input=125, output=30, cached=100, cache_write=20, reasoning=12)


@pytest.mark.parametrize(
    "late",
    [
        {"input_tokens": 0, "output_tokens": 9},
        {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0, "output_tokens": 9},
        {"input_tokens": None, "output_tokens": 9},
        {"input_tokens": "5", "output_tokens": 9.0},
        {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 0}},
    ],
)
def test_later_counts_that_are_smaller_change_nothing(late: dict[str, Any]) -> None:
    details = {"thinking_tokens": 1}
    opening = start(input_tokens=34, cache_read_input_tokens=1300, output_tokens=1, output_tokens_details=details)

    usage = streamed(opening, text(0, "a"), stop("end_turn", **late), END)["usage"]

    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (1334, 9)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 1300
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 1


def test_impossible_counts_are_clamped() -> None:
    usage = streamed(start(input_tokens=10**12, output_tokens=1), text(0, "a"), stop(), END)["usage"]

    assert usage["prompt_tokens"] == UNKNOWN_WINDOW


def test_later_usage_replaces_earlier_usage_by_field() -> None:
    opening = start(input_tokens=5, cache_read_input_tokens=100, output_tokens=1)

    usage = streamed(opening, text(0, "a"), stop("end_turn", input_tokens=50, output_tokens=9), END)["usage"]

    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (150, 9, 159)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 100


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {"input_tokens": None, "output_tokens": 5},
        {"input_tokens": 5, "output_tokens": None},
        {"input_tokens": "7", "output_tokens": 5},
        {"input_tokens": True, "output_tokens": 5},
        {"input_tokens": 0, "output_tokens": 0},
        {"input_tokens": -1, "output_tokens": 0},
        {"output_tokens_details": 3},
    ],
)
def test_usage_without_counts_is_unknown(counts: dict[str, Any]) -> None:
    assert usage_of(counts) is None


def test_requested_usage_is_a_last_chunk_of_its_own() -> None:
    pieces = [start(), text(0, "a"), stop(), END]

    asked = chunks_of(decoded(call(**STREAM), pieces))
    unasked = chunks_of(decoded(call(stream=True), pieces))

    assert (asked[-1]["choices"], asked[-1]["usage"]["completion_tokens"]) == ([], 7)
    assert not any("usage" in chunk for chunk in unasked)


def test_an_empty_answer_is_an_answer() -> None:
    found = streamed(start(), stop(), END)

    assert (found["content"], found["role"], found["finish"]) == ("", "assistant", "stop")


def test_a_block_that_is_not_closed_is_closed_by_the_stop_reason() -> None:
    opened = event(
        "content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}}
    )

    [made] = streamed(start(), opened, stop("tool_use"), END)["tool_calls"]

    assert made["function"]["arguments"] == "{}"


@pytest.mark.parametrize(
    "odd",
    [
        event("ping"),
        event("something_new", data=[1]),
        event("content_block_delta", index=9, delta={"type": "text_delta", "text": "no"}),
        event("content_block_delta", index="x", delta=None),
        event("content_block_start", index=None, content_block=None),
        event("content_block_stop", index=7),
        event("message_start", message=None),
        event("message_delta", delta=None, usage=None),
        b": a comment\n\n",
        b"data:\n\n",
        b"data: [DONE]\n\n",
    ],
)
def test_what_is_odd_does_no_harm(odd: bytes) -> None:
    found = streamed(odd, start(), odd, text(0, "a"), odd, stop(), odd, END, odd)

    assert (found["content"], found["finish"], found["model"]) == ("a", "stop", "claude-x-1")


def test_arguments_that_come_as_text_stay() -> None:
    given = {"type": "tool_use", "id": "t", "name": "f", "input": '{"a":1}'}

    found = facts(decoded(call(), [message(given, reason="tool_use")]))

    assert found["tool_calls"][0]["function"]["arguments"] == '{"a":1}'
