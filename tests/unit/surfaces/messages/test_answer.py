"""Whole chat completions as Anthropic's messages."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.body import parse
from proxy.core.call import Call, NativeRequest, RouterOptions
from proxy.core.errors import UpstreamError
from proxy.core.usage import Usage
from proxy.surfaces.messages.surface import MESSAGES
from proxy.surfaces.messages.tools import chat_name
from tests.support.calls import attempt, call, deployment, record
from tests.support.upstreams import completion

LONG = "mcp__" + "x" * 80


def native() -> NativeRequest:
    raw = json.dumps({"tools": [{"name": LONG}]}).encode()
    return NativeRequest("messages", raw, parse(raw).spans)


def message_of(answer: Any, of: Call | None = None, **fields: Any) -> dict[str, Any]:
    raw = json.dumps(answer).encode()
    row = record(**{"chosen": deployment(), **fields})
    encoder = MESSAGES.encoder(of or call(), row, "application/json", native=False)
    assert encoder is not None
    assert encoder.feed(raw[:10]) + encoder.feed(raw[10:]) == b""
    return json.loads(encoder.finish())  # type: ignore[no-any-return]


def answered(finish: str = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    return {**completion(""), "choices": [choice]}


def tool_call(id: Any, name: str, arguments: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_a_text_is_a_message() -> None:
    assert message_of(completion("Hi")) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "upstream",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 7,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 3,
        },
    }


def test_calls_have_objects_unique_ids_and_the_client_s_names() -> None:
    calls = [
        tool_call("call_1", "get", '{"a":1}'),
        tool_call("call_1", "get", ""),
        tool_call("functions.get:0", chat_name(LONG), "no json"),
        tool_call(None, "get", {"b": 2}),
    ]

    message = message_of(answered("tool_calls", tool_calls=calls), replace(call(), native=native()))

    blocks = message["content"]
    assert message["stop_reason"] == "tool_use"
    assert [block["input"] for block in blocks] == [{"a": 1}, {}, {"arguments": "no json"}, {"b": 2}]
    assert [block["name"] for block in blocks] == ["get", "get", LONG, "get"]
    assert [block["id"] for block in blocks[::2]] == ["call_1", "functions_get_0"]
    assert len({block["id"] for block in blocks}) == 4


@pytest.mark.parametrize(
    ("finish", "message", "reason"),
    [
        ("stop", {"content": "x"}, "end_turn"),
        ("length", {"content": "x"}, "max_tokens"),
        ("content_filter", {"content": "x"}, "refusal"),
        ("stop", {"refusal": "No."}, "refusal"),
        ("stop", {"tool_calls": [tool_call("a", "get", "{}")]}, "tool_use"),
        ("length", {"tool_calls": [tool_call("a", "get", "{")]}, "max_tokens"),
        ("odd", {"content": "x"}, "end_turn"),
    ],
)
def test_stop_reasons(finish: str, message: dict[str, Any], reason: str) -> None:
    assert message_of(answered(finish, **message))["stop_reason"] == reason


def test_signed_thinking_is_carried_and_further_pieces_follow() -> None:
    details = [
        {"index": 0, "type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1"},
        {"index": 1, "type": "reasoning.encrypted", "data": "d", "format": "anthropic-claude-v1"},
    ]

    blocks = message_of(answered(content="Hi", reasoning_content="Hm", reasoning_details=details))["content"]

    assert [(block["type"], block.get("thinking")) for block in blocks] == [
        ("thinking", "Hm"),
        ("thinking", ""),
        ("text", None),
    ]
    assert all(block["signature"].startswith("sbx1.") for block in blocks[:2])


def test_usage_splits_off_the_cached_tokens() -> None:
    details = {"cached_tokens": 4, "cache_write_tokens": 2}
    usage = {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": details}

    counted = message_of({**completion("x"), "usage": usage})["usage"]

    assert list(counted.values()) == [4, 2, 4, 3]


def test_usage_is_that_of_the_record_if_the_upstream_reports_none() -> None:
    attempts = [attempt(usage=Usage(10, 3, 4, source="estimated"))]

    counted = message_of({**completion("x"), "usage": None}, attempts=attempts)["usage"]

    assert list(counted.values()) == [6, 0, 4, 3]


def test_decision_record_is_a_member() -> None:
    message = message_of(completion("x"), replace(call(), options=RouterOptions(debug=True)))

    assert message["router"]["id"] == "req_1"


def test_a_broken_answer_is_nothing() -> None:
    encoder = MESSAGES.encoder(call(), record(), "application/json", native=False)

    assert encoder is not None
    assert encoder.fail(UpstreamError("broke")) == b""


def test_native_answers_need_no_encoder() -> None:
    assert MESSAGES.encoder(call(), record(), "application/json", native=True) is None


def test_searches_are_in_the_blocks_and_counted() -> None:
    searches = [{"queries": ["who"], "pages": ["https://a.test"]}]

    message = message_of(answered(content="Won.", web_searches=searches))

    use, found = message["content"][1:]
    assert (use["name"], use["input"], use["id"]) == ("web_search", {"query": "who"}, found["tool_use_id"])
    assert [page["url"] for page in found["content"]] == ["https://a.test"]
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 1


def test_sources_and_images_are_in_the_blocks() -> None:
    place = {"start_index": 0, "end_index": 3, "title": "News", "url": "https://news.test"}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    cited = {
        "type": "web_search_result_location",
        "cited_text": "Won",
        "url": "https://news.test",
        "title": "News",
        "encrypted_index": "",
    }

    content = message_of(
        answered(content="Won.", annotations=[{"type": "url_citation", "url_citation": place}], images=[image])
    )["content"]

    assert content == [
        {"type": "text", "text": "Won.", "citations": [cited]},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
    ]
