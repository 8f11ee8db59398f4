"""Clients of Google's API (the `google-genai` SDK, and Gemini CLI's requests) over providers of all dialects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from tests.support.natives import (
    NativeUpstream,
    anthropic_message,
    anthropic_stream,
    gemini_chunk,
    gemini_stream,
    google,
)
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import Script, Wire, chunk, plain, refuse, stream

WEATHER = types.FunctionDeclaration(
    name="get_weather",
    description="The weather in a city",
    parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
MODELS = {"openai": "openai/gpt", "anthropic": "anthropic/claude", "gemini": "gemini/flash"}
UPSTREAM = {"openai": "gpt", "anthropic": "claude", "gemini": "flash"}
each_dialect = pytest.mark.parametrize("dialect", MODELS)
each_form = pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])


def configuration(url: str) -> dict[str, Any]:
    keys = [{"id": "main", "value": "the-provider-key"}]
    return {
        "store": "none",
        "auth": {"admin_token": "admin", "encryption_key": "an encryption key of 32 bytes or more"},
        "providers": {
            "openai": {"base_url": f"{url}/v1", "keys": keys},
            "anthropic": {"dialect": "anthropic", "base_url": url, "keys": keys},
            "gemini": {"dialect": "gemini", "base_url": url, "keys": keys},
        },
        "models": [
            {"id": "openai/gpt"},
            {"id": "openai/vectors", "kind": "embedding"},
            {"id": "anthropic/claude", "thinking": {"high": {"thinking": {"type": "enabled", "budget_tokens": 2048}}}},
            {"id": "gemini/flash"},
            {"id": "gemini/embedder", "kind": "embedding"},
        ],
        "routing": {
            "aliases": {"gemini-3.8-flash": "openai/gpt"},
            "scenarios": {"two": ["openai/gpt", "anthropic/claude"]},
        },
        "resilience": {**without_breakers(same_target=0), "queue": {"max_wait": "0s"}},
    }


@pytest.fixture(scope="module")
def box(module_natives: NativeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with signalbox(configuration(module_natives.url), tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_natives: NativeUpstream, box: Running, http: httpx.Client) -> NativeUpstream:
    module_natives.clear()
    http.post(f"{box.url}/admin/breakers/reset", headers={"authorization": "Bearer admin"}).raise_for_status()
    return module_natives


@pytest.fixture(scope="module")
def client(box: Running) -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=box.url, retry_options=types.HttpRetryOptions(attempts=1))
    with genai.Client(api_key="sb-client", http_options=options) as found:
        yield found


def answer(dialect: str, *, text: str = "", call: dict[str, Any] | None = None, thinking: str = "") -> Script:
    """The same answer in a provider's own format, streamed or not, as the request asks."""

    async def script(wire: Wire) -> None:
        events, whole = _ANSWERS[dialect](text, call, thinking)
        if wire.request.path.endswith(":streamGenerateContent"):
            await plain(json.dumps([whole]).encode())(wire)
        else:
            await (stream(events) if wire.request.stream else plain(json.dumps(whole).encode()))(wire)

    return script


def _openai(text: str, call: dict[str, Any] | None, thinking: str) -> tuple[list[bytes], dict[str, Any]]:
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    deltas: list[dict[str, Any]] = []
    if thinking:
        message["reasoning_content"] = thinking
        deltas.append({"reasoning_content": thinking})
    if text:
        deltas += [{"content": text[:3]}, {"content": text[3:]}]
    if call:
        arguments = json.dumps(call)
        function = {"name": "get_weather", "arguments": arguments}
        message["tool_calls"] = [{"id": "call_up", "type": "function", "function": function}]
        begun = {"index": 0, "id": "call_up", "type": "function", "function": {**function, "arguments": ""}}
        rest = [{"index": 0, "function": {"arguments": piece}} for piece in (arguments[:4], arguments[4:])]
        deltas += [{"tool_calls": [each]} for each in (begun, *rest)]
    finish = "tool_calls" if call else "stop"
    choice = {"index": 0, "message": message, "finish_reason": finish}
    whole = {"id": "chatcmpl-9", "object": "chat.completion", "model": "upstream", "choices": [choice], "usage": USAGE}
    events = [chunk({"role": "assistant"}), *map(chunk, deltas), chunk({}, finish=finish), chunk(usage=USAGE)]
    return [*events, b"data: [DONE]\n\n"], whole


