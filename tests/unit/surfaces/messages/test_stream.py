"""Chat streams as Anthropic's events; `tests/property/test_messages.py` has their order."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from proxy.core.call import RouterOptions
from proxy.core.errors import RateLimited, UpstreamError
from proxy.core.usage import Usage
from proxy.surfaces.base import Encoder
from proxy.surfaces.messages.surface import MESSAGES
from tests.support.calls import STREAM, attempt, call, deployment, plan, record
from tests.support.upstreams import DONE, FINISH, ROLE, USAGE, chunk


def encoder(*, debug: bool = False, **fields: Any) -> Encoder:
    asked = replace(call(STREAM), options=RouterOptions(debug=debug))
    made = MESSAGES.encoder(asked, record(**{"chosen": deployment(), **fields}), "text/event-stream", native=False)
    assert made is not None
    return made


def events(out: bytes) -> list[dict[str, Any]]:
    return [json.loads(text.partition("data: ")[2]) for text in out.decode().split("\n\n") if text]


def test_message_begins_with_an_estimate_and_ends_with_the_reported_usage() -> None:
    planned = plan()
    planned.count_input = lambda: 42
    assert planned.input_tokens == 42
    stream = encoder(plan=planned)

    first = events(stream.feed(ROLE + chunk({"content": "Hi"}) + FINISH + chunk(usage=USAGE) + DONE))
    last = events(stream.finish())

    message = first[0]["message"]
    assert (message["id"], message["model"], message["content"], message["stop_reason"]) == (
        "msg_1",
        "upstream",
        [],
        None,
    )
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (42, 0)
    assert [event["type"] for event in last] == ["content_block_stop", "message_delta", "message_stop"]
    assert last[1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert (last[1]["usage"]["input_tokens"], last[1]["usage"]["output_tokens"]) == (7, 3)


def test_stream_without_usage_reports_that_of_the_record() -> None:
    stream = encoder(attempts=[attempt(usage=Usage(9, 2, source="estimated"))])

    stream.feed(chunk({"content": "Hi"}) + FINISH)

    assert events(stream.finish())[-2]["usage"]["input_tokens"] == 9


def test_last_event_without_its_empty_line_counts() -> None:
    stream = encoder()

    out = stream.feed(chunk({"content": "Hi"})) + stream.feed(FINISH[:-2]) + stream.finish()

    assert events(out)[-1] == {"type": "message_stop"}


def test_comments_errors_and_odd_chunks_are_skipped() -> None:
    stream = encoder()
    odd: list[Any] = [{"choices": 5}, {"choices": [5]}, {"choices": [{"delta": 5}]}, [1]]

    out = stream.feed(b": keep-alive\n\n" + b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in odd))
    out += stream.feed(chunk({"content": 5, "tool_calls": [5, {"function": 5}], "refusal": 5})) + stream.finish()

    assert [event["type"] for event in events(out)][-2:] == ["message_delta", "message_stop"]


def test_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    calls = [{"id": f"call_{name}", "function": {"name": name, "arguments": "{}"}} for name in ("a", "b")]
    repeated = [{"index": 0, **each} for each in calls]

    for entries in (calls, repeated):
        stream = encoder()
        out = events(b"".join(stream.feed(chunk({"tool_calls": [entry]})) for entry in entries) + stream.finish())

        begun = [event["content_block"]["name"] for event in out if event["type"] == "content_block_start"]
        assert begun == ["a", "b"]


def test_name_that_comes_late_opens_the_call_late() -> None:
    stream = encoder()
    head = stream.feed(chunk({"tool_calls": [{"index": 0, "id": "call_a", "function": {"arguments": "{"}}]}))

    out = events(stream.feed(chunk({"tool_calls": [{"index": 0, "function": {"name": "a", "arguments": "}"}}]})))

    assert [event["type"] for event in events(head)] == ["message_start"]
    assert out[0]["content_block"] == {"type": "tool_use", "id": "call_a", "name": "a", "input": {}}
    assert "".join(event["delta"]["partial_json"] for event in out[1:]) == "{}"


def test_error_has_the_type_of_its_status() -> None:
    error = RateLimited("slow down")
    error.headers = {"x-router-id": "req_1"}
    error.native_event = b'data: {"error": {}}\n\n'

    stream = encoder()
    stream.feed(chunk({"content": "Hi"}))

    assert stream.fail(error) == (
        b"event: error\ndata: "
        b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"},"request_id":"req_1"}\n\n'
    )


def test_error_of_an_anthropic_target_keeps_its_bytes() -> None:
    error = UpstreamError("broke")
    error.native_event, error.native_format = b"event: error\ndata: {}\n\n", "messages"

    assert MESSAGES.event(error) == error.native_event
    assert b"api_error" in MESSAGES.error(error)


def test_decision_record_is_in_the_last_event() -> None:
    stream = encoder(debug=True)
    stream.feed(chunk({"content": "Hi"}) + FINISH)

    assert events(stream.finish())[-1]["router"]["id"] == "req_1"


def test_sources_are_citations_of_the_text() -> None:
    place = {"start_index": 3, "end_index": 7, "title": "News", "url": "https://news.test"}
    notes = [{"type": "url_citation", "url_citation": each} for each in (place, {"url": "https://b.test"}, {"url": 1})]
    stream = encoder()

    out = stream.feed(chunk({"content": "It "}) + chunk({"content": "won."}) + chunk({"annotations": [*notes, "x"]}))

    deltas = [event["delta"] for event in events(out) if event["type"] == "content_block_delta"]
    common = {"type": "web_search_result_location", "encrypted_index": ""}
    assert deltas[2:] == [
        {
            "type": "citations_delta",
            "citation": {**common, "cited_text": "won.", "url": "https://news.test", "title": "News"},
        },
        {
            "type": "citations_delta",
            "citation": {**common, "cited_text": "", "url": "https://b.test", "title": "https://b.test"},
        },
    ]


def test_searches_are_blocks_behind_the_text() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "https://a.test", "title": "A"}}
    searches = [{"queries": ["who", "when"], "pages": ["https://a.test", "https://b.test"]}, {"queries": 1}, "x"]
    stream = encoder()

    out = stream.feed(chunk({"content": "Won.", "annotations": [note]}) + chunk({"web_searches": searches}))
    rest = events(stream.finish())

    _, *blocks = [event["content_block"] for event in events(out) + rest if event["type"] == "content_block_start"]
    assert [(block["type"], block.get("id") or block["tool_use_id"]) for block in blocks] == [
        ("server_tool_use", "srvtoolu_sbx10x0"),
        ("web_search_tool_result", "srvtoolu_sbx10x0"),
        ("server_tool_use", "srvtoolu_sbx10x1"),
        ("web_search_tool_result", "srvtoolu_sbx10x1"),
    ]
    assert blocks[0]["input"] == {"query": "who; when"}
    assert [(page["url"], page["title"]) for page in blocks[1]["content"]] == [
        ("https://a.test", "A"),
        ("https://b.test", "https://b.test"),
    ]
    assert blocks[3]["content"] == {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    assert rest[-2]["usage"]["server_tool_use"] == {"web_search_requests": 2, "web_fetch_requests": 0}


def test_images_are_blocks() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    stream = encoder()

    out = stream.feed(
        chunk({"content": "Here:"}) + chunk({"images": [image, {"image_url": {"url": "https://a.test"}}]})
    )
    rest = stream.finish()

    started = [event["content_block"] for event in events(out + rest) if event["type"] == "content_block_start"]
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    assert started[1:] == [{"type": "image", "source": source}]
    assert [event["type"] for event in events(rest)][0] == "content_block_stop"
