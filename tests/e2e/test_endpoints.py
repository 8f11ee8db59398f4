"""The endpoints beside chat, by the OpenAI SDK and by hand, through Signalbox to upstreams on real sockets.

What an OpenAI-compatible upstream gets is the client's bytes with another `model`; what the client gets is the
upstream's bytes. A fault before the answer is unseen; a cut answer is never one that looks whole.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
from collections.abc import Iterator
from random import Random
from typing import Any

import httpx
import openai
import pytest

from tests.support import exchanges, upstreams
from tests.support.exchanges import Exchange
from tests.support.natives import NativeUpstream, Part, form_of
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import DONE, Script, Wire, event, plain, refuse, stream
from tests.support.waiting import PATIENCE

SOUND = bytes(range(256)) * 40
USAGE = {"prompt_tokens": 4, "total_tokens": 4}
VECTOR = [0.5, -0.25, 3.0]
PACKED = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
HTML = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"


def configuration(url: str) -> dict[str, Any]:
    """Two OpenAI-compatible providers with the same models of every kind, and the two other APIs."""
    kinds = {"embed": "embedding", "instruct": "completion", "painter": "image", "speaker": "audio"}
    models = [{"id": f"{name}/{model}", "kind": kind} for name in ("openai", "spare") for model, kind in kinds.items()]
    return {
        "store": "none",
        "auth": {"admin_token": "admin"},
        "providers": {
            "openai": {"base_url": f"{url}/v1", "keys": [{"id": "main", "value": "sk-openai-0123456789"}]},
            "spare": {"base_url": f"{url}/v1", "stream_usage": "never"},
            "recorded": {"base_url": f"{url}/v1", "any_model": True, "stream_usage": "never"},
            "anthropic": {"dialect": "anthropic", "base_url": url},
            "gemini": {"dialect": "gemini", "base_url": url, "any_model": True},
            "mock": {"dialect": "mock", "any_model": True},
        },
        "models": [
            *models,
            {"id": "openai/moderator", "kind": "moderation"},
            {"id": "openai/cheap", "kind": "embedding", "tier": "low", "price": {"input": 0.02, "output": 0}},
            {"id": "openai/dear", "kind": "embedding", "tier": "low", "price": {"input": 0.2, "output": 0}},
            {"id": "gemini/vectors", "kind": "embedding", "tier": "high"},
            {"id": "openai/chat", "tier": "low", "price": {"input": 0.01, "output": 0}},
            {"id": "anthropic/claude", "tier": "high"},
            {"id": "openai/first", "kind": "embedding", "timeouts": {"total": "300ms"}},
        ],
        "routing": {
            "aliases": {"text-embedding": "openai/embed"},
            "scenarios": {
                **{model: [f"openai/{model}", f"spare/{model}"] for model in kinds},
                "slow": ["openai/first", "spare/embed"],
                "mixed": ["anthropic/claude", "openai/embed"],
            },
        },
        "resilience": without_breakers(same_target=0),
    }


@pytest.fixture(scope="module")
def box(module_natives: NativeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with signalbox(configuration(module_natives.url), tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_natives: NativeUpstream, box: Running, http: httpx.Client) -> NativeUpstream:
    """The module's, with nothing left in it, and no key of ours resting."""
    module_natives.clear()
    http.post(f"{box.url}/admin/breakers/reset", headers={"authorization": "Bearer admin"}).raise_for_status()
    return module_natives


@pytest.fixture
def post(http: httpx.Client, box: Running) -> Any:
    """Post bytes to a path below `/v1`."""

    def post(path: str, content: bytes, **headers: str) -> httpx.Response:
        typed = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        return http.post(f"{box.url}/v1{path}", content=content, headers=typed)

    return post


def answer(value: object) -> Script:
    """A JSON answer, spaced as nobody here would write it."""
    return plain(json.dumps(value, indent=1).encode())


def embeddings(*vectors: Any) -> dict[str, Any]:
    """OpenAI's answer."""
    data = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    return {"object": "list", "data": data, "model": "upstream", "usage": USAGE}