def _anthropic(text: str, call: dict[str, Any] | None, thinking: str) -> tuple[list[bytes], dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if thinking:
        content.append({"type": "thinking", "thinking": thinking, "signature": "c2ln"})
    if text:
        content.append({"type": "text", "text": text})
    if call:
        content.append({"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": call})
    reason = "tool_use" if call else "end_turn"
    return anthropic_stream(*content, reason=reason), anthropic_message(*content, reason=reason)


def _gemini(text: str, call: dict[str, Any] | None, thinking: str) -> tuple[list[bytes], dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": thinking, "thought": True}] if thinking else []
    parts += [{"text": text}] if text else []
    parts += [{"functionCall": {"name": "get_weather", "args": call}, "thoughtSignature": "c2ln"}] if call else []
    return gemini_stream(*parts), gemini_chunk(*parts, finish="STOP")


_ANSWERS = {"openai": _openai, "anthropic": _anthropic, "gemini": _gemini}


def generate(client: genai.Client, streams: bool, model: str, contents: Any, **config: Any) -> list[Any]:
    """The answer's objects."""
    settings = types.GenerateContentConfig(**config)
    if streams:
        return list(client.models.generate_content_stream(model=model, contents=contents, config=settings))
    return [client.models.generate_content(model=model, contents=contents, config=settings)]


def text_of(answers: list[Any]) -> str:
    parts = [part for each in answers for part in each.candidates[0].content.parts or []]
    return "".join(part.text for part in parts if part.text and not part.thought)


@each_form
@each_dialect
def test_text_reaches_the_client(dialect: str, streams: bool, upstream: NativeUpstream, client: genai.Client) -> None:
    upstream.script(UPSTREAM[dialect], answer(dialect, text="Grüße, 日本 🚦"))

    answers = generate(client, streams, MODELS[dialect], "Hello", system_instruction="Be brief.", temperature=0.5)

    assert text_of(answers) == "Grüße, 日本 🚦"
    assert answers[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert answers[-1].usage_metadata.prompt_token_count > 0


@each_form
@each_dialect
def test_tool_loop_returns_to_the_model(
    dialect: str, streams: bool, upstream: NativeUpstream, client: genai.Client
) -> None:
    upstream.script(UPSTREAM[dialect], answer(dialect, call={"city": "Zürich"}), answer(dialect, text="Rain."))
    tools = [types.Tool(function_declarations=[WEATHER])]

    first = generate(client, streams, MODELS[dialect], "Weather?", tools=tools)
    [asked] = [part for each in first for part in each.candidates[0].content.parts if part.function_call]
    response = types.FunctionResponse(id=asked.function_call.id, name="get_weather", response={"output": "rain"})
    contents = [
        types.Content(role="user", parts=[types.Part(text="Weather?")]),
        types.Content(role="model", parts=[asked]),
        types.Content(role="user", parts=[types.Part(function_response=response)]),
    ]
    second = generate(client, streams, MODELS[dialect], contents, tools=tools)

    assert (asked.function_call.name, asked.function_call.args) == ("get_weather", {"city": "Zürich"})
    assert text_of(second) == "Rain."


@each_form
def test_thinking_of_another_family_survives_a_tool_loop(
    streams: bool, upstream: NativeUpstream, client: genai.Client
) -> None:
    upstream.script("claude", answer("anthropic", thinking="Hm.", call={"city": "Bern"}), answer("anthropic", text="x"))
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_level=types.ThinkingLevel.HIGH)
    config: dict[str, Any] = {
        "tools": [types.Tool(function_declarations=[WEATHER])],
        "thinking_config": thinking,
    }

    first = generate(client, streams, "anthropic/claude", "Weather?", **config)
    parts = [part for each in first for part in each.candidates[0].content.parts]
    kept = [part for part in parts if not part.thought]  # Gemini CLI sends no thoughts back
    response = types.FunctionResponse(id=kept[-1].function_call.id, name="get_weather", response={"output": "rain"})
    contents = [
        types.Content(role="user", parts=[types.Part(text="Weather?")]),
        types.Content(role="model", parts=kept),
        types.Content(role="user", parts=[types.Part(function_response=response)]),
    ]
    generate(client, streams, "anthropic/claude", contents, **config)

    assert "".join(part.text for part in parts if part.thought) == "Hm."
    sent = upstream.natives[-1].json["messages"][1]["content"]
    assert sent[0] == {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    assert sent[-1]["type"] == "tool_use"


def test_array_without_alt_sse(upstream: NativeUpstream, box: Running, http: httpx.Client) -> None:
    body = {"contents": [{"parts": [{"text": "Hello"}]}]}
    found = {}
    for dialect, model in MODELS.items():
        upstream.script(UPSTREAM[dialect], answer(dialect, text="Some text", call={"city": "Bern"}))

        response = http.post(f"{box.url}/v1beta/models/{model}:streamGenerateContent", json=body)

        assert response.headers["content-type"].startswith("application/json"), dialect
        found[dialect] = response.json()
    for dialect, objects in found.items():
        parts = [part for each in objects for part in each["candidates"][0]["content"]["parts"]]
        assert "".join(part.get("text", "") for part in parts) == "Some text", dialect
        assert [part["functionCall"]["args"] for part in parts if "functionCall" in part] == [{"city": "Bern"}], dialect
        assert objects[-1]["candidates"][0]["finishReason"] == "STOP", dialect


def test_tokens_are_counted_or_estimated(upstream: NativeUpstream, client: genai.Client) -> None:
    upstream.script("flash", plain(b'{"totalTokens": 31}'))

    counted = client.models.count_tokens(model="gemini/flash", contents="Hello there")
    estimated = client.models.count_tokens(model="openai/gpt", contents="Hello there")

    assert counted.total_tokens == 31
    assert [request.path for request in upstream.natives] == ["/v1beta/models/flash:countTokens"]
    assert estimated.total_tokens is not None
    assert 2 < estimated.total_tokens < 20


def test_embeddings_of_another_provider(upstream: NativeUpstream, client: genai.Client) -> None:
    vectors = [{"object": "embedding", "index": n, "embedding": [n, 0.5]} for n in range(2)]
    upstream.script("vectors", plain(json.dumps({"object": "list", "model": "v", "data": vectors}).encode()))
    config = types.EmbedContentConfig(output_dimensionality=2, task_type="RETRIEVAL_QUERY")

    answered = client.models.embed_content(model="openai/vectors", contents=["a", "b"], config=config)

    assert [each.values for each in answered.embeddings or []] == [[0, 0.5], [1, 0.5]]
    assert upstream.natives[0].json == {"model": "vectors", "input": ["a", "b"], "dimensions": 2}


def test_gemini_embeds_for_a_task(upstream: NativeUpstream, client: genai.Client) -> None:
    upstream.script("embedder", plain(b'{"embeddings": [{"values": [0.5]}]}'))
    config = types.EmbedContentConfig(task_type="RETRIEVAL_QUERY")

    answered = client.models.embed_content(model="gemini/embedder", contents=["a"], config=config)

    assert [each.values for each in answered.embeddings or []] == [[0.5]]
    [request] = upstream.natives[0].json["requests"]
    assert (request["model"], request["taskType"]) == ("models/embedder", "RETRIEVAL_QUERY")


def test_only_gemini_has_cached_contents(upstream: NativeUpstream, client: genai.Client) -> None:
    upstream.script("flash", answer("gemini", text="x"))

    cached = generate(client, False, "gemini/flash", "Hello", cached_content="cachedContents/1")
    with pytest.raises(errors.ClientError, match="choose a Gemini model"):
        generate(client, False, "openai/gpt", "Hello", cached_content="cachedContents/1")

    assert text_of(cached) == "x"
    assert upstream.models == ["flash"]


def test_single_embedding_has_its_own_shape(upstream: NativeUpstream, box: Running, http: httpx.Client) -> None:
    answered = {"object": "list", "data": [{"embedding": [0.25]}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    upstream.script("vectors", plain(json.dumps(answered).encode()))
    body = {"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "taskType": "CLUSTERING"}

    response = http.post(f"{box.url}/v1beta/models/openai/vectors:embedContent", json=body)

    assert response.json() == {"embedding": {"values": [0.25]}, "usageMetadata": {"promptTokenCount": 3}}
    assert response.headers["x-router-dropped"] == "taskType"
    assert upstream.natives[0].json == {"model": "vectors", "input": "a\nb"}


@each_form
def test_errors_have_the_shape_of_google(streams: bool, upstream: NativeUpstream, client: genai.Client) -> None:
    upstream.script("gpt", refuse(429, "slow down", {"retry-after": "7"}))

    with pytest.raises(errors.ClientError) as unknown:
        generate(client, streams, "gemini-9", "Hello")
    with pytest.raises(errors.ClientError) as limited:
        generate(client, streams, "openai/gpt", "Hello")
    with pytest.raises(errors.ClientError) as wrong:
        generate(client, streams, "openai/gpt", [types.Content(role="judge", parts=[types.Part(text="x")])])

    assert (unknown.value.code, unknown.value.status) == (404, "NOT_FOUND")
    assert "gemini-9" in str(unknown.value.message)
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert {each["@type"] for each in limited.value.details["error"]["details"]} == {
        f"{RPC}ErrorInfo",
        f"{RPC}RetryInfo",
    }
    assert (wrong.value.code, wrong.value.status) == (400, "INVALID_ARGUMENT")
    [violation] = wrong.value.details["error"]["details"][1]["fieldViolations"]
    assert violation["field"] == "contents[0].role"


RPC = "type.googleapis.com/google.rpc."


def test_fallback_before_the_first_token_is_unseen(upstream: NativeUpstream, client: genai.Client) -> None:
    upstream.script("gpt", stream([chunk({"role": "assistant"})], Wire.reset))
    upstream.script("claude", answer("anthropic", text="Here."))

    answers = generate(client, True, "scenario/two", "Hello")

    assert text_of(answers) == "Here."
    assert upstream.models == ["gpt", "claude"]


@pytest.mark.parametrize("end", [Wire.reset, Wire.end], ids=["reset", "no-finish"])
@each_dialect
def test_a_broken_stream_is_an_error(dialect: str, end: Any, upstream: NativeUpstream, client: genai.Client) -> None:
    upstream.script(UPSTREAM[dialect], stream(BEGUN[dialect], end))
    seen: list[Any] = []

    with pytest.raises(errors.ServerError) as broken:
        seen.extend(client.models.generate_content_stream(model=MODELS[dialect], contents="Hello"))

    assert text_of(seen) != ""
    assert all(each.candidates[0].finish_reason is None for each in seen)
    assert broken.value.status == "UNAVAILABLE"
    assert "broke off" in str(broken.value.message)


BEGUN = {
    "openai": [chunk({"content": "Some "}), chunk({"content": "text"})],
    "anthropic": anthropic_stream({"type": "text", "text": "Some text"})[:4],
    "gemini": [google({"candidates": [{"content": {"parts": [{"text": "Some text"}], "role": "model"}}]})],
}


def test_error_of_gemini_in_a_stream_reaches_the_client(upstream: NativeUpstream, client: genai.Client) -> None:
    failed = google({"error": {"code": 503, "message": "overloaded now", "status": "UNAVAILABLE"}})
    upstream.script("flash", stream([*BEGUN["gemini"], failed]))
    seen: list[Any] = []

    with pytest.raises(errors.ServerError, match="overloaded now"):
        seen.extend(client.models.generate_content_stream(model="gemini/flash", contents="Hello"))

    assert text_of(seen) == "Some text"


def test_gemini_gets_the_bytes_of_the_client_and_no_credential(
    upstream: NativeUpstream, box: Running, http: httpx.Client
) -> None:
    raw = b'{ "contents" : [{"parts":[{"text":"\\u00fc"}]}], "cachedContent": "c/1", "new_member": [1e400] }'
    upstream.script("flash", answer("gemini", text="x"))
    headers = {"x-goog-api-key": "the-client-key", "content-type": "application/json"}
    url = f"{box.url}/v1/models/gemini/flash:streamGenerateContent?key=the-client-key&alt=sse"

    response = http.post(url, content=raw, headers=headers)

    [sent] = upstream.natives
    assert response.status_code == 200
    assert sent.path == "/v1beta/models/flash:streamGenerateContent?alt=sse"
    assert sent.body == raw
    assert sent.headers["x-goog-api-key"] == "the-provider-key"
    assert "the-client-key" not in str(sent.headers)


def test_what_is_dropped_is_named_unless_the_target_is_gemini(
    upstream: NativeUpstream, box: Running, http: httpx.Client
) -> None:
    body = {"contents": [{"parts": [{"text": "Hello"}]}], "tools": [{"urlContext": {}}], "labels": {"a": "b"}}
    dropped = {}
    for dialect, model in MODELS.items():
        upstream.script(UPSTREAM[dialect], answer(dialect, text="x"))
        response = http.post(f"{box.url}/v1beta/models/{model}:generateContent", json=body)
        dropped[dialect] = response.headers.get("x-router-dropped")

    named = "labels,tools.urlContext"
    assert dropped == {"openai": named, "anthropic": named, "gemini": None}
    assert upstream.natives[-1].json == body


def test_usage_is_in_words_of_google(upstream: NativeUpstream, client: genai.Client) -> None:
    upstream.script("gpt", answer("openai", text="x", thinking="Hm."))

    for streams in (True, False):
        usage = generate(client, streams, "openai/gpt", "Hello")[-1].usage_metadata

        assert (usage.prompt_token_count, usage.cached_content_token_count) == (20, 5)
        assert (usage.candidates_token_count, usage.thoughts_token_count, usage.total_token_count) == (5, 4, 29)
    assert upstream.natives[0].json["stream_options"] == {"include_usage": True}


def test_models_are_listed_in_the_shape_of_google(box: Running, client: genai.Client, http: httpx.Client) -> None:
    listed = {model.name: model for model in client.models.list(config={"page_size": 2})}
    found = client.models.get(model="openai/gpt")
    with pytest.raises(errors.ClientError) as missing:
        client.models.get(model="gemini-9")
    openai = http.get(f"{box.url}/v1/models").json()["data"]

    assert set(listed) == {f"models/{model['id']}" for model in openai}
    assert found.name == "models/openai/gpt"
    assert found.supported_actions == ["generateContent", "streamGenerateContent", "countTokens"]
    assert (missing.value.code, missing.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/v1beta/other", "/v1beta/models/openai/gpt:unknown"])
def test_unknown_paths_are_errors_of_google(path: str, box: Running, http: httpx.Client) -> None:
    response = http.post(box.url + path, json={})

    assert response.json()["error"]["code"] == response.status_code
    assert response.json()["error"]["status"] in ("NOT_FOUND", "UNIMPLEMENTED")
