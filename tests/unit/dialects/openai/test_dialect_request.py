"""OpenAIDialect in the OpenAI format: what is prepared once, and what belongs to one call."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.core.model import Deployment, ProviderKey
from proxy.core.plan import Target
from proxy.core.principal import Identified
from proxy.core.wire import UpstreamRequest
from proxy.dialects.openai import dialect as module
from proxy.dialects.openai.dialect import OpenAIDialect
from proxy.dialects.openai.edits import edited_body
from proxy.dialects.openai.parameters import Edits, edits_of, may_need_edits
from proxy.dialects.refused import pairs_of
from tests.support.calls import HELLO, STREAM, call, deployment, provider

KEY = ProviderKey("main", "sk-1")
OTHER = ProviderKey("other", "sk-2")
ACME = deployment("m", provider())


def built(
    requests: OpenAIDialect, raw: bytes = HELLO, key: ProviderKey | None = KEY, of: Deployment = ACME, **headers: str
) -> UpstreamRequest:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(call(raw, headers=sent), Target(of), key)


def test_headers_are_prepared_once_for_a_deployment_and_a_key() -> None:
    requests = OpenAIDialect()
    first = built(requests, accept="*/*")

    again = built(requests, accept="*/*", traceparent="00-1")

    assert again.headers is first.headers
    assert again.extra_headers == {"traceparent": "00-1"}
    assert not first.extra_headers


def test_prepared_headers_are_not_shared_where_they_differ() -> None:
    requests = OpenAIDialect()

    assert built(requests).headers["authorization"] == "Bearer sk-1"
    assert built(requests, key=OTHER).headers["authorization"] == "Bearer sk-2"
    assert "authorization" not in built(requests, key=None).headers
    assert built(requests, STREAM).headers["accept"] == "text/event-stream"
    assert built(requests, accept="*/*").headers["accept"] == "*/*"
    assert built(requests, of=deployment("m", provider(headers={"x-a": "1"}))).headers["x-a"] == "1"


def test_client_cannot_replace_a_prepared_header() -> None:
    of = deployment("m", provider(auth_header="Idempotency-Key"))

    request = built(OpenAIDialect(), of=of, idempotency_key="client")

    assert (request.headers["idempotency-key"], request.extra_headers) == ("sk-1", {})


def test_number_of_prepared_headers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PREPARED", 3)
    requests = OpenAIDialect()

    for number in range(10):
        assert built(requests, accept=str(number)).headers["accept"] == str(number)

    assert len(requests._prepared) <= 3  # noqa: SLF001


def test_call_that_names_the_model_itself_keeps_its_bytes() -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}'

    assert built(OpenAIDialect(), raw).content is raw


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", '{"include_usage":true}'),
        (',"stream_options":null', '{"include_usage":true}'),
        (',"stream_options":{ }', '{"include_usage":true}'),
        (',"stream_options":{"a": 1 }', '{"a": 1,"include_usage":true }'),
        (',"stream_options":{"include_usage" : false}', '{"include_usage" : true}'),
    ],
)
def test_streams_are_asked_for_their_usage(options: str, expected: str) -> None:
    raw = f'{{"model":"m","messages":[{{"role":"user"}}],"stream":true{options}}}'

    request = built(OpenAIDialect(), raw.encode())

    assert request.asks_usage
    assert f'"stream_options":{expected}}}' in request.content.decode()


def test_messages_are_read_only_where_they_may_be_edited() -> None:
    plain, replayed = (
        call(b'{"model":"m","messages":[{"role":"assistant","content":"x"%b}]}' % more)
        for more in (b"", b',"images":[{"type":"image_url"}]')
    )

    assert (plain.messages.replayed, replayed.messages.replayed) == (False, True)
    assert OpenAIDialect().request(plain, Target(ACME), KEY).content is plain.raw
    assert OpenAIDialect().request(replayed, Target(ACME), KEY).dropped == ("messages.images",)


RULES = ["temperature", "top_p", "max_tokens", "stop", "temperature+top_p", "seed+n", "max_completion_tokens"]
MEMBERS = st.dictionaries(
    st.sampled_from(["temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "reasoning_effort"]),
    st.sampled_from([None, 1, 2]),
)


@settings(max_examples=300, deadline=None)
@given(MEMBERS, st.frozensets(st.sampled_from(RULES)), st.booleans())
def test_body_that_needs_no_edits_gets_none(members: dict[str, Any], unsupported: frozenset[str], off: bool) -> None:
    effort = {"1": {"enable_thinking": True}}
    of = deployment("m", provider(), unsupported=unsupported, thinking=effort, thinking_off={"enable_thinking": False})
    text = {"reasoning_effort": str(members.pop("reasoning_effort"))} if "reasoning_effort" in members else {}
    router = {"router": {"disable_thinking": True}} if off else {}
    asked = call(json.dumps({**json.loads(HELLO), **members, **text, **router}).encode())
    target = Target(of)

    if not may_need_edits(asked, target, asked.spans, pairs_of(unsupported)):
        assert edits_of(asked, target, asked.spans) == Edits({})
    with suppress(InvalidRequest):
        requests = OpenAIDialect()
        sent = requests.request(asked, target, KEY)
        [prepared] = requests._prepared.values()  # noqa: SLF001
        edited = edited_body(asked, target, prepared)
        assert (sent.content, sent.dropped, sent.asks_usage) == edited


@pytest.mark.parametrize("name", ["models", "fallbacks"])
@pytest.mark.parametrize(
    ("models", "kept"),
    [
        ('["m2","big",{"model":"m3","models":["m4"]},1]', ["m2", {"model": "m3", "models": ["m4"]}]),
        ('["m2"]', ["m2"]),
        ('["m2",{"model":"m3","fallbacks":["big"]}]', ["m2"]),
        ('["big"]', None),
        ('"big"', None),
    ],
)
def test_further_models_are_only_permitted_ones(name: str, models: str, kept: Any) -> None:
    raw = HELLO.replace(b"{", f'{{"{name}":{models},'.encode(), 1)
    asked = call(raw)
    asked.principal = Identified("k", models=(("auto", "acme/m*"),))

    sent = OpenAIDialect().request(asked, Target(ACME), KEY)

    assert json.loads(sent.content)[name] == kept
    assert b"big" not in sent.content
    assert sent.dropped == (() if models == '["m2"]' else (name,))
    assert models.encode() in built(OpenAIDialect(), raw).content