def text_chunk(text: str, finish: str | None = None, **more: Any) -> bytes:
    """One event of a stream of text completions."""
    choices = [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish}]
    return event({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": choices, **more})


COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "m",
    "choices": [{"text": "good", "index": 0, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
MODERATION = {"id": "modr-1", "model": "m", "results": [{"flagged": True, "categories": {}, "category_scores": {}}]}
IMAGE = {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": {"input_tokens": 1, "output_tokens": 2}}


# Embeddings


def test_embeddings_of_an_openai_upstream_through_the_sdk(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    upstream.script("embed", answer(embeddings(PACKED, PACKED)))

    found = sdk.embeddings.create(model="text-embedding", input=["a", "b"], dimensions=3)

    assert [item.embedding for item in found.data] == [VECTOR, VECTOR]
    assert (found.usage.prompt_tokens, found.model) == (4, "upstream")
    assert upstream.requests[0].json == {
        "model": "embed",
        "input": ["a", "b"],
        "dimensions": 3,
        "encoding_format": "base64",
    }
    assert upstream.requests[0].path == "/v1/embeddings"
    assert upstream.requests[0].headers["authorization"] == "Bearer sk-openai-0123456789"


def test_embeddings_pass_byte_for_byte(post: Any, upstream: NativeUpstream) -> None:
    odd = b' {"extra" : [1e400, 0.10],\n"input":[[1,2],[3]] , "model":\t"openai\\/embed", "z":"\\u00e9\xc3\xa9"}\n'
    raw_answer = json.dumps(embeddings([0.1, 1e-8], [0.5]), indent=3).encode() + b"\n"
    upstream.script("embed", plain(raw_answer, headers={"openai-version": "2020-10-01", "set-cookie": "a=b"}))

    found = post("/embeddings", odd)

    assert upstream.requests[0].body == odd.replace(b'"openai\\/embed"', b'"embed"')
    assert (found.status_code, found.content, found.headers["content-type"]) == (200, raw_answer, "application/json")
    assert (found.headers["openai-version"], "set-cookie" in found.headers) == ("2020-10-01", False)
    assert (found.headers["x-router-provider"], found.headers["x-router-model"]) == ("openai", "embed")
    assert found.headers["x-router-route"] == "openai/embed"


@pytest.mark.parametrize(
    ("given", "vectors", "status"),
    [(["a", "b"], 1, 502), ([[1], [2, 3]], 1, 502), ([1, 2, 3], 1, 200), ("a", 1, 200), (["a"], 1, 200)],
)
def test_embeddings_have_a_vector_for_each_input(
    post: Any, upstream: NativeUpstream, given: Any, vectors: int, status: int
) -> None:
    upstream.script("embed", answer(embeddings(*[VECTOR] * vectors)))

    found = post("/embeddings", json.dumps({"model": "openai/embed", "input": given}).encode())

    assert found.status_code == status


def test_what_embeddings_cost_is_told(post: Any, upstream: NativeUpstream) -> None:
    upstream.script("cheap", answer(embeddings(VECTOR)))

    found = post("/embeddings", b'{"model":"openai/cheap","input":"a"}')

    assert found.headers["x-router-cost-usd"] == "0.00000008"


@pytest.mark.parametrize(("path", "needs"), [("/embeddings", "input"), ("/completions", "prompt")])
def test_a_body_that_lacks_what_it_needs_is_refused_here(
    post: Any, upstream: NativeUpstream, path: str, needs: str
) -> None:
    found = post(path, b'{"model":"openai/embed"}')

    assert (found.status_code, found.json()["error"]["param"]) == (400, needs)
    assert upstream.requests == []


@pytest.mark.parametrize("streams", [True, False])
def test_routes_offer_models_of_the_endpoints_kind_only(post: Any, upstream: NativeUpstream, *, streams: bool) -> None:
    for model in ("embed", "cheap", "dear"):
        upstream.script(model, answer(embeddings(VECTOR)))

    tier = post("/embeddings", b'{"model":"tier/low","input":"a"}')
    any_of = post("/embeddings", b'{"model":"auto","input":"a"}')

    assert tier.headers["x-router-model"] == "cheap"  # the cheaper chat model of the tier is none of them
    assert any_of.status_code == 200
    assert any_of.headers["x-router-model"] in ("cheap", "dear", "vectors")
    assert all(request.path != "/v1/chat/completions" for request in upstream.requests)


def test_chat_is_never_routed_to_a_model_of_another_kind(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    found = sdk.chat.completions.create(model="tier/low", messages=[{"role": "user", "content": "Hi"}])

    assert found.choices[0].message.content == upstreams.text_of("chat")


@pytest.mark.parametrize("path", ["/embeddings", "/completions", "/moderations", "/images/generations"])
@pytest.mark.parametrize("model", ["anthropic/claude", "gemini/vectors"])
def test_an_api_without_the_endpoint_is_a_400_that_names_it(
    post: Any, upstream: NativeUpstream, path: str, model: str
) -> None:
    if (path, model) == ("/embeddings", "gemini/vectors"):
        pytest.skip("Gemini has embeddings")

    found = post(path, json.dumps({"model": model, "input": "a", "prompt": "a"}).encode())

    error = found.json()["error"]
    assert (found.status_code, error["type"], error["param"]) == (400, "invalid_request_error", "model")
    assert model in error["message"]
    assert found.headers["x-should-retry"] == "false"
    assert upstream.requests == []


@pytest.mark.parametrize(
    "path", ["/embeddings", "/completions", "/moderations", "/images/generations", "/audio/speech"]
)
def test_the_mock_does_not_make_up_what_it_cannot_answer(post: Any, upstream: NativeUpstream, path: str) -> None:
    found = post(path, b'{"model":"mock/m","input":"a","prompt":"a","voice":"b"}')

    assert (found.status_code, found.json()["error"]["param"]) == (400, "model")


def test_a_scenario_skips_targets_without_the_endpoint(post: Any, upstream: NativeUpstream) -> None:
    upstream.script("embed", answer(embeddings(VECTOR)))

    found = post("/embeddings", b'{"model":"scenario/mixed","input":"a"}')

    assert (found.status_code, found.headers["x-router-model"]) == (200, "embed")
    assert upstream.models == ["embed"]


@pytest.mark.parametrize("model", ["tier/medium", "nope", "openai/nope"])
def test_a_name_that_stands_for_nothing_is_an_error(post: Any, upstream: NativeUpstream, model: str) -> None:
    found = post("/embeddings", json.dumps({"model": model, "input": "a"}).encode())

    assert found.status_code in (400, 404)
    assert found.json()["error"]["code"] in ("no_candidate_available", "model_not_found")


# Embeddings of Gemini


def gemini_values(*vectors: list[float], **more: Any) -> Script:
    value = {"embeddings": [{"values": vector} for vector in vectors]}
    return answer({**(value if len(vectors) > 1 else {"embedding": {"values": vectors[0]}}), **more})


def test_one_text_is_embedded_by_gemini(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    upstream.script("vectors", gemini_values(VECTOR, usageMetadata={"promptTokenCount": 5}))

    found = sdk.embeddings.create(model="gemini/vectors", input="a")

    assert [item.embedding for item in found.data] == [VECTOR]
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (5, 5)
    assert upstream.requests[0].path == "/v1beta/models/vectors:embedContent"
    assert upstream.requests[0].json == {"model": "models/vectors", "content": {"parts": [{"text": "a"}]}}


@pytest.mark.parametrize("form", ["float", "base64"])
def test_texts_are_embedded_by_gemini_in_a_batch(
    sdk: openai.OpenAI, upstream: NativeUpstream, access_log: Any, form: Any
) -> None:
    upstream.script("vectors", gemini_values(VECTOR, [1.0, 2.0, 4.0]))

    raw = sdk.embeddings.with_raw_response.create(
        model="gemini/vectors", input=["a", "b"], encoding_format=form, dimensions=3, user="me"
    )

    values = raw.http_response.json()["data"]
    wanted = [VECTOR, [1.0, 2.0, 4.0]]
    packed = [base64.b64encode(struct.pack("<3f", *vector)).decode() for vector in wanted]
    assert [item["embedding"] for item in values] == (wanted if form == "float" else packed)
    assert [item["index"] for item in values] == [0, 1]
    assert raw.headers["x-router-dropped"] == "user"
    assert raw.headers["content-type"].startswith("application/json")
    assert upstream.requests[0].path.endswith(":batchEmbedContents")
    assert [each["outputDimensionality"] for each in upstream.requests[0].json["requests"]] == [3, 3]
    assert access_log.next()["outcome"] == "ok"


def test_more_texts_than_a_batch_holds_are_split(sdk: openai.OpenAI, upstream: NativeUpstream, access_log: Any) -> None:
    batches = [[[float(n)] for n in range(100)], [[float(n)] for n in range(100, 150)]]
    upstream.script("vectors", *(gemini_values(*batch) for batch in batches))

    found = sdk.embeddings.create(
        model="gemini/vectors", input=[f"text {n}" for n in range(150)], encoding_format="float"
    )

    assert [item.embedding for item in found.data] == batches[0] + batches[1]
    assert [len(request.json["requests"]) for request in upstream.requests] == [100, 50]
    assert access_log.next()["outcome"] == "ok"


@pytest.mark.parametrize("then", [refuse(400, "bad"), plain(b"{}"), gemini_values(VECTOR)])
def test_a_batch_that_fails_fails_the_call(sdk: openai.OpenAI, upstream: NativeUpstream, then: Script) -> None:
    upstream.script("vectors", gemini_values(*[VECTOR] * 100), then)

    with pytest.raises(openai.APIStatusError):
        sdk.embeddings.create(model="gemini/vectors", input=["x"] * 150)


@pytest.mark.parametrize("given", [[1, 2], [[1]], []])
def test_what_gemini_cannot_embed_is_a_400_that_names_it(post: Any, upstream: NativeUpstream, given: Any) -> None:
    found = post("/embeddings", json.dumps({"model": "gemini/vectors", "input": given}).encode())

    assert (found.status_code, found.json()["error"]["param"]) == (400, "input")
    assert upstream.requests == []


@pytest.mark.parametrize("script", [gemini_values(VECTOR, VECTOR), plain(b"{}"), plain(b""), plain(HTML)])
def test_an_answer_of_gemini_without_the_vectors_is_an_error(
    sdk: openai.OpenAI, upstream: NativeUpstream, script: Script
) -> None:
    upstream.script("vectors", script)

    with pytest.raises(openai.InternalServerError) as raised:
        sdk.embeddings.create(model="gemini/vectors", input=["a"])

    assert (raised.value.status_code, raised.value.code) == (502, "upstream_error")


# Text completions


def test_a_text_completion_through_the_sdk(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    upstream.script("instruct", answer(COMPLETION))

    found = sdk.completions.create(model="openai/instruct", prompt="a", echo=True)

    assert (found.choices[0].text, found.usage.total_tokens if found.usage else 0) == ("good", 2)
    assert upstream.requests[0].json == {"model": "instruct", "prompt": "a", "echo": True}


@pytest.mark.parametrize("asks", [True, False])
def test_streamed_completions_have_usage_only_on_request(
    sdk: openai.OpenAI, upstream: NativeUpstream, access_log: Any, *, asks: bool
) -> None:
    usage = text_chunk("", usage=COMPLETION["usage"]).replace(
        b'"choices": [{"text": "", "index": 0, "logprobs": null, "finish_reason": null}]', b'"choices": []'
    )
    upstream.script("instruct", stream([text_chunk("go"), text_chunk("od", "stop"), usage, DONE]))
    more: Any = {"stream_options": {"include_usage": True}} if asks else {}

    parts = list(sdk.completions.create(model="openai/instruct", prompt="a", stream=True, **more))

    assert "".join(choice.text for part in parts for choice in part.choices) == "good"
    assert [part.usage.total_tokens for part in parts if part.usage] == ([2] if asks else [])
    assert [len(part.choices) for part in parts] == ([1, 1, 0] if asks else [1, 1])
    assert upstream.requests[0].json["stream_options"] == {"include_usage": True}
    line = access_log.next()
    assert (line["input_tokens"], line["output_tokens"]) == (1, 1)


def test_usage_is_not_asked_of_an_upstream_that_cannot_tell_it(post: Any, upstream: NativeUpstream) -> None:
    events = [text_chunk("good", "stop"), DONE]
    upstream.script("instruct", stream(events))

    found = post("/completions", b'{"model":"spare/instruct","prompt":"a","stream":true}')

    assert upstream.requests[0].body == b'{"model":"instruct","prompt":"a","stream":true}'
    assert (found.content, found.headers["cache-control"]) == (b"".join(events), "no-cache")


def test_a_completion_of_several_prompts_needs_all_finishes(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    upstream.script("instruct", stream([text_chunk("BAD", "stop")], Wire.eof))

    with pytest.raises(openai.APIError):
        list(sdk.completions.create(model="spare/instruct", prompt=["a", "b"], stream=True))


# Moderations, images


def test_moderations_need_no_model(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    upstream.script("moderator", answer(MODERATION))

    found = sdk.moderations.create(input="a")

    assert found.results[0].flagged
    assert upstream.requests[0].json == {"input": "a", "model": "moderator"}
    assert upstream.requests[0].path == "/v1/moderations"


def test_moderations_of_a_named_model(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    upstream.script("moderator", answer(MODERATION))

    found = sdk.moderations.with_raw_response.create(model="openai/moderator", input=["a"])

    assert found.headers["x-router-route"] == "openai/moderator"


def test_an_image_through_the_sdk(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    upstream.script("painter", answer(IMAGE))

    found = sdk.images.generate(model="openai/painter", prompt="a", size="1024x1024")

    assert found.data is not None
    assert found.data[0].b64_json == "AAAA"
    assert upstream.requests[0].path == "/v1/images/generations"


def test_a_streamed_image_through_the_sdk(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    events = [
        event({"type": f"image_generation.{kind}", "b64_json": "AAAA"})
        for kind in ("partial_image", "partial_image", "completed")
    ]
    upstream.script("painter", stream(events))

    found = list(sdk.images.generate(model="openai/painter", prompt="a", stream=True, partial_images=2))

    assert [part.type for part in found][-1] == "image_generation.completed"
    assert "stream_options" not in upstream.requests[0].json


def test_a_streamed_image_that_breaks_off_is_an_error(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    upstream.script("painter", stream([event({"type": "image_generation.partial_image", "b64_json": "AAAA"})]))
    seen = []

    with pytest.raises(openai.APIError):
        seen += list(sdk.images.generate(model="openai/painter", prompt="a", stream=True))

    assert len(upstream.requests) == 1


# Sound


@pytest.mark.parametrize("chunked", [True, False])
def test_speech_through_the_sdk(sdk: openai.OpenAI, upstream: NativeUpstream, *, chunked: bool) -> None:
    async def script(wire: Wire) -> None:
        await wire.head(content_type="audio/mpeg", length=None if chunked else len(SOUND))
        for at in range(0, len(SOUND), 1000):
            await wire.send(SOUND[at : at + 1000])
        await wire.end()

    upstream.script("speaker", script)

    found = sdk.audio.speech.create(model="openai/speaker", voice="alloy", input="a")

    assert found.content == SOUND
    assert found.response.headers["content-type"] == "audio/mpeg"
    assert upstream.requests[0].json == {"model": "speaker", "voice": "alloy", "input": "a"}
    assert upstream.requests[0].path == "/v1/audio/speech"


def test_speech_is_streamed_through(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    async def script(wire: Wire) -> None:
        await wire.head(content_type="audio/mpeg")
        await wire.send(SOUND[:100])
        await wire.hold()
        await wire.send(SOUND[100:])
        await wire.end()

    upstream.script("speaker", script)

    with sdk.audio.speech.with_streaming_response.create(model="openai/speaker", voice="a", input="a") as found:
        pieces = found.iter_bytes()
        first = next(pieces)
        upstream.next().release()
        rest = b"".join(pieces)

    assert (first, first + rest) == (SOUND[:100], SOUND)


@pytest.mark.parametrize(
    ("missing", "then"),
    [(None, Wire.eof), (None, Wire.reset), (900, Wire.eof), (900, Wire.reset)],
    ids=["chunked-eof", "chunked-reset", "length-eof", "length-reset"],
)
def test_speech_that_is_cut_is_never_a_short_file(
    http: httpx.Client,
    box: Running,
    upstream: NativeUpstream,
    access_log: Any,
    missing: int | None,
    then: Script,
) -> None:
    async def script(wire: Wire) -> None:
        await wire.head(content_type="audio/mpeg", length=None if missing is None else len(SOUND) + missing)
        await wire.send(SOUND)
        await then(wire)

    upstream.script("speaker", script)

    with pytest.raises(httpx.TransportError):
        http.post(f"{box.url}/v1/audio/speech", json={"model": "openai/speaker", "input": "a", "voice": "a"})

    line = access_log.next()
    assert (line["outcome"], line["status"]) == ("partial", 200)


def test_the_sdk_sees_that_speech_was_cut(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    async def script(wire: Wire) -> None:
        await wire.head(content_type="audio/mpeg")
        await wire.send(SOUND)
        await wire.eof()

    upstream.script("speaker", script)

    with pytest.raises(Exception, match=r"(?i)closed|incomplete|connection|protocol"):
        sdk.audio.speech.create(model="openai/speaker", voice="alloy", input="a")


def test_a_debug_record_does_not_spoil_sound(post: Any, upstream: NativeUpstream) -> None:
    upstream.script("speaker", plain(SOUND, content_type="audio/mpeg"))

    found = post("/audio/speech", b'{"model":"openai/speaker","input":"a","voice":"b","router":{"debug":true}}')

    assert (found.status_code, found.content) == (200, SOUND)


def test_speech_as_events_is_streamed_through(http: httpx.Client, box: Running, upstream: NativeUpstream) -> None:
    events = [event({"type": "speech.audio.delta", "audio": "AAAA"}), event({"type": "speech.audio.done"})]
    upstream.script("speaker", upstreams.held(events[:1], events[1:]))
    body = {"model": "openai/speaker", "input": "a", "voice": "b", "stream_format": "sse"}

    with http.stream("POST", f"{box.url}/v1/audio/speech", json=body) as found:
        pieces = found.iter_bytes()
        first = next(pieces)
        upstream.next().release()
        rest = b"".join(pieces)

    assert (first, rest) == (events[0], events[1])
    assert found.headers["content-type"].startswith("text/event-stream")


def sent_form(model: str, *more: tuple[str, str], boundary: str = "----b0") -> bytes:
    """A form as no library would write it."""
    parts = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in more
    ]
    sound = b'; name="file"; filename="s\xc3\xb6und.mp3"\r\nX-Odd:  yes\r\nContent-Type: audio/mpeg\r\n\r\n' + SOUND
    return b"".join(
        [
            b"preamble\r\n",
            *parts,
            f"--{boundary}\r\nContent-Disposition: form-data".encode() + sound + b"\r\n",
            f'--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'.encode(),
            f"--{boundary}--\r\nepilogue".encode(),
        ]
    )


@pytest.mark.parametrize("what", ["transcriptions", "translations"])
def test_a_form_passes_byte_for_byte_but_for_its_model(post: Any, upstream: NativeUpstream, what: str) -> None:
    upstream.script("speaker", plain(b'{ "text":"good"}\n'))
    more = ("prompt", "openai/speaker"), ("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")
    content_type = 'multipart/form-data; charset=utf-8; boundary="----b0"'

    found = post(f"/audio/{what}", sent_form("openai/speaker", *more), content_type=content_type)

    assert (found.status_code, found.content) == (200, b'{ "text":"good"}\n')
    assert upstream.requests[0].body == sent_form("speaker", *more)
    assert upstream.requests[0].headers["content-type"] == content_type
    assert upstream.requests[0].path == f"/v1/audio/{what}"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize("what", ["transcriptions", "translations"])
def test_sound_becomes_text_through_the_sdk(sdk: openai.OpenAI, upstream: NativeUpstream, what: str) -> None:
    upstream.script("speaker", answer({"text": "good"}))
    api: Any = getattr(sdk.audio, what)

    found = api.create(model="scenario/speaker", file=("a.mp3", SOUND), prompt="Zoë")

    parts: dict[str, Part] = {part.name: part for part in upstream.natives[0].form}
    assert found.text == "good"
    assert (parts["model"].text, parts["prompt"].text) == ("speaker", "Zoë")
    assert (parts["file"].content, parts["file"].filename) == (SOUND, "a.mp3")


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_a_transcription_may_be_plain_text(sdk: openai.OpenAI, upstream: NativeUpstream, form: Any) -> None:
    upstream.script("speaker", plain("Zoë\n".encode(), content_type="text/plain; charset=utf-8"))

    found: Any = sdk.audio.transcriptions.create(model="openai/speaker", file=("a.mp3", SOUND), response_format=form)

    assert found == "Zoë\n"


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "application/json"])
@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_a_transcription_of_silence_is_empty(post: Any, upstream: NativeUpstream, form: str, content_type: str) -> None:
    upstream.script("speaker", plain(b"", content_type=content_type))
    content = sent_form("openai/speaker", ("response_format", form))

    found = post("/audio/transcriptions", content, content_type='multipart/form-data; boundary="----b0"')

    assert (found.status_code, found.content) == (200, b"")
    assert len(upstream.requests) == 1


def test_a_streamed_transcription_through_the_sdk(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    events = [{"type": "transcript.text.delta", "delta": "go"}, {"type": "transcript.text.done", "text": "good"}]
    upstream.script("speaker", stream([event(each) for each in events]))

    found = list(sdk.audio.transcriptions.create(model="openai/speaker", file=("a.mp3", SOUND), stream=True))

    assert [part.type for part in found] == ["transcript.text.delta", "transcript.text.done"]


def test_a_streamed_transcription_that_breaks_off_is_an_error(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    upstream.script("speaker", stream([event({"type": "transcript.text.delta", "delta": "go"})], Wire.eof))

    with pytest.raises(openai.APIError):
        list(sdk.audio.transcriptions.create(model="openai/speaker", file=("a.mp3", SOUND), stream=True))


MODEL = b'--B\r\ncontent-disposition: form-data; name="model"\r\n\r\nopenai/speaker\r\n'
FORM = "multipart/form-data; boundary=B"


@pytest.mark.parametrize(
    ("content", "content_type", "param"),
    [
        (MODEL + MODEL + b"--B--", FORM, "model"),
        (MODEL + MODEL.replace(b'"model"', b"model") + b"--B--", FORM, "model"),
        (b"--B--", FORM, "model"),
        (MODEL, FORM, None),
        (MODEL[:-2] + b"--B--", FORM, None),
        (b"", FORM, None),
        (MODEL + b"--B--", "multipart/form-data", "content-type"),
        (b'{"model":"openai/speaker"}', "application/json", "content-type"),
    ],
    ids=["twice", "twice, once unquoted", "no model", "cut", "cut in a part", "empty", "no boundary", "JSON"],
)
def test_a_form_that_is_broken_is_a_400(
    post: Any, upstream: NativeUpstream, content: bytes, content_type: str, param: str | None
) -> None:
    found = post("/audio/transcriptions", content, content_type=content_type)

    assert (found.status_code, found.json()["error"]["param"]) == (400, param)
    assert found.json()["error"]["type"] == "invalid_request_error"
    assert upstream.requests == []


# Faults, fallbacks, clients that leave


FAULTS: dict[str, Script] = {
    "500": upstreams.refuse(500),
    "429": upstreams.refuse(429),
    "401": upstreams.refuse(401),
    "404": upstreams.refuse(404),
    "dropped": upstreams.drop,
    "reset": upstreams.reset,
    "head only": stream([], Wire.reset),
    "empty": plain(b""),
    "HTML": plain(HTML, content_type="text/html"),
    "error in a 200": plain(json.dumps(upstreams.error("no")).encode()),
    "half a JSON text": plain(b'{"object":"list","data":[{"emb'),
    "JSON without its end": plain(b'{"object":"list"', missing=100, then=Wire.eof),
}
CALLS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "embed": ("/embeddings", {"input": "a"}, embeddings(VECTOR)),
    "instruct": ("/completions", {"prompt": "a"}, COMPLETION),
    "painter": ("/images/generations", {"prompt": "a"}, IMAGE),
    "speaker": ("/audio/speech", {"input": "a", "voice": "b"}, None),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("model", CALLS)
def test_a_fault_before_the_answer_is_unseen(
    post: Any, upstream: NativeUpstream, access_log: Any, model: str, fault: str
) -> None:
    path, body, good = CALLS[model]
    raw_answer = SOUND if good is None else json.dumps(good).encode()
    upstream.script(
        model, FAULTS[fault], plain(raw_answer, content_type="audio/mpeg" if good is None else "application/json")
    )

    found = post(path, json.dumps({"model": f"scenario/{model}", **body}).encode())

    assert (found.status_code, found.content) == (200, raw_answer)
    assert (found.headers["x-router-provider"], found.headers["x-router-attempts"]) == ("spare", "2")
    assert access_log.next()["outcome"] == "ok"


def test_a_form_is_sent_again_to_the_next_target(post: Any, upstream: NativeUpstream) -> None:
    upstream.script("speaker", upstreams.refuse(500), plain(b'{"text":"good"}'))

    found = post(
        "/audio/transcriptions", sent_form("scenario/speaker"), content_type="multipart/form-data; boundary=----b0"
    )

    assert (found.content, [request.body for request in upstream.requests]) == (
        b'{"text":"good"}',
        [sent_form("speaker")] * 2,
    )


def test_a_target_that_stalls_is_passed_over(post: Any, upstream: NativeUpstream) -> None:
    upstream.script("first", upstreams.stall)
    upstream.script("embed", answer(embeddings(VECTOR)))

    found = post("/embeddings", b'{"model":"scenario/slow","input":"a"}')

    assert (found.status_code, upstream.models) == (200, ["first", "embed"])


@pytest.mark.parametrize("model", CALLS)
def test_a_request_that_is_bad_is_told_at_once(post: Any, upstream: NativeUpstream, model: str) -> None:
    path, body, _ = CALLS[model]
    upstream.script(model, upstreams.refuse(400, "Your request is odd.", kind="invalid_request_error"))

    found = post(path, json.dumps({"model": f"scenario/{model}", **body}).encode())

    assert (found.status_code, len(upstream.requests)) == (400, 1)
    assert found.json() == upstreams.error("Your request is odd.", kind="invalid_request_error")


def test_a_broken_completion_falls_back_only_before_content(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    whole = stream([text_chunk("good", "stop"), DONE])
    upstream.script("instruct", stream([text_chunk("")], Wire.reset), whole)
    before = list(sdk.completions.create(model="scenario/instruct", prompt="a", stream=True))
    upstream.script("instruct", stream([text_chunk("BAD")], Wire.reset), whole)
    seen: list[str] = []

    parts = sdk.completions.create(model="scenario/instruct", prompt="a", stream=True)
    with pytest.raises(openai.APIError):
        seen.extend(part.choices[0].text for part in parts)

    assert ([part.choices[0].text for part in before], seen) == (["good"], ["BAD"])


def test_a_client_that_leaves_ends_the_call_before_its_answer(
    box: Running, upstream: NativeUpstream, access_log: Any
) -> None:
    upstream.script("embed", upstreams.stall)

    body, url = b'{"model":"openai/embed","input":"a"}', httpx.URL(box.url)
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: [::]\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    with socket.create_connection((url.host, url.port), timeout=PATIENCE) as client:
        client.sendall(head % len(body) + body)
        arrived = upstream.next()

    assert arrived.left() > 0
    assert access_log.next()["outcome"] == "client_closed"


def test_a_disconnect_ends_a_call_during_audio(
    http: httpx.Client, box: Running, upstream: NativeUpstream, access_log: Any
) -> None:
    async def script(wire: Wire) -> None:
        await wire.head(content_type="audio/mpeg")
        await wire.send(SOUND)
        await wire.stall()

    upstream.script("speaker", script)

    body = {"model": "openai/speaker", "input": "a", "voice": "b"}
    with http.stream("POST", f"{box.url}/v1/audio/speech", json=body) as found:
        next(found.iter_raw())

    assert upstream.next().left() > 0
    assert access_log.next()["outcome"] == "client_closed"


# Recorded traffic


def recorded(*kinds: str) -> list[Any]:
    """Recorded exchanges of these kinds of API with status 200, or one skipped case."""
    found = [
        each
        for path in sorted(exchanges.FOLDER.glob("*.jsonl"))
        if not path.name.endswith(".expected.jsonl")
        for each in exchanges.read(path)
        if each["api"].endswith(kinds) and each["request"] and each["response"]["status"] == 200
    ]
    none = pytest.param({}, marks=pytest.mark.skip(reason="no recorded traffic: set SIGNALBOX_RECORDINGS"))
    return [pytest.param(each, id=each["id"]) for each in found] or [none]


@pytest.mark.parametrize("exchange", recorded("-embeddings", "-completions"))
def test_recorded_traffic_passes_unchanged(
    http: httpx.Client, box: Running, upstream: NativeUpstream, exchange: Exchange
) -> None:
    if exchange["api"] == "gemini-embeddings":
        pytest.skip("translated, see below")
    rng, body = Random(exchange["id"]), exchange["request"]["body"]
    model, raw_answer = f"replay-{exchange['id']}", exchanges.answer_of(exchange)
    sent, marked = exchanges.written(body, rng.choice(exchanges.STYLES), f"recorded/{model}", rng)
    upstream.script(model, recorded_answer(exchange, raw_answer, rng))
    path = "/v1/embeddings" if exchange["api"].endswith("-embeddings") else "/v1/completions"

    found = http.post(f"{box.url}{path}", content=sent, headers={"content-type": "application/json"})

    assert (found.status_code, found.content) == (200, raw_answer)
    assert upstream.requests[0].body == marked.replace(b"\0", json.dumps(model).encode())


def recorded_answer(exchange: Exchange, raw_answer: bytes, rng: Random) -> Script:
    """The recorded answer in pieces."""

    async def script(wire: Wire) -> None:
        kind = upstreams.EVENT_STREAM if exchange["stream"] else upstreams.JSON
        await wire.head(200, kind, length=None if exchange["stream"] else len(raw_answer))
        for piece in exchanges.pieces(raw_answer, rng.choice(exchanges.CUTS), rng):
            await wire.send(piece)
        await wire.end()

    return script


@pytest.mark.parametrize("exchange", recorded("gemini-embeddings"))
def test_recorded_embeddings_of_gemini_are_translated(
    sdk: openai.OpenAI, upstream: NativeUpstream, exchange: Exchange
) -> None:
    native = exchange["request"]["body"]["requests"]
    model = f"replay-{exchange['id']}"
    upstream.script(model, recorded_answer(exchange, exchanges.answer_of(exchange), Random(1)))
    texts = [each["content"]["parts"][0]["text"] for each in native]

    found = sdk.embeddings.create(
        model=f"gemini/{model}", input=texts, dimensions=native[0]["outputDimensionality"], encoding_format="float"
    )

    recorded_vectors = [each["values"] for each in exchange["response"]["body"]["embeddings"]]
    wanted = [{**each, "model": f"models/{model}"} for each in native]
    assert [item.embedding for item in found.data] == recorded_vectors
    assert upstream.requests[0].json["requests"] == [
        {name: value for name, value in each.items() if name != "taskType"} for each in wanted
    ]


def test_a_form_is_read_by_the_standard_library_as_it_was_sent() -> None:
    parts = form_of(sent_form("m", ("prompt", "p"), boundary="B"), FORM)

    assert parts is not None
    assert [part.name for part in parts] == ["prompt", "file", "model"]
    assert parts[1].content == SOUND
