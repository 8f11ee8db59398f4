"""Answers of chats as Google's."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest

from proxy.core.auth import AuthPolicy
from proxy.core.call import Call
from proxy.core.errors import RateLimited, UpstreamError
from proxy.core.principal import UNKNOWN_CALLER
from proxy.core.record import Record
from proxy.surfaces.carriers import unseal
from proxy.surfaces.generate.encoder import usage_metadata
from proxy.surfaces.generate.surface import GENERATE
from tests.support import calls
from tests.support.calls import deployment, provider, snapshot

POLICY = AuthPolicy(carrier_keys=(b"k" * 64,))
DETAIL = {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0}
WEATHER = {"name": "get_weather", "arguments": '{"city": "Bern"}'}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 1}}


def call_of(query: str = "alt=sse", operation: str = "streamGenerateContent", **body: Any) -> Call:
    raw = json.dumps({"contents": [{"parts": [{"text": "Hi"}]}], **body}).encode()
    path = f"/v1beta/models/auto:{operation}"
    names = {"id": "req_1", "request_id": "theirs", "path": path, "query": query}
    return GENERATE.read(raw, {}, snapshot=snapshot(auth=POLICY), principal=UNKNOWN_CALLER, **names)


def record_of(dialect: str = "openai") -> Record:
    return calls.record(chosen=deployment("m", provider("acme", dialect=dialect)))


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish}]
    value = {"id": "chatcmpl-1", "model": "m-1", "choices": choices, **more}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def streamed(*events: bytes, call: Call | None = None, dialect: str = "openai") -> list[dict[str, Any]]:
    """The objects of a stream; `finish` adds exactly the last one."""
    encoder = GENERATE.encoder(call or call_of(), record_of(dialect), "text/event-stream", native=False)
    assert encoder is not None
    fed = [json.loads(line[6:]) for line in encoder.feed(b"".join(events)).split(b"\r\n\r\n") if line]
    last = encoder.finish()
    assert last.endswith(b"\r\n\r\n")
    return [*fed, json.loads(last[6:])]


def whole(message: dict[str, Any], finish: str = "stop", call: Call | None = None, **more: Any) -> dict[str, Any]:
    """A whole answer."""
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = json.dumps({"id": "chatcmpl-1", "model": "m-1", "choices": [choice], **more}).encode()
    call = call or call_of("", "generateContent")
    encoder = GENERATE.encoder(call, record_of(), "application/json", native=False)
    assert encoder is not None
    assert encoder.feed(body) == b""
    answer: dict[str, Any] = json.loads(encoder.finish())
    return answer


def parts_of(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [part for each in objects for part in each["candidates"][0]["content"]["parts"]]


def test_text_passes_and_the_last_object_has_finish_and_usage() -> None:
    objects = streamed(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Grü"}),
        chunk({"content": "ße"}),
        chunk({}, "stop"),
        chunk(usage=USAGE),
        b"data: [DONE]\n\n",
    )

    tail = {"modelVersion": "m-1", "responseId": "chatcmpl-1"}
    text = [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0} for text in ("Grü", "ße", "")]
    assert objects == [
        {"candidates": [text[0]], **tail},
        {"candidates": [text[1]], **tail},
        {
            "candidates": [{**text[2], "finishReason": "STOP"}],
            "usageMetadata": {
                "promptTokenCount": 7,
                "candidatesTokenCount": 2,
                "totalTokenCount": 10,
                "thoughtsTokenCount": 1,
            },
            **tail,
        },
    ]


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        ("stop", "STOP"),
        ("tool_calls", "STOP"),
        ("length", "MAX_TOKENS"),
        ("content_filter", "SAFETY"),
        ("odd", "OTHER"),
    ],
)
def test_finish_is_in_words_of_google(finish: str, expected: str) -> None:
    [last] = streamed(chunk({}, finish))[-1]["candidates"]

    assert last["finishReason"] == expected
    assert whole({"content": "x"}, finish)["candidates"][0]["finishReason"] == expected


def test_calls_come_with_the_finish() -> None:
    start = {"index": 0, "id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    other = {"index": 1, "id": "c2", "type": "function", "function": {"name": "now", "arguments": ""}}

    objects = streamed(
        chunk({"tool_calls": [start]}),
        chunk({"tool_calls": [other]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Bern"}'}}]}),
        chunk({}, "tool_calls"),
    )

    first, second = parts_of(objects)
    assert first["functionCall"] == {"id": "c1", "name": "get_weather", "args": {"city": "Bern"}}
    assert second == {"functionCall": {"id": "c2", "name": "now", "args": {}}}
    assert len(objects) == 1


def test_first_call_is_marked_as_one_of_another_model() -> None:
    call = call_of("", "generateContent")

    [part] = parts_of([whole({"tool_calls": [{"id": "c1", "function": WEATHER}]}, call=call)])

    carried = unseal(call.snapshot, call.principal, b64decode(part["thoughtSignature"]).decode())
    assert carried is not None
    assert carried.members == {}


@pytest.mark.parametrize(("finish", "expected"), [("stop", "MALFORMED_FUNCTION_CALL"), ("length", "MAX_TOKENS")])
def test_call_that_is_not_whole_is_left_out(finish: str, expected: str) -> None:
    message = {"tool_calls": [{"id": "c1", "function": {"name": "a", "arguments": '{"b": '}}]}

    [candidate] = whole(message, finish)["candidates"]

    assert candidate["finishReason"] == expected
    assert candidate["content"]["parts"] == [{"text": ""}]


def test_repeated_index_is_another_call() -> None:
    entries = [{"index": 0, "id": f"c{n}", "function": {"name": f"f{n}", "arguments": "{}"}} for n in range(2)]

    objects = streamed(*[chunk({"tool_calls": [entry]}) for entry in entries], chunk({}, "tool_calls"))

    assert [part["functionCall"]["name"] for part in parts_of(objects)] == ["f0", "f1"]


@pytest.mark.parametrize("asked", [True, False])
def test_thoughts_are_shown_on_request(asked: bool) -> None:
    config = {"generationConfig": {"thinkingConfig": {"includeThoughts": asked}}}
    thought = [{"text": "Hm.", "thought": True}] if asked else []

    objects = streamed(chunk({"reasoning_content": "Hm."}), chunk({"content": "x"}, "stop"), call=call_of(**config))
    answer = whole({"content": "x", "reasoning": "Hm."}, call=call_of("", "generateContent", **config))

    assert parts_of(objects) == [*thought, {"text": "x"}, {"text": ""}]
    assert parts_of([answer]) == [*thought, {"text": "x"}]


def test_signed_thinking_travels_with_the_call_after_it() -> None:
    entry = {"index": 0, "id": "c1", "type": "function", "function": WEATHER}
    call = call_of()

    objects = streamed(
        chunk({"reasoning_content": "Hm."}),
        chunk({"reasoning_details": [DETAIL]}),
        chunk({"content": "Look."}),
        chunk({"tool_calls": [entry]}),
        chunk({}, "tool_calls"),
        call=call,
        dialect="anthropic",
    )

    text, called = parts_of(objects)
    carried = unseal(call.snapshot, call.principal, b64decode(called["thoughtSignature"]).decode())
    assert text == {"text": "Look."}
    assert carried is not None
    assert (carried.family, carried.provider) == ("anthropic", "acme")
    assert carried.members == {"reasoning_details": [DETAIL]}


def test_signature_without_a_call_is_in_the_last_text() -> None:
    objects = streamed(chunk({"reasoning_details": [DETAIL]}), chunk({"content": "x"}, "stop"), dialect="anthropic")
    answer = whole({"content": "x", "reasoning_details": [DETAIL]})

    assert [list(part) for part in parts_of(objects)] == [["text"], ["text", "thoughtSignature"]]
    [part] = parts_of([answer])
    assert part["text"] == "x"
    assert "thoughtSignature" in part


def test_plain_reasoning_is_kept_for_a_tool_loop() -> None:
    call = call_of("", "generateContent")

    answer = whole({"reasoning_content": "Hm.", "tool_calls": [{"id": "c1", "function": WEATHER}]}, call=call)

    [part] = parts_of([answer])
    carried = unseal(call.snapshot, call.principal, b64decode(part["thoughtSignature"]).decode())
    assert carried is not None
    assert carried.members == {"reasoning_content": "Hm."}


def test_signatures_of_google_pass() -> None:
    extra = {"extra_content": {"google": {"thought_signature": "Z29v"}}}

    answer = whole({"tool_calls": [{"id": "c1", "function": WEATHER, **extra}]})

    assert parts_of([answer])[0]["thoughtSignature"] == "Z29v"


def test_images_and_parts_of_google_pass() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, "index": 0}
    parts = [{"executableCode": {"code": "1"}, "index": 0}]

    answer = whole({"content": "x", "images": [image, {"image_url": {"url": "https://a.test"}}], "google_parts": parts})

    assert parts_of([answer]) == [
        {"text": "x"},
        {"executableCode": {"code": "1"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    ]


def test_searches_are_named_in_grounding_metadata() -> None:
    searches = [{"queries": ["who", 1], "pages": []}, {"queries": "odd"}]

    answer = whole({"content": "x", "web_searches": searches})
    without = whole({"content": "x", "web_searches": searches[1:]})

    assert answer["candidates"][0]["groundingMetadata"] == {"webSearchQueries": ["who"]}
    assert "groundingMetadata" not in without["candidates"][0]


def test_sources_become_grounding_metadata() -> None:
    cited = {"start_index": 2, "end_index": 5, "url": "https://a.test", "title": "A"}
    notes = [{"type": "url_citation", "url_citation": cited}, {"url_citation": {"url": "https://b.test"}}, {"odd": 1}]

    answer = whole({"content": "Grüße", "annotations": notes})

    assert answer["candidates"][0]["groundingMetadata"] == {
        "groundingChunks": [
            {"web": {"uri": "https://a.test", "title": "A"}},
            {"web": {"uri": "https://b.test", "title": "https://b.test"}},
        ],
        "groundingSupports": [
            {"segment": {"startIndex": 2, "endIndex": 7, "text": "üße"}, "groundingChunkIndices": [0]}
        ],
    }


def test_several_choices_are_several_candidates() -> None:
    objects = streamed(
        chunk({"content": "b"}, index=1), chunk({"content": "a"}), chunk({}, "stop", 1), chunk({}, "length")
    )

    assert [(each["index"], each["finishReason"]) for each in objects[-1]["candidates"]] == [
        (0, "MAX_TOKENS"),
        (1, "STOP"),
    ]
    assert [each["candidates"][0]["index"] for each in objects[:-1]] == [1, 0]


def test_log_probabilities() -> None:
    token = {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -1.5}]}
    choice = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [token]}, "finish_reason": "stop"}

    objects = streamed(chunk(choices=[choice]))

    assert objects[-1]["candidates"][0]["logprobsResult"] == {
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -1.5}]}],
        "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
    }


def test_refusals_and_lists_of_parts_are_text() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "x"}]

    assert parts_of([whole({"content": parts})]) == [{"text": "x"}]
    assert parts_of([whole({"content": None, "refusal": "No."})]) == [{"text": "No."}]


@pytest.mark.parametrize(
    "event",
    [
        b": comment\n\n",
        b"data: [1]\n\n",
        b"data: {broken\n\n",
        b'data: {"choices": 7, "usage": "x"}\n\n',
        b'data: {"choices": [{"index": "x", "delta": {"content": 7, "tool_calls": [1], "reasoning": []}}]}\n\n',
    ],
)
def test_odd_events_do_no_harm(event: bytes) -> None:
    objects = streamed(event, chunk({"content": "x"}, "stop"))

    assert [part["text"] for part in parts_of(objects)] == ["x", ""]


def test_array_has_the_same_objects() -> None:
    call = call_of("")
    encoder = GENERATE.encoder(call, record_of(), "application/json", native=False)
    assert encoder is not None

    out = encoder.feed(chunk({"content": "a"})) + encoder.feed(chunk({"content": "b"})) + encoder.finish()

    assert [part["text"] for part in parts_of(json.loads(out))] == ["a", "b", ""]


def test_broken_stream_ends_with_the_text_of_an_error() -> None:
    error = UpstreamError("broke")
    events = GENERATE.encoder(call_of(), record_of(), "text/event-stream", native=False)
    array = GENERATE.encoder(call_of(""), record_of(), "application/json", native=False)
    assert events is not None
    assert array is not None

    array_out = array.feed(chunk({"content": "a"})) + array.fail(error)

    assert json.loads(events.fail(error))["error"]["status"] == "UNAVAILABLE"
    assert b"\n" not in events.fail(error)
    assert json.loads(array_out)[-1]["error"]["code"] == 502
    assert GENERATE.event(error) == events.fail(error)


def test_decision_record_is_added_on_request() -> None:
    call = call_of(router={"debug": True})

    assert streamed(chunk({"content": "x"}, "stop"), call=call)[-1]["router"]["id"] == "req_1"


def test_native_answers_need_no_encoder() -> None:
    assert GENERATE.encoder(call_of(), record_of("gemini"), "text/event-stream", native=True) is None


def test_usage_with_odd_numbers() -> None:
    odd = {"prompt_tokens": None, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 5}}

    assert usage_metadata(odd) == {
        "promptTokenCount": 0,
        "candidatesTokenCount": 0,
        "totalTokenCount": 1,
        "thoughtsTokenCount": 5,
    }


def test_errors_name_what_helps_the_client() -> None:
    limited = json.loads(GENERATE.error(RateLimited("slow down", retry_after=6.2)))["error"]

    assert (limited["code"], limited["status"], limited["message"]) == (429, "RESOURCE_EXHAUSTED", "slow down")
    assert limited["details"][-1] == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}
