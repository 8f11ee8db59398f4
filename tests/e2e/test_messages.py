"""Anthropic's clients before targets of other dialects: the SDK, Signalbox and an upstream on real sockets."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import Message, ServerToolUseBlock, TextBlock, WebSearchToolResultBlock

from tests.support import upstreams
from tests.support.natives import NativeUpstream
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import DONE, FINISH, ROLE, USAGE, Upstream, Wire, chunk, error, plain, stream

HELLO: Any = [{"role": "user", "content": "Hello there"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {
        "providers": {"up": {"base_url": module_upstream.url, "keys": [{"id": "main", "value": "sk-up"}]}},
        "models": [
            {"id": "up/small", "tier": "low", "price": {"input": 1, "output": 2}},
            {"id": "up/other", "tier": "low", "price": {"input": 2, "output": 4}},
            {"id": "up/limited"},  # whose key is in cooldown after its 429
            {"id": "up/short", "tier": "high", "max_output": 500, "context_window": 8000},
        ],
        "resilience": without_breakers(),
    }
    with signalbox(settings, tmp_path_factory.mktemp("messages")) as running:
        yield running


@pytest.fixture
def upstream(module_upstream: Upstream) -> Upstream:
    module_upstream.clear()
    return module_upstream


@pytest.fixture(scope="module")
def claude(box: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=box.url, api_key="sb-client", max_retries=0) as client:
        yield client


def tool_call(index: int, **members: Any) -> bytes:
    return chunk({"tool_calls": [{"index": index, **members}]})


TOOL_STREAM = [
    ROLE,
    chunk({"reasoning_content": "They want "}),
    chunk({"reasoning_content": "the weather."}),
    chunk({"content": "Let me look."}),
    tool_call(0, id="call_a", type="function", function={"name": "get_weather", "arguments": ""}),
    tool_call(0, function={"arguments": '{"city":'}),
    tool_call(1, id="call_b", type="function", function={"name": "get_weather", "arguments": '{"city": "Rome"}'}),
    tool_call(0, function={"arguments": ' "Oslo"}'}),
    chunk({}, finish="tool_calls"),
    chunk(usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 4}}),
    DONE,
]


def test_sdk_gets_a_whole_message(claude: anthropic.Anthropic, upstream: Upstream) -> None:
    answer = claude.messages.create(model="up/small", max_tokens=100, messages=HELLO, system="Be brief.")

    assert (answer.type, answer.role, answer.model, answer.stop_reason) == (
        "message",
        "assistant",
        "upstream",
        "end_turn",
    )
    assert [block.text for block in answer.content if block.type == "text"] == ["small0 small1 small2 "]
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3)
    assert answer.id.startswith("msg_")
    assert upstream.next().json == {
        "model": "small",
        "messages": [{"role": "system", "content": "Be brief."}, *HELLO],
        "max_completion_tokens": 100,
    }


def test_sdk_streams_thinking_text_and_interleaved_calls(claude: anthropic.Anthropic, upstream: Upstream) -> None:
    upstream.script("small", stream(TOOL_STREAM))

    with claude.messages.stream(model="up/small", max_tokens=100, messages=HELLO, tools=[WEATHER]) as events:
        kinds = [event.type for event in events]
        answer = events.get_final_message()

    assert [block.type for block in answer.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert answer.content[0].thinking == "They want the weather."
    assert answer.content[0].signature.startswith("sbx1.")
    assert [(block.id, block.name, block.input) for block in answer.content[2:]] == [
        ("call_a", "get_weather", {"city": "Oslo"}),
        ("call_b", "get_weather", {"city": "Rome"}),
    ]
    assert (answer.stop_reason, answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == ("tool_use", 3, 4)
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


def test_next_turn_returns_results_and_thinking(claude: anthropic.Anthropic, upstream: Upstream) -> None:
    upstream.script("small", stream(TOOL_STREAM), upstreams.whole)
    with claude.messages.stream(model="up/small", max_tokens=100, messages=HELLO, tools=[WEATHER]) as events:
        answer = events.get_final_message()
    results = [
        {"type": "tool_result", "tool_use_id": "call_a", "content": "rain"},
        {
            "type": "tool_result",
            "tool_use_id": "call_b",
            "content": [{"type": "text", "text": "sun"}],
            "is_error": True,
        },
        {"type": "text", "text": "And?"},
    ]

    claude.messages.create(
        model="up/small",
        max_tokens=100,
        messages=[*HELLO, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}],
        tools=[WEATHER],
    )

    upstream.next()
    sent = upstream.next().json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "user"]
    assert sent[1]["reasoning_content"] == "They want the weather."
    assert [call["id"] for call in sent[1]["tool_calls"]] == ["call_a", "call_b"]
    assert [message["content"] for message in sent[2:]] == ["rain", "Error: sun", "And?"]


def test_fault_before_content_is_unseen(claude: anthropic.Anthropic, upstream: Upstream) -> None:
    upstream.script("small", plain(b'{"error":{"message":"down"}}', 500))

    with claude.messages.stream(model="tier/low", max_tokens=100, messages=HELLO) as events:
        assert "".join(events.text_stream) == "other0 other1 other2 "


def test_cut_stream_ends_with_an_error(box: Running, http: httpx.Client, upstream: Upstream) -> None:
    upstream.script("small", stream([ROLE, chunk({"content": "Hel"})], Wire.reset))
    body = {"model": "up/small", "max_tokens": 9, "messages": HELLO, "stream": True}

    answer = http.post(f"{box.url}/v1/messages?beta=true", json=body)

    events = [event.split("\n")[0] for event in answer.text.split("\n\n") if event]
    assert events == [
        "event: message_start",
        "event: content_block_start",
        "event: content_block_delta",
        "event: error",
    ]
    last = json.loads(answer.text.split("data: ")[-1])
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
    assert last["request_id"] == answer.headers["x-router-id"]


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [(400, "invalid_request_error", anthropic.BadRequestError), (429, "rate_limit_error", anthropic.RateLimitError)],
)
def test_sdk_raises_the_error_of_a_status(
    claude: anthropic.Anthropic, upstream: Upstream, status: int, kind: str, raised: type[anthropic.APIStatusError]
) -> None:
    upstream.script("limited", plain(json.dumps(error("no", "invalid_request_error")).encode(), status))

    with pytest.raises(raised) as found:
        claude.messages.create(model="up/limited", max_tokens=9, messages=HELLO)

    assert found.value.body["error"]["type"] == kind  # type: ignore[index]


def test_unknown_model_is_a_not_found_error(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="does not exist") as found:
        claude.messages.create(model="up/none", max_tokens=9, messages=HELLO)

    assert found.value.body["type"] == "error"  # type: ignore[index]


def test_finish_without_text_is_a_message(claude: anthropic.Anthropic, upstream: Upstream) -> None:
    upstream.script("small", stream([ROLE, FINISH, DONE]))

    with claude.messages.stream(model="up/small", max_tokens=9, messages=HELLO) as events:
        answer = events.get_final_message()

    assert (answer.content, answer.stop_reason) == ([], "end_turn")


def test_tokens_are_estimated_without_a_call(
    claude: anthropic.Anthropic, upstream: Upstream, box: Running, http: httpx.Client
) -> None:
    counted = claude.messages.count_tokens(model="tier/low", messages=HELLO, tools=[WEATHER], system="Be brief.")
    raw = http.post(f"{box.url}/v1/messages/count_tokens?beta=true", json={"model": "up/small", "messages": HELLO})

    assert 10 < counted.input_tokens < 200
    assert raw.json().keys() == {"input_tokens"}
    assert raw.headers["x-router-attempts"] == "0"
    assert upstream.requests == []


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 1},
}


@pytest.fixture(scope="module")
def passing(module_natives: NativeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    url = module_natives.url.removesuffix("/v1")
    settings = {
        "providers": {
            "anthropic": {"dialect": "anthropic", "base_url": url, "keys": [{"id": "a", "value": "sk-a"}]},
            "gemini": {"dialect": "gemini", "base_url": url, "keys": [{"id": "g", "value": "g-1"}]},
        },
        "models": [{"id": "anthropic/claude", "tier": "low"}, {"id": "gemini/flash"}],
        "resilience": without_breakers(),
    }
    with signalbox(settings, tmp_path_factory.mktemp("passing")) as running:
        yield running


def test_anthropic_target_gets_the_client_s_bytes(
    passing: Running, http: httpx.Client, module_natives: NativeUpstream
) -> None:
    module_natives.clear()
    module_natives.script("claude", plain(json.dumps(MESSAGE).encode()))
    raw = b'{"model" : "tier/low", "max_tokens":9,  "messages":[{"role":"user","content":"Hi"}], "new": {"a": 1.50}}'
    headers = {"anthropic-version": "2026-10-21", "anthropic-beta": "new-1", "anthropic-other": "x", "x-api-key": "any"}

    answer = http.post(f"{passing.url}/v1/messages?beta=true", content=raw, headers=headers)

    sent = module_natives.next()
    assert sent.path == "/v1/messages?beta=true"
    assert sent.body == raw.replace(b'"tier/low"', b'"claude"')
    assert {name: sent.headers.get(name) for name in headers} == {**headers, "x-api-key": "sk-a"}
    assert answer.content == json.dumps(MESSAGE).encode()
    assert "x-router-dropped" not in answer.headers


def test_web_search_of_claude_code_is_gemini_s(
    passing: Running, http: httpx.Client, module_natives: NativeUpstream
) -> None:
    module_natives.clear()
    page = {"uri": "https://news.test", "title": "News"}
    support = {"segment": {"startIndex": 0, "endIndex": 4, "text": "Rain"}, "groundingChunkIndices": [0]}
    found = {"webSearchQueries": ["rain"], "groundingChunks": [{"web": page}], "groundingSupports": [support]}
    candidate = {
        "content": {"parts": [{"text": "Rain today.", "thoughtSignature": "czE="}], "role": "model"},
        "finishReason": "STOP",
        "groundingMetadata": found,
    }
    module_natives.script("flash", plain(json.dumps({"candidates": [candidate]}).encode()))
    module_natives.script("claude", plain(json.dumps(MESSAGE).encode()))
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
    body = {"model": "gemini/flash", "max_tokens": 99, "messages": HELLO, "tools": [search]}
    forced = {"tool_choice": {"type": "tool", "name": "web_search"}, "thinking": {"type": "disabled"}}

    answer = Message.model_validate(http.post(f"{passing.url}/v1/messages?beta=true", json=body | forced).json())
    history = [*HELLO, {"role": "assistant", "content": answer.model_dump()["content"]}, *HELLO]
    http.post(f"{passing.url}/v1/messages", json=body | {"model": "tier/low", "messages": history})

    *_, text, step, results = answer.content
    assert isinstance(text, TextBlock)
    assert isinstance(step, ServerToolUseBlock)
    assert isinstance(results, WebSearchToolResultBlock)
    assert [
        (each.url, each.cited_text) for each in text.citations or () if each.type == "web_search_result_location"
    ] == [("https://news.test", "Rain")]
    assert step.input == {"query": "rain"}
    assert isinstance(results.content, list)
    assert [(each.url, each.title) for each in results.content] == [("https://news.test", "News")]
    assert answer.usage.server_tool_use is not None
    assert answer.usage.server_tool_use.web_search_requests == 1
    sent = json.loads(module_natives.requests[-1].body)["messages"][1]["content"]
    assert [(block["type"], block["text"], block.get("citations")) for block in sent] == [("text", "Rain today.", None)]


def test_anthropic_target_counts_tokens(passing: Running, http: httpx.Client, module_natives: NativeUpstream) -> None:
    module_natives.clear()
    module_natives.script("claude", plain(b'{"input_tokens": 1234}'), plain(b'{"type":"error"}', 500))
    body = {"model": "tier/low", "messages": HELLO}

    counted = http.post(f"{passing.url}/v1/messages/count_tokens", json=body)
    estimated = http.post(f"{passing.url}/v1/messages/count_tokens", json=body)

    assert module_natives.next().path == "/v1/messages/count_tokens"
    assert counted.json() == {"input_tokens": 1234}
    assert estimated.status_code == 200
    assert 0 < estimated.json()["input_tokens"] < 100


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_count_that_fails_shows_nothing_about_the_target(
    passing: Running, http: httpx.Client, module_natives: NativeUpstream, status: int
) -> None:
    module_natives.clear()
    failure = plain(module_natives.url.encode(), status, headers={"retry-after": "30"})
    module_natives.script("claude", failure, plain(json.dumps(MESSAGE).encode()))
    body = {"model": "tier/low", "messages": HELLO}

    counted = http.post(f"{passing.url}/v1/messages/count_tokens", json=body)
    answered = http.post(f"{passing.url}/v1/messages", json={**body, "max_tokens": 9})

    assert (counted.status_code, list(counted.json())) == (200, ["input_tokens"])
    assert (answered.status_code, answered.json()) == (200, MESSAGE)
    assert [request.path for request in module_natives.natives] == ["/v1/messages/count_tokens", "/v1/messages"]


def test_count_of_a_wrong_request_is_refused(
    passing: Running, http: httpx.Client, module_natives: NativeUpstream
) -> None:
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"tools: no"},"request_id":"req_up"}'
    module_natives.clear()
    module_natives.script("claude", plain(body, 400))

    answer = http.post(f"{passing.url}/v1/messages/count_tokens", json={"model": "tier/low", "messages": HELLO})

    assert (answer.status_code, answer.content) == (400, body)


def test_error_of_an_anthropic_target_is_unchanged(
    passing: Running, http: httpx.Client, module_natives: NativeUpstream
) -> None:
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"thinking: no"},"request_id":"req_up"}'
    module_natives.clear()
    module_natives.script("claude", plain(body, 400))

    answer = http.post(f"{passing.url}/v1/messages", json={"model": "tier/low", "max_tokens": 9, "messages": HELLO})

    assert (answer.status_code, answer.content) == (400, body)


def test_sdk_lists_models_page_by_page(claude: anthropic.Anthropic) -> None:
    everything = [model.id for model in claude.models.list()]
    page = claude.models.list(limit=1)

    assert {"up/small", "up/other", "tier/low"} <= set(everything)
    assert [model.id for model in page] == everything
    assert claude.models.retrieve("up/small").type == "model"


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("GET", "/v1/models/none", 404, "not_found_error"),
    ],
)
def test_errors_outside_of_calls_have_anthropic_s_shape(
    box: Running, http: httpx.Client, method: str, path: str, status: int, kind: str
) -> None:
    answer = http.request(method, box.url + path, headers={"anthropic-version": "2023-06-01"})

    assert answer.status_code == status
    assert (answer.json()["type"], answer.json()["error"]["type"]) == ("error", kind)
    assert answer.json()["request_id"] == answer.headers["x-router-id"]


def test_pages_of_other_sites_get_anthropic_s_shape(box: Running, http: httpx.Client) -> None:
    answer = http.post(f"{box.url}/v1/messages", json={}, headers={"sec-fetch-site": "cross-site"})

    assert answer.status_code == 403
    assert answer.json()["error"]["type"] == "permission_error"


def test_probe_of_claude_code_is_answered(box: Running, http: httpx.Client) -> None:
    assert http.head(box.url).status_code == 200
    assert http.get(box.url).status_code == 404


def test_request_id_is_a_header(box: Running, http: httpx.Client) -> None:
    answer = http.post(f"{box.url}/v1/messages", json={"model": "up/small", "max_tokens": 9, "messages": HELLO})
    chat = http.post(f"{box.url}/v1/chat/completions", json={"model": "up/small", "messages": HELLO})

    assert answer.headers["request-id"] == answer.headers["x-router-id"]
    assert "request-id" not in chat.headers


def test_large_limit_fits_the_targets_of_a_tier(claude: anthropic.Anthropic, upstream: Upstream) -> None:
    answer = claude.messages.create(model="tier/high", max_tokens=64000, messages=HELLO, timeout=60)

    assert answer.stop_reason == "end_turn"
    assert upstream.next().json["max_completion_tokens"] == 500


def test_silent_stream_gets_pings(module_upstream: Upstream, tmp_path: Path, http: httpx.Client) -> None:
    async def silent(wire: Wire) -> None:
        await wire.head()
        await wire.send(ROLE + chunk({"content": "Hel"}))
        await wire.hold()
        await wire.send(chunk({"content": "lo"}) + FINISH + DONE)
        await wire.end()

    module_upstream.clear()
    module_upstream.script("small", silent)
    settings = {
        "server": {"stream_keep_alive": "20ms"},
        "providers": {"up": {"base_url": module_upstream.url}},
        "models": [{"id": "up/small"}],
    }
    with signalbox(settings, tmp_path) as running:
        body = {"model": "up/small", "max_tokens": 9, "messages": HELLO, "stream": True}
        with http.stream("POST", f"{running.url}/v1/messages", json=body) as answer:
            events = (line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: "))
            first = list(itertools.takewhile(lambda name: name != "ping", events))
            module_upstream.next().release()
            rest = [name for name in events if name != "ping"]

    assert first == ["message_start", "content_block_start", "content_block_delta"]
    assert rest == ["content_block_delta", "content_block_stop", "message_delta", "message_stop"]
