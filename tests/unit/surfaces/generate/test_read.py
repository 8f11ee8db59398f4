"""Requests of Google's API as chat calls."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest

from proxy.core.auth import AuthPolicy
from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.core.principal import UNKNOWN_CALLER, Principal
from proxy.surfaces.carriers import seal
from proxy.surfaces.generate.read import read_generate, wants_thoughts
from tests.support.calls import snapshot

PATH = "/v1beta/models/tier/low:generateContent"
HELLO: Any = [{"role": "user", "parts": [{"text": "Hello"}]}]
CALL: Any = {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "look", "args": {"at": [1, "ü"]}}}]}
DETAIL = {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0}
POLICY = AuthPolicy(carrier_keys=(b"k" * 64,))


def read(body: Any, path: str = PATH, query: str = "", principal: Principal = UNKNOWN_CALLER, **headers: str) -> Call:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    on = snapshot(auth=POLICY)
    return read_generate(
        raw, headers, id="req_1", request_id="theirs", snapshot=on, principal=principal, path=path, query=query
    )


def messages(*contents: Any, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read({"contents": list(contents), **more}).body["messages"]
    return found


def refused(body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as found:
        read(body)
    return found.value


def result(**response: Any) -> dict[str, Any]:
    return {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": response}}]}


def test_call_has_canonical_body_and_its_own() -> None:
    raw = json.dumps({"contents": HELLO}).encode()

    call = read(raw, "/v1/models/openai/gpt:4o:streamGenerateContent", "alt=sse&key=secret")

    assert (call.model, call.stream, call.endpoint, call.usage_asked) == ("openai/gpt:4o", True, "chat", True)
    assert json.loads(call.raw) == {
        "model": "openai/gpt:4o",
        "stream": True,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    assert call.raw[call.spans["model"].value : call.spans["model"].end] == b'"openai/gpt:4o"'
    assert call.native is not None
    assert (call.native.format, call.native.raw, call.native.query) == ("generate", raw, "alt=sse")
    assert call.native.operation == "streamGenerateContent"
    assert "secret" not in repr(call)


@pytest.mark.parametrize(
    ("query", "passed"),
    [
        ("alt=sse&callback=f&fields=candidates", "alt=sse"),
        ("%24alt=sse&%24k%65y=secret", "alt=sse"),
        ("alt=proto&prettyPrint=false", ""),
        ("%24alt=json;enum-encoding=int", ""),
        ("alt=SSE", ""),
    ],
)
def test_only_the_wish_for_events_passes_of_the_query(query: str, passed: str) -> None:
    call = read(b'{"contents": [{"parts": [{"text": "Hi"}]}]}', "/v1beta/models/m:streamGenerateContent", query)

    assert call.native is not None
    assert (call.native.query, call.native.events) == (passed, passed == "alt=sse")


def test_an_answer_without_stream_has_no_events() -> None:
    call = read(b'{"contents": [{"parts": [{"text": "Hi"}]}]}', "/v1beta/models/m:generateContent", "alt=sse")

    assert call.native is not None
    assert call.native.query == ""


def test_router_options_do_not_reach_the_provider() -> None:
    call = read(b'{"router": {"client_id": "app"}, "contents": [{"parts": [{"text": "Hi"}]}]}')

    assert call.options.client_id == "app"
    assert call.native is not None
    assert call.native.raw == b'{"contents": [{"parts": [{"text": "Hi"}]}]}'
    assert set(call.native.spans) == {"contents"}


def test_snake_case_is_read_like_camel_case() -> None:
    camel = read(
        {
            "contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}],
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "generationConfig": {"maxOutputTokens": 5, "thinkingConfig": {"includeThoughts": True}},
        }
    )
    snake = read(
        {
            "contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": "AAAA"}}]}],
            "system_instruction": {"parts": [{"text": "Be brief."}]},
            "generation_config": {"max_output_tokens": 5, "thinking_config": {"include_thoughts": True}},
        }
    )

    assert camel.raw == snake.raw
    assert (wants_thoughts(camel), wants_thoughts(snake), wants_thoughts(read({"contents": HELLO}))) == (
        True,
        True,
        False,
    )


def test_turns_become_messages() -> None:
    found = messages(
        {"parts": [{"text": "One."}, {"text": "Two."}]},
        {"role": "model", "parts": [{"text": "Thinking", "thought": True}, {"text": "I "}, {"text": "look."}]},
        CALL,
        {"role": "user", "parts": [{"text": "Go on."}, result(output="seen")["parts"][0]]},
        systemInstruction={"parts": [{"text": "Be"}, {"text": "brief."}], "role": "user"},
    )

    function = {"name": "look", "arguments": '{"at":[1,"ü"]}'}
    assert found == [
        {"role": "system", "content": "Be\n\nbrief."},
        {"role": "user", "content": "One.\n\nTwo."},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
        {"role": "user", "content": "Go on."},
    ]


def test_results_without_ids_belong_to_open_calls_of_their_name() -> None:
    calls = [{"functionCall": {"name": name}} for name in ("look", "hear", "look")]
    names = ("hear", "look", "look")
    results = [{"functionResponse": {"name": name, "response": {"n": n}}} for n, name in enumerate(names)]

    _, assistant, *tools = messages(*HELLO, {"role": "model", "parts": calls}, {"role": "user", "parts": results})

    ids = [call["id"] for call in assistant["tool_calls"]]
    assert len(set(ids)) == 3
    assert [tool["tool_call_id"] for tool in tools] == [ids[1], ids[0], ids[2]]
    assert [tool["content"] for tool in tools] == ['{"n":0}', '{"n":1}', '{"n":2}']


def test_repeated_ids_become_unique() -> None:
    found = messages(*HELLO, CALL, result(output="a"), CALL, result(error="b"))

    calls = [message["tool_calls"][0]["id"] for message in found if message["role"] == "assistant"]
    assert calls == ["c1", found[-1]["tool_call_id"]]
    assert calls[1] != "c1"
    assert found[-1]["content"] == '{"error":"b"}'


def test_files_of_a_result_follow_it() -> None:
    part = {"functionResponse": {"name": "look", "response": {}, "parts": [{"inlineData": PNG}]}}

    found = messages(*HELLO, CALL, {"role": "user", "parts": [part]})

    assert [message["role"] for message in found[2:]] == ["tool", "user"]
    assert found[3]["content"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]


PNG = {"mimeType": "image/png", "data": "AAAA"}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"inlineData": PNG}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
        (
            {"inlineData": {"mimeType": "audio/mpeg", "data": "-_-_"}},
            {"type": "input_audio", "input_audio": {"data": "+/+/", "format": "mp3"}},
        ),
        (
            {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
            {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        ),
        (
            {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}},
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        ),
        (
            {"fileData": {"mimeType": "image/png", "fileUri": "https://a.test/b.png"}},
            {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}},
        ),
        (
            {"fileData": {"mimeType": "application/pdf", "fileUri": "https://a.test/b.pdf?c"}},
            {"type": "file", "file": {"filename": "b.pdf", "file_data": "https://a.test/b.pdf?c"}},
        ),
        (
            {"fileData": {"mimeType": "image/png", "fileUri": "gs://bucket/b.png"}},
            {"type": "file", "file": {"file_id": "gs://bucket/b.png", "format": "image/png"}},
        ),
        (
            {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
            {"type": "file", "file": {"file_id": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
        ),
    ],
)
def test_files_become_parts(part: dict[str, Any], expected: dict[str, Any]) -> None:
    [message] = messages({"parts": [{"text": "See"}, part]})

    assert message["content"] == [{"type": "text", "text": "See"}, expected]


def test_signature_of_google_stays_with_its_call() -> None:
    signed = {"functionCall": CALL["parts"][0]["functionCall"], "thoughtSignature": "Z29vZ2xl"}

    call = read({"contents": [*HELLO, {"role": "model", "parts": [signed]}, result(output="x")]})

    [made] = call.body["messages"][1]["tool_calls"]
    assert made["extra_content"] == {"google": {"thought_signature": "Z29vZ2xl"}}
    assert call.family == "gemini"
    assert call.messages.replayed


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_carrier_returns_what_it_carries(encode: Any) -> None:
    carrier = seal(read({"contents": HELLO}), "anthropic", {"reasoning_details": [DETAIL]})
    signed = {"functionCall": CALL["parts"][0]["functionCall"], "thought_signature": encode(carrier.encode()).decode()}
    body = {"contents": [*HELLO, {"role": "model", "parts": [signed]}, result(output="x")]}

    call, foreign = read(body), read(body, principal=_OTHER)

    assert call.body["messages"][1]["reasoning_details"] == [DETAIL]
    assert (call.family, call.dropped) == ("anthropic", ())
    assert "reasoning_details" not in foreign.body["messages"][1]
    assert (foreign.family, foreign.dropped) == (None, ("contents.thoughtSignature",))


def test_native_body_has_no_carriers() -> None:
    carrier = seal(read({"contents": HELLO}), "anthropic", {"reasoning_details": [DETAIL]})
    signature = b64encode(carrier.encode()).decode()
    parts = [
        {"text": "x", "thoughtSignature": signature},
        {"functionCall": CALL["parts"][0]["functionCall"], "thought_signature": signature},
        {"text": "y", "thoughtSignature": "Z29vZ2xl"},
    ]
    skip = b64encode(b"skip_thought_signature_validator").decode()

    call = read({"labels": {"a": "b"}, "contents": [*HELLO, {"role": "model", "parts": parts}]})

    assert call.native is not None
    assert json.loads(call.native.raw) == {
        "labels": {"a": "b"},
        "contents": [
            *HELLO,
            {"role": "model", "parts": [{"text": "x"}, {**parts[1], "thought_signature": skip}, parts[2]]},
        ],
    }
    assert call.native.raw[call.native.spans["labels"].value :].startswith(b'{"a": "b"}')
    assert call.native.dropped == ("contents.thoughtSignature",)


class _Tenant(Principal):
    key_id = "other"


_OTHER = _Tenant("other")


def test_what_has_no_counterpart_is_named() -> None:
    call = read(
        {
            "contents": [{"parts": [{"text": "x", "videoMetadata": {"fps": 1}}, {"executableCode": {"code": "1"}}]}],
            "safetySettings": [{}],
            "labels": None,
            "store": False,
            "tools": [{"urlContext": {}}],
            "generationConfig": {"topK": 3, "mediaResolution": "LOW"},
        }
    )

    assert set(call.dropped) == {
        "contents.videoMetadata",
        "contents.executableCode",
        "safetySettings",
        "tools.urlContext",
        "generationConfig.topK",
        "generationConfig.mediaResolution",
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": [7]}, "contents[0]"),
        ({"contents": [{"parts": "x"}]}, "contents[0].parts[0]"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"role": "model", "parts": [{"odd": 1}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"role": "model", "parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        (
            {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "a", "args": "x"}}]}]},
            "contents[0].parts[0].functionCall.args",
        ),
        ({"contents": [result(output=1)]}, "contents[0].parts[0].functionResponse"),
        ({"contents": [{"parts": [{"inlineData": {"data": "AAAA"}}]}]}, "contents[0].parts[0].inlineData.mimeType"),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "http://[x"}}]}]}, "contents[0].parts[0].fileData.fileUri"),
        ({"contents": HELLO, "systemInstruction": 5}, "systemInstruction"),
        ({"contents": HELLO, "systemInstruction": {"parts": [{"inlineData": PNG}]}}, "systemInstruction.parts"),
        ({"contents": HELLO, "generationConfig": []}, "generationConfig"),
        ({"contents": HELLO, "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"contents": HELLO, "router": {"odd": 1}}, "router.odd"),
        (
            {"contents": [{"parts": [], "role": "user"}, {"parts": [{"fileData": {}, "file_data": {}}]}]},
            "contents[1].parts[0]",
        ),
    ],
)
def test_wrong_member_is_named(body: dict[str, Any], param: str) -> None:
    error = refused(body)

    assert error.param == param
    assert f"`{param}" in str(error)


def test_repeated_member_is_refused() -> None:
    error = refused(b'{"contents": [], "contents": [{"parts": [{"text": "x"}]}]}')

    assert error.param == "contents"


def test_deep_schema_does_no_harm() -> None:
    schema: dict[str, Any] = {"type": "STRING"}
    for _ in range(55):
        schema = {"type": "OBJECT", "properties": {"a": schema}}
    declaration = {"name": "a", "parameters": schema}

    call = read({"contents": HELLO, "tools": [{"functionDeclarations": [declaration]}]})

    assert b"STRING" not in call.raw
    for _ in range(20):
        schema = {"type": "OBJECT", "properties": {"a": schema}}
    declaration["parameters"] = schema
    assert "nested too deeply" in str(refused({"contents": HELLO, "tools": [{"functionDeclarations": [declaration]}]}))


def test_what_a_model_made_of_its_own_kind_is_left_out() -> None:
    parts = [{"inlineData": PNG}, {"thought": True}, {"thoughtSignature": "Z29v"}, {"text": "x"}]

    call = read({"contents": [{"role": "model", "parts": parts}]})

    assert call.body["messages"][0]["content"] == "x"
    assert call.dropped == ("contents.inlineData",)


def test_path_without_a_model_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="must name a model"):
        read({"contents": HELLO}, "/v1beta/models/:generateContent")


def test_only_gemini_reads_its_caches_and_speaks() -> None:
    cached = read({"contents": HELLO, "cachedContent": "cachedContents/1"})
    spoken = read({"contents": HELLO, "generationConfig": {"responseModalities": ["AUDIO"]}})
    plain = read({"contents": HELLO, "generationConfig": {"responseModalities": ["TEXT"]}})
    stored = read({"contents": [*HELLO, {"parts": [{"fileData": {"fileUri": "gs://bucket/a.png"}}]}]})

    assert cached.refused is not None
    assert cached.refused.param == "cachedContent"
    assert spoken.refused is not None
    assert spoken.refused.param == "generationConfig.responseModalities"
    assert plain.refused is None
    assert stored.refused is not None
    assert stored.refused.param == "contents[1].parts[0].fileData.fileUri"


def test_numbers_that_json_lacks_do_no_harm() -> None:
    raw = b'{"contents":[{"role":"model","parts":[{"functionCall":{"name":"a","args":{"n":1e999}}}]}]}'

    call = read(raw)

    assert call.body["messages"][0]["tool_calls"][0]["function"]["arguments"] == '{"n":null}'
