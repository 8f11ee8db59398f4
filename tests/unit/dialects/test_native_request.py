"""Requests that pass to a target of the same API: which bytes change, and which headers go along."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.call import Call, RouterOptions
from proxy.core.dialects import NativeFormat
from proxy.core.errors import InvalidRequest
from proxy.core.model import Deployment, ProviderKey
from proxy.core.plan import Target
from proxy.core.principal import Identified, Principal
from proxy.core.wire import UpstreamRequest
from proxy.dialects.table import Dialects
from tests.support.fakes import FakeClock
from tests.support.native_calls import native_call, native_target

KEY = ProviderKey("main", "sk-main-secret")
NATIVE = Dialects(FakeClock())
MESSAGES = b'{ "max_tokens": 1e2,\n "model" : "auto", "messages":[{"role":"user","content":"\\u00e9"}] , "x": null }'
FORMATS: tuple[NativeFormat, ...] = ("messages", "responses", "generate")


def request(call: Call, deployment: Deployment, **overrides: Any) -> UpstreamRequest:
    assert call.native is not None
    return NATIVE[call.native.format].request(call, Target(deployment, overrides), KEY)


@pytest.mark.parametrize("format", FORMATS[:2])
def test_only_the_model_changes(format: NativeFormat) -> None:
    sent = request(native_call(format, MESSAGES), native_target(format))

    assert sent.content == MESSAGES.replace(b'"auto"', b'"m"')


def test_googles_body_does_not_change() -> None:
    call = native_call("generate", MESSAGES.replace(b'"model" : "auto", ', b""), stream=True)

    sent = request(call, native_target("generate", model="gemini-3"))

    assert call.native is not None
    assert sent.content == call.native.raw
    assert sent.url == "https://a.test/v1/models/gemini-3:streamGenerateContent?alt=sse"


def test_our_own_options_are_removed() -> None:
    raw = b'{"model":"auto","router":{"debug":true},"input":"Hi"}'

    assert request(native_call("responses", raw), native_target("responses")).content == b'{"model":"m","input":"Hi"}'


def test_the_query_passes_without_credentials() -> None:
    call = native_call(
        "messages", query="beta=true&key=secret&API%5FKEY=secret&%24k%65y=secret&x=a%20b&x-api-key=secret&keys"
    )

    sent = request(call, native_target("messages"))

    assert sent.url == "https://a.test/v1/messages?beta=true&x=a%20b&keys"


def test_all_headers_of_the_clients_api_pass() -> None:
    headers = {"anthropic-version": "2026-10-21", "anthropic-beta": "one,two", "anthropic-new": "x"}
    call = native_call("messages", headers={"traceparent": "00-1-2-01", "accept": "*/*"})
    assert call.native is not None
    call = replace(call, native=replace(call.native, headers=headers))
    of = {"auth_header": "x-api-key", "headers": {"Anthropic-Beta": "three", "x-own": "1"}, "api_version": "2023-06-01"}

    sent = request(call, native_target("messages", of=of)).headers

    assert sent == {
        "traceparent": "00-1-2-01",
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "three,one,two",
        "anthropic-new": "x",
        "x-own": "1",
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "x-api-key": "sk-main-secret",
    }


def test_a_version_is_added_for_a_client_without_one() -> None:
    assert request(native_call("messages"), native_target("messages")).headers["anthropic-version"] == "2023-06-01"


def test_counting_tokens_has_its_own_path_and_no_limit() -> None:
    call = native_call("messages", b'{"model":"auto","messages":[]}', operation="count_tokens", query="beta=true")

    sent = request(call, native_target("messages"), max_completion_tokens=100)

    assert sent.url == "https://a.test/v1/messages/count_tokens?beta=true"
    assert sent.content == b'{"model":"m","messages":[]}'


@pytest.mark.parametrize(
    ("format", "raw", "expected"),
    [
        ("messages", b'{"model":"auto","max_tokens":9}', {"model": "m", "max_tokens": 50, "temperature": 0.5}),
        ("responses", b'{"model":"auto"}', {"model": "m", "max_output_tokens": 50, "temperature": 0.5}),
        (
            "generate",
            b'{"generationConfig":{"topK":3}}',
            {"generationConfig": {"topK": 3, "maxOutputTokens": 50, "temperature": 0.5}},
        ),
    ],
)
def test_what_the_configuration_sets_has_native_names(
    format: NativeFormat, raw: bytes, expected: dict[str, Any]
) -> None:
    sent = request(
        native_call(format, raw), native_target(format), max_completion_tokens=50, temperature=0.5, logit_bias={}
    )

    assert json.loads(sent.content) == expected
    assert sent.dropped == ("logit_bias",)


@pytest.mark.parametrize(
    ("format", "thinking", "expected"),
    [
        ("messages", {"low": {"output_config": {"effort": "low"}}}, {"output_config": {"effort": "low"}}),
        ("responses", {}, {"reasoning": {"effort": "low"}}),
        (
            "generate",
            {"low": {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}}},
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}},
        ),
    ],
)
def test_the_effort_that_the_configuration_sets_is_native(
    format: NativeFormat, thinking: dict[str, Any], expected: dict[str, Any]
) -> None:
    call, deployment = native_call(format), native_target(format, thinking=thinking)

    sent = json.loads(request(call, deployment, reasoning_effort="low").content)

    assert {name: sent[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("format", "off", "expected"),
    [
        ("messages", {"thinking": {"type": "disabled"}}, ("thinking", {"type": "disabled"})),
        ("responses", {"reasoning_effort": "none"}, ("reasoning", {"effort": "none"})),
        (
            "generate",
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
            ("generationConfig", {"thinkingConfig": {"thinkingBudget": 0}}),
        ),
    ],
)
def test_thinking_can_be_disabled(format: NativeFormat, off: dict[str, Any], expected: tuple[str, Any]) -> None:
    call = replace(native_call(format), options=RouterOptions(disable_thinking=True))

    sent = request(call, native_target(format, thinking_off=off))
    unable = request(call, native_target(format))

    assert json.loads(sent.content)[expected[0]] == expected[1]
    assert (sent.dropped, unable.dropped) == ((), ("router.disable_thinking",))


def test_models_inside_googles_bodies_are_replaced() -> None:
    raw = b'{"requests":[{"model":"models/auto","content":{}},{"content":{}}]}'
    batch = native_call("generate", raw, operation="batchEmbedContents", query="")
    requests = json.loads(request(batch, native_target("generate")).content)["requests"]

    assert [each["model"] for each in requests] == ["models/m", "models/m"]


@pytest.mark.parametrize("name", ["generateContentRequest", "generate_content_request"])
def test_model_inside_a_counted_request_is_replaced(name: str) -> None:
    raw = json.dumps({name: {"model": "models/auto", "contents": []}}).encode()
    counted = native_call("generate", raw, operation="countTokens")

    sent = json.loads(request(counted, native_target("generate")).content)

    assert sent == {name: {"model": "models/m", "contents": []}}


def test_embeddings_of_vertex_are_refused() -> None:
    call = native_call("generate", operation="embedContent", query="")

    with pytest.raises(InvalidRequest, match="Vertex"):
        request(call, native_target("generate", of={"vertex": True}))


def test_responses_go_to_azures_version() -> None:
    of = {"base_url": "https://acme.test/openai/v1", "api_version": "preview", "auth_header": "api-key"}

    sent = request(native_call("responses"), native_target("responses", of=of))

    assert sent.url == "https://acme.test/openai/v1/responses?api-version=preview"
    assert sent.headers["api-key"] == "sk-main-secret"


def restricted(call: Call, *patterns: str) -> Call:
    principal: Principal = Identified("k", models=(patterns,))
    return replace(call, principal=principal)


FALLBACKS = b'{"model":"auto","fallbacks":%b}'


@pytest.mark.parametrize(
    ("fallbacks", "kept"),
    [
        (b'[{"model":"m2"},{"model":"big"}]', [{"model": "m2"}]),
        (b'[{"model":"m2","model":"big"}]', None),
        (b'[{"model":"big","model":"m2"}]', [{"model": "m2"}]),
        (b'[{"model":"big"},7,{"model":["m2"]},{"m2":["m2"]}]', None),
        (b'[{"model":"m2","fallbacks":[{"model":"m3","models":["big"]}]},{"model":"m4"}]', [{"model": "m4"}]),
        (b'"default"', None),
        (b'{"model":"big"}', None),
    ],
)
def test_fallbacks_name_only_permitted_models(fallbacks: bytes, kept: list[dict[str, Any]] | None) -> None:
    call = restricted(native_call("messages", FALLBACKS % fallbacks), "auto", "a/m*")

    sent = request(call, native_target("messages"))

    assert json.loads(sent.content) == {"model": "m"} | ({"fallbacks": kept} if kept else {})
    assert b"big" not in sent.content
    assert sent.dropped == (() if fallbacks.startswith(b'[{"model":"big","model"') else ("fallbacks",))


def test_fallbacks_of_a_caller_with_all_models_keep_their_bytes() -> None:
    call = native_call("messages", FALLBACKS % b'[ {"model":"big"} ]')

    assert request(call, native_target("messages")).content == b'{"model":"m","fallbacks":[ {"model":"big"} ]}'


def test_tools_name_only_permitted_models() -> None:
    advisor = {"type": "advisor_20260301", "name": "advisor", "model": "big"}
    own = {"type": "advisor_20260301", "name": "advisor", "model": "m2"}
    image = {"type": "image_generation", "model": "gpt-image-2"}
    raw = json.dumps({"model": "auto", "tools": [advisor, {"name": "get"}, own, {"type": "image_generation"}, image]})

    for format in FORMATS[:2]:
        call = restricted(native_call(format, raw.encode()), "auto", "a/m*")
        sent = request(call, native_target(format))
        only = request(replace(call, principal=restricted(call, "auto").principal), native_target(format))

        assert json.loads(sent.content)["tools"] == [{"name": "get"}, own, {"type": "image_generation"}]
        assert sent.dropped == ("tools.advisor_20260301", "tools.image_generation")
        assert json.loads(only.content)["tools"] == [{"name": "get"}, {"type": "image_generation"}]
