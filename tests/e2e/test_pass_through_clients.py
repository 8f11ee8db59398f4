"""Clients of the Messages, Responses and generateContent APIs before a provider with the same API."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai

from tests.support import exchanges
from tests.support.natives import (
    ANTHROPIC,
    GEMINI,
    RESPONSES,
    NativeUpstream,
    WireFormat,
    anthropic_stream,
    response,
)
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import Script, plain, stream, text_of
from tests.support.waiting import until

SECRET = "sk-provider-0123456789abcdef"
CLIENTS = Path(os.environ.get("SIGNALBOX_CLIENTS") or exchanges.ROOT.parent / "shared" / "clients")
SAID: Any = [{"role": "user", "content": "Say the words."}]
WORDS = text_of("m")


@pytest.fixture(scope="module")
def box(module_natives: NativeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    url = module_natives.url
    common = {"any_model": True, "keys": [{"id": "main", "value": SECRET}]}
    providers = {
        "anthropic": {"dialect": "anthropic", "base_url": url, **common},
        "openai": {"base_url": f"{url}/v1", "responses": "native", **common},
        "gemini": {"dialect": "gemini", "base_url": url, **common},
    }
    price = {"input": 1, "output": 2, "cached_input": 0.1, "cache_write": 1.25}
    config = {
        "store": "sqlite",
        "auth": {"admin_token": "admin"},
        "providers": providers,
        "models": [{"id": "anthropic/priced", "price": price}],
        "resilience": without_breakers(attempts=1),
    }
    with signalbox(config, tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_natives: NativeUpstream) -> NativeUpstream:
    module_natives.clear()
    return module_natives


def test_anthropics_sdk_gets_thinking_tools_and_usage(
    http: httpx.Client, box: Running, upstream: NativeUpstream
) -> None:
    thinking = {"type": "thinking", "thinking": "They want the weather.", "signature": "c2ln"}
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}
    usage = {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 10}
    upstream.script("priced", stream(anthropic_stream(thinking, call, reason="tool_use", **usage)))
    client = anthropic.Anthropic(base_url=box.url, api_key="sb-client", max_retries=0)

    with client.messages.stream(model="anthropic/priced", max_tokens=100, messages=SAID) as events:
        answer = events.get_final_message()
        id = events.response.headers["x-router-id"]

    assert [block.type for block in answer.content] == ["thinking", "tool_use"]
    assert answer.stop_reason == "tool_use"
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (7, 100)
    assert upstream.natives[-1].headers["x-api-key"] == SECRET
    row: dict[str, Any] = {}

    def is_settled() -> bool:
        row.update(http.get(f"{box.url}/admin/requests/{id}", headers={"authorization": "Bearer admin"}).json())
        return "input_tokens" in row

    until(is_settled)
    assert (row["input_tokens"], row["output_tokens"]) == (117, 3)
    assert row["cost_usd"] == pytest.approx((7 * 1 + 100 * 0.1 + 10 * 1.25 + 3 * 2) / 1e6)


def test_openais_sdk_continues_a_response(box: Running, upstream: NativeUpstream) -> None:
    first = response("It is sunny.", id="resp_first", object="response")
    upstream.script("m", plain(json.dumps(first).encode()), stream([*RESPONSES.opening, *RESPONSES.closing]))
    client = openai.OpenAI(base_url=f"{box.url}/v1", api_key="sb-client", max_retries=0)

    before = client.responses.create(model="openai/m", input="How is the weather?")
    with client.responses.stream(model="openai/m", input="And now?", previous_response_id=before.id) as events:
        after = events.get_final_response()

    assert (before.id, before.output_text) == ("resp_first", "It is sunny.")
    assert after.status == "completed"
    sent = upstream.natives[-1].json
    assert "previous_response_id" not in sent
    assert [item.get("role") for item in sent["input"]] == ["user", "assistant", "user"]
    assert json.dumps(sent["input"]).count("sunny") == 1
    assert client.responses.retrieve(before.id).output_text == "It is sunny."


def test_googles_sdk_streams_and_counts(box: Running, upstream: NativeUpstream) -> None:
    client = genai.Client(api_key="sb-client", http_options=genai.types.HttpOptions(base_url=box.url))
    upstream.script("counted", plain(b'{"totalTokens": 31}'))

    pieces = [chunk.text for chunk in client.models.generate_content_stream(model="gemini/m", contents="Say it.")]
    counted = client.models.count_tokens(model="gemini/counted", contents="Say it.")

    assert "".join(text or "" for text in pieces) == WORDS
    assert counted.total_tokens == 31
    assert [request.headers["x-goog-api-key"] for request in upstream.natives] == [SECRET, SECRET]
    assert all("sb-client" not in f"{request.path} {request.headers}" for request in upstream.natives)


REPLAYED = sorted(path.name for path in CLIENTS.glob("*.json")) if CLIENTS.is_dir() else []
PROVIDERS = {"/v1/messages": "anthropic", "/v1/responses": "openai"}
APIS = {"anthropic": ANTHROPIC, "openai": RESPONSES, "gemini": GEMINI}
OWN = ("previous_response_id", "conversation", "prompt", "background")  # state of the proxy, not of the provider
ENDS = (":batchEmbedContents", ":embedContent", ":countTokens", "/compact", "/input_tokens")


class Replay:
    """One recorded request of a client, sent through."""

    def __init__(self, http: httpx.Client, box: Running, upstream: NativeUpstream, request: dict[str, Any]) -> None:
        path, body = request["path"], request["body"]
        plain_path = path.partition("?")[0]
        provider = PROVIDERS.get(plain_path.removesuffix("/count_tokens"), "gemini")
        model = "m" if provider != "gemini" else plain_path.rpartition("/")[2].partition(":")[0]
        streams = bool(body.get("stream")) or ":stream" in path
        upstream.script(model, _answer(APIS[provider], streams=streams, counts="count_tokens" in path))
        if provider == "gemini":
            sent = wanted = body
            path = path.replace("/models/", "/models/gemini/")
        else:
            sent, wanted = {**body, "model": f"{provider}/m"}, {**body, "model": "m"}
        headers = {name.lower(): value for name, value in request["headers"]}
        passed = {name: value for name, value in headers.items() if name not in ("host", "content-length")}
        answer = http.post(f"{box.url}{path}", content=json.dumps(sent, indent=1).encode(), headers=passed)
        arrived = upstream.natives[-1]
        leaked = [name for name in arrived.headers if name.startswith(("x-stainless", "cookie", "x-claude"))]
        own = {name: value for name, value in headers.items() if name.startswith("anthropic-")}
        self.unchanged = (
            answer.status_code == 200
            and arrived.body == json.dumps(wanted, indent=1).encode()
            and own.items() <= arrived.headers.items()
            and not leaked
            and ("beta=true" in path) == ("beta=true" in arrived.path)
        )
        self.text = f"{path}: {answer.status_code} {answer.content[:300]!r} {arrived.path} {leaked}"


def _answer(wire_format: WireFormat, *, streams: bool, counts: bool) -> Script:
    if streams:
        return stream([*wire_format.opening, *wire_format.words("Hi"), *wire_format.closing])
    return plain(b'{"input_tokens":3}' if counts else wire_format.body("Hi"))


def _passes(request: dict[str, Any]) -> bool:
    body, path = request["body"], request["path"]
    return request["method"] == "POST" and not path.endswith(ENDS) and not any(body.get(name) for name in OWN)


@pytest.mark.parametrize("file", REPLAYED)
def test_requests_of_clients_pass_unchanged(
    http: httpx.Client, box: Running, upstream: NativeUpstream, file: str
) -> None:
    requests = [each for each in json.loads((CLIENTS / file).read_text()) if _passes(each)]

    replays = [Replay(http, box, upstream, request) for request in requests]

    assert [each.text for each in replays if not each.unchanged] == []
