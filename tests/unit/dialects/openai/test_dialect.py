"""Requests in the OpenAI dialect: the client's bytes, with the fewest edits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import ProviderKey, Timeouts
from proxy.core.plan import Target
from proxy.core.wire import UpstreamRequest
from proxy.dialects.openai.dialect import OpenAIDialect
from tests.support.calls import call, deployment, provider

KEY = ProviderKey("main", "sk-1")
MESSAGES = b'"messages":[{"role":"user","content":"caf\xc3\xa9 \\u00e9"}]'


def request(
    raw: bytes, *, key: ProviderKey | None = KEY, overrides: Any = None, model: str = "m", **fields: Any
) -> UpstreamRequest:
    headers = fields.pop("headers", {})
    of = provider(**fields)
    return OpenAIDialect().request(
        call(raw, headers=headers), Target(deployment(model, of, timeouts=of.timeouts), overrides or {}), key
    )


def sent(body: bytes, **fields: Any) -> bytes:
    """`body` with `M` for the messages, as it goes out, again with `M`."""
    return request(body.replace(b"M", MESSAGES), **fields).content.replace(MESSAGES, b"M")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"auto",M}', b'{"model":"m",M}'),
        (b' {\n "model" : "auto" ,\n M, "x": 1.0e5 } ', b' {\n "model" : "m" ,\n M, "x": 1.0e5 } '),
        (b'{"model":"m",M}', b'{"model":"m",M}'),
        (b'{"model":"\\u006d",M}', b'{"model":"\\u006d",M}'),
        (b'{"model":"auto",M,"router":{"debug":true}}', b'{"model":"m",M}'),
        (b'{"router":{"debug":true}, "model":"auto",M}', b'{"model":"m",M}'),
        (b'{"router":null,"model":"auto",M}', b'{"model":"m",M}'),
        (b'{"model":"auto",M,"seed":1,"router":{},"seed":2}', b'{"model":"m",M,"seed":1,"seed":2}'),
        (b'{"model":"auto",M,"stream":false}', b'{"model":"m",M,"stream":false}'),
    ],
)
def test_the_model_is_replaced_and_the_router_cut(body: bytes, expected: bytes) -> None:
    assert sent(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m",M,"stream":true}', b'{"model":"m",M,"stream":true,"stream_options":{"include_usage":true}}'),
        (
            b'{"stream_options":null,"model":"m",M,"stream":true}',
            b'{"stream_options":{"include_usage":true},"model":"m",M,"stream":true}',
        ),
        (
            b'{"model":"m",M,"stream":true,"stream_options":{}}',
            b'{"model":"m",M,"stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            b'{"model":"m",M,"stream":true,"stream_options":{"include_usage": false }}',
            b'{"model":"m",M,"stream":true,"stream_options":{"include_usage": true }}',
        ),
        (
            b'{"model":"m",M,"stream":true,"stream_options":{ "include_obfuscation": false }}',
            b'{"model":"m",M,"stream":true,"stream_options":{ "include_obfuscation": false,"include_usage":true }}',
        ),
        (
            b'{"model":"auto",M,"stream":true,"router":{}}',
            b'{"model":"m",M,"stream":true,"stream_options":{"include_usage":true}}',
        ),
    ],
)
def test_usage_is_asked_for_in_a_stream(body: bytes, expected: bytes) -> None:
    assert sent(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m",M,"stream":true,"stream_options":{"include_usage":true}}',
        b'{"model":"m",M}',
        b'{"model":"m",M,"stream":false,"stream_options":null}',
    ],
)
def test_usage_is_requested_only_once_and_only_for_streams(body: bytes) -> None:
    assert sent(body) == body


def test_usage_is_never_asked_for_where_the_provider_cannot() -> None:
    body = b'{"model":"m",M,"stream":true,"stream_options":{"include_obfuscation":false}}'

    assert sent(body, stream_usage="never") == body


def test_a_scenario_s_parameters_replace_and_are_added() -> None:
    body = b'{"model":"auto","temperature": 1 ,M}'

    out = sent(body, overrides={"temperature": 0.2, "stop": ["é"], "user": None})

    assert out == '{"model":"m","temperature": 0.2 ,M,"stop":["é"],"user":null}'.encode()


def test_a_call_without_spans_is_read_again() -> None:
    raw = b'{"router":{},"model":"auto",' + MESSAGES + b',"stream":true,"stream_options":{"include_obfuscation":true}}'
    plain = call(raw)
    bare = replace(plain, spans={})
    target = Target(deployment("m"))

    assert OpenAIDialect().request(bare, target, None) == OpenAIDialect().request(plain, target, None)


BODY = b'{"model":"auto",' + MESSAGES + b"}"


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "https://acme.test/v1/chat/completions"),
        ({"api_version": "2024-10-21"}, "https://acme.test/v1/chat/completions?api-version=2024-10-21"),
        ({"api_version": "a b&c"}, "https://acme.test/v1/chat/completions?api-version=a+b%26c"),
    ],
)
def test_the_url_is_the_provider_s(fields: dict[str, Any], url: str) -> None:
    assert request(BODY, **fields).url == url


@pytest.mark.parametrize(("model", "part"), [("gpt-4o", "gpt-4o"), ("org/m:1 x", "org%2Fm%3A1%20x")])
def test_azure_has_the_model_in_its_base_url(model: str, part: str) -> None:
    base_url = "https://x.azure.test/openai/deployments/{model}"
    azure = provider("azure", base_url=base_url, auth_header="api-key", api_version="v1")

    made = OpenAIDialect().request(call(BODY), Target(deployment(model, azure)), KEY)

    assert made.url == f"https://x.azure.test/openai/deployments/{part}/chat/completions?api-version=v1"
    assert made.headers["api-key"] == "sk-1"
    assert "authorization" not in made.headers


def test_the_key_is_a_bearer_unless_the_header_is_another() -> None:
    assert request(BODY).headers["authorization"] == "Bearer sk-1"
    assert request(BODY, auth_header="Authorization").headers["authorization"] == "Bearer sk-1"
    assert request(BODY, auth_header="X-Api-Key").headers["x-api-key"] == "sk-1"


def test_a_keyless_provider_gets_no_credential() -> None:
    made = request(BODY, key=None, keyless=True)

    assert set(made.headers) == {"content-type", "accept", "accept-encoding"}


@pytest.mark.parametrize(("stream", "accept"), [(b"false", "application/json"), (b"true", "text/event-stream")])
def test_an_answer_is_asked_for_in_its_form_and_uncompressed(stream: bytes, accept: str) -> None:
    made = request(b'{"model":"m","stream":' + stream + b"," + MESSAGES + b"}")

    assert made.headers["accept"] == accept
    assert made.headers["accept-encoding"] == "identity"
    assert made.headers["content-type"] == "application/json"


def test_of_the_client_s_headers_only_the_allowed_pass() -> None:
    allowed = {
        "content-type": "application/json; charset=utf-8",
        "accept": "*/*",
        "openai-beta": "a",
        "anthropic-beta": "b",
        "traceparent": "00-1-2-03",
        "idempotency-key": "k",
    }
    others = dict.fromkeys(
        (
            "authorization",
            "cookie",
            "host",
            "content-length",
            "connection",
            "te",
            "user-agent",
            "accept-encoding",
            "x-stainless-lang",
            "x-forwarded-for",
            "forwarded",
            "via",
            "x-real-ip",
            "openai-organization",
            "openai-project",
            "api-key",
            "x-api-key",
            "proxy-authorization",
            "x-request-id",
            "x-router-debug",
        ),
        "true",
    )

    made = request(BODY, headers={**allowed, **others})

    sent = {**made.headers, **made.extra_headers}
    assert sent == {**allowed, "accept-encoding": "identity", "authorization": "Bearer sk-1"}


def test_provider_headers_beat_client_headers_but_not_the_key() -> None:
    own = {"OpenAI-Beta": "ours", "OpenAI-Organization": "org", "Authorization": "other", "Accept-Encoding": "br"}
    of = provider(headers=own)

    made = OpenAIDialect().request(call(BODY, headers={"openai-beta": "client"}), Target(deployment("m", of)), KEY)

    assert (made.headers["openai-beta"], made.extra_headers) == ("ours", {})
    assert made.headers["openai-organization"] == "org"
    assert made.headers["authorization"] == "Bearer sk-1"
    assert made.headers["accept-encoding"] == "identity"


def test_the_rest_of_a_request_comes_from_the_configuration() -> None:
    made = request(BODY, proxy="http://proxy.test", timeouts=Timeouts(connect=1.5))

    assert (made.method, made.connect_timeout, made.proxy, made.mock) == ("POST", 1.5, "http://proxy.test", None)


def test_no_repr_shows_the_key_the_headers_or_the_prompt() -> None:
    made = request(BODY, proxy="http://user:word@proxy.test")

    assert "sk-1" not in repr(made)
    assert "caf" not in repr(made)
    assert "word" not in repr(made)


CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n'
SSE = {"content-type": "text/event-stream; charset=utf-8"}
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'


@pytest.mark.parametrize(
    ("options", "stream_usage", "kept"),
    [
        (b"", "ask", False),
        (b"", "never", True),
        (b',"stream_options":{"include_usage":true}', "ask", True),
        (b',"stream_options":{"include_usage":false}', "ask", False),
    ],
)
def test_only_the_usage_that_we_alone_asked_for_is_taken_out(options: bytes, stream_usage: Any, kept: bool) -> None:
    made = call(b'{"model":"m","stream":true,' + MESSAGES + options + b"}")

    decoder = OpenAIDialect().decoder(made, Target(deployment("m", provider(stream_usage=stream_usage))), SSE)

    assert decoder.feed(CHUNK + USAGE) == (CHUNK + USAGE if kept else CHUNK)


@pytest.mark.parametrize(("overrides", "complete"), [({}, False), ({"n": 1}, True), ({"n": 3}, False)])
def test_a_stream_is_complete_with_all_requested_choices(overrides: Any, complete: bool) -> None:
    made = call(b'{"model":"m","stream":true,"n":2,' + MESSAGES + b"}")

    decoder = OpenAIDialect().decoder(made, Target(deployment("m"), overrides), SSE)
    decoder.feed(CHUNK)

    assert decoder.complete is complete


def test_an_answer_that_does_not_stream_is_given_whole() -> None:
    decoder = OpenAIDialect().decoder(call(BODY), Target(deployment("m")), {})
    body = b'{"choices":[{"message":{}}]}'

    assert (decoder.feed(body[:5]), decoder.feed(body[5:])) == (b"", b"")
    assert decoder.finish() == body


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "text/html"])
def test_a_plain_answer_to_a_streamed_call_is_read_as_plain(kind: str) -> None:
    made = call(b'{"model":"m","stream":true,' + MESSAGES + b"}")

    decoder = OpenAIDialect().decoder(made, Target(deployment("m")), {"content-type": kind})
    decoder.feed(b'{"error":{"message":"no room",\n\n"code":503}}')

    with pytest.raises(UpstreamFailure, match="no room") as failed:
        decoder.finish()
    assert failed.value.kind == FailureKind.OVERLOADED


JSON_LABEL = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "text/plain"}, SSE, JSON_LABEL, {"content-type": "text/html"}]
)
def test_a_stream_is_read_whatever_else_its_type_is(headers: dict[str, str]) -> None:
    made = call(b'{"model":"m","stream":true,' + MESSAGES + b"}")

    decoder = OpenAIDialect().decoder(made, Target(deployment("m")), headers)

    assert decoder.feed(CHUNK) == CHUNK
    assert (decoder.committed, decoder.complete, decoder.closed, decoder.fault) == (True, True, False, None)


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\r\n", b": hello\n\n", b"event: x\n", b""])
def test_events_labelled_as_json_are_events_however_they_are_cut(start: bytes) -> None:
    made = call(b'{"model":"m","stream":true,' + MESSAGES + b"}")
    decoder = OpenAIDialect().decoder(made, Target(deployment("m")), JSON_LABEL)

    out = b"".join(decoder.feed(bytes([byte])) for byte in start + CHUNK + b"data: [DONE]\n\n")

    assert out.endswith(CHUNK + b"data: [DONE]\n\n")
    assert (decoder.closed, decoder.finish(), decoder.usage, decoder.native_finish) == (True, b"", None, None)


@pytest.mark.parametrize("body", [b"", b" ", b"<html>", b"[]", b'"text"', b"\x00"])
def test_what_is_labelled_as_no_stream_and_is_none_fails_over(body: bytes) -> None:
    made = call(b'{"model":"m","stream":true,' + MESSAGES + b"}")
    decoder = OpenAIDialect().decoder(made, Target(deployment("m")), JSON_LABEL)

    with pytest.raises(UpstreamFailure) as failed:
        decoder.feed(body) + decoder.finish()

    assert (failed.value.kind, decoder.committed) == (FailureKind.MALFORMED, False)


def test_an_error_is_classified() -> None:
    failure = OpenAIDialect().failure(429, {"retry-after": "3"}, b'{"error":{"message":"slow down"}}', 0.0)

    assert (failure.kind, failure.retry_after, str(failure)) == (FailureKind.RATE_LIMITED, 3.0, "slow down")
