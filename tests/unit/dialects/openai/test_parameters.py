"""What a model does not take is cut out of the body, and every byte beside it stays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from proxy.core.body import parse
from proxy.core.call import Call, NativeRequest, RouterOptions
from proxy.core.model import Deployment, Provider
from proxy.core.plan import Target
from proxy.core.wire import UpstreamRequest
from proxy.dialects.openai.dialect import OpenAIDialect
from tests.unit.routing.build import snapshot

PROVIDER = Provider("openai", "openai", "https://api.example.com/v1")
REASONING = frozenset({"temperature", "top_p", "logprobs", "top_logprobs", "max_tokens"})
EFFORTS = {
    "low": {"reasoning_effort": "low"},
    "medium": {"reasoning_effort": "high", "thinking": {"type": "enabled"}},
    "high": {"enable_thinking": True},
}
OFF = {"thinking": {"type": "disabled"}}


def sent(
    raw: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    endpoint: str = "chat",
    disable_thinking: bool = False,
    native: bool = False,
    **members: Any,
) -> UpstreamRequest:
    content = raw.encode()
    document = parse(content)
    call = Call(
        id="req_1",
        request_id="1",
        endpoint=endpoint,
        raw=content,
        body=document.body,
        model="m",
        stream=document.body.get("stream") is True,
        usage_asked=False,
        options=RouterOptions(disable_thinking=disable_thinking),
        headers={},
        snapshot=snapshot(),
        spans=document.spans,
        native=NativeRequest("messages", b"{}", {}) if native else None,
    )
    return OpenAIDialect().request(call, Target(Deployment(PROVIDER, "m", **members), overrides or {}), None)


def test_a_body_without_refused_parameters_keeps_every_byte() -> None:
    raw = '{ "model":"m",\n "seed" : 1e0 , "messages":[ ] }'

    request = sent(raw, unsupported=REASONING, thinking=EFFORTS, thinking_off=OFF)

    assert request.content == raw.encode()
    assert request.dropped == ()


def test_unsupported_parameters_are_dropped_in_body_order() -> None:
    raw = '{"top_p": 0.50, "model": "m", "messages": [{"content": "temperature é"}], "temperature": 0.7, "seed": 1}'

    request = sent(raw, unsupported=REASONING)

    assert request.content.decode() == '{"model": "m", "messages": [{"content": "temperature é"}], "seed": 1}'
    assert request.dropped == ("top_p", "temperature")


def test_what_is_not_in_the_clients_body_is_not_named() -> None:
    request = sent('{"model":"m","messages":[]}', overrides={"temperature": 0.2, "seed": 5}, unsupported=REASONING)

    assert json.loads(request.content) == {"model": "m", "messages": [], "seed": 5}
    assert request.dropped == ()


def test_unsupported_max_tokens_becomes_max_completion_tokens() -> None:
    request = sent('{"max_tokens": 1e2, "model": "m", "messages": []}', unsupported=REASONING)

    assert request.content == b'{"model": "m", "messages": [],"max_completion_tokens":1e2}'
    assert request.dropped == ()


def test_it_works_the_other_way_round_too() -> None:
    raw = '{"model":"m","max_completion_tokens":  77,"messages":[]}'

    request = sent(raw, unsupported=frozenset({"max_completion_tokens"}))

    assert request.content == b'{"model":"m","messages":[],"max_tokens":77}'
    assert request.dropped == ()


def test_of_two_ceilings_the_one_that_the_model_knows_counts() -> None:
    raw = '{"model":"m","max_tokens":5,"max_completion_tokens":7,"messages":[]}'

    request = sent(raw, unsupported=REASONING)

    assert request.content == b'{"model":"m","max_completion_tokens":7,"messages":[]}'
    assert request.dropped == ("max_tokens",)


@pytest.mark.parametrize(
    "members", ['"max_tokens":5,"max_completion_tokens":null', '"max_completion_tokens":null,"max_tokens":5']
)
def test_a_ceiling_of_null_is_none(members: str) -> None:
    request = sent(f'{{"model":"m",{members},"messages":[]}}', unsupported=REASONING)

    assert json.loads(request.content) == {"model": "m", "max_completion_tokens": 5, "messages": []}
    assert request.dropped == ()


def test_a_scenarios_ceiling_beats_the_clients_under_either_name() -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        raw = f'{{"model":"m","{name}":5,"messages":[]}}'

        request = sent(raw, overrides={"max_tokens": 9}, unsupported=REASONING)

        assert json.loads(request.content) == {"model": "m", "messages": [], "max_completion_tokens": 9}
        assert request.dropped == ()


def test_a_model_that_takes_no_ceiling_loses_both() -> None:
    refused = frozenset({"max_tokens", "max_completion_tokens"})

    request = sent('{"model":"m","max_tokens":5,"messages":[]}', unsupported=refused)

    assert (request.content, request.dropped) == (b'{"model":"m","messages":[]}', ("max_tokens",))


def test_a_ceiling_that_the_model_takes_stays() -> None:
    raw = '{"model":"m","max_tokens":5,"messages":[]}'

    assert sent(raw, unsupported=frozenset({"seed"})).content == raw.encode()


def test_usage_is_not_requested_of_models_without_the_option() -> None:
    raw = '{"model":"m","stream":true,"messages":[]}'

    assert sent(raw, unsupported=frozenset({"stream_options"})).content == raw.encode()
    assert b"include_usage" in sent(raw).content


def test_other_endpoints_lose_refused_parameters_as_well() -> None:
    request = sent('{"model":"m","input":"x","user":"u"}', endpoint="embeddings", unsupported=frozenset({"user"}))

    assert (request.content, request.dropped) == (b'{"model":"m","input":"x"}', ("user",))


def test_an_effort_that_is_the_models_own_word_keeps_every_byte() -> None:
    raw = '{"model":"m", "reasoning_effort" : "low" ,"messages":[]}'

    request = sent(raw, thinking=EFFORTS, thinking_off=OFF)

    assert (request.content, request.dropped) == (raw.encode(), ())


def test_an_effort_becomes_the_members_that_the_model_has_for_it() -> None:
    request = sent('{"model":"m","reasoning_effort":"high","messages":[]}', thinking=EFFORTS)

    assert json.loads(request.content) == {"model": "m", "messages": [], "enable_thinking": True}
    assert request.dropped == ()


def test_an_effort_that_is_replaced_by_another_one_is_named() -> None:
    request = sent('{"model":"m","reasoning_effort":"medium","messages":[]}', thinking=EFFORTS)

    body = json.loads(request.content)
    assert (body["reasoning_effort"], body["thinking"]) == ("high", {"type": "enabled"})
    assert request.dropped == ("reasoning_effort",)


def test_a_scenarios_effort_is_translated_like_the_clients() -> None:
    request = sent('{"model":"m","messages":[]}', overrides={"reasoning_effort": "high"}, thinking=EFFORTS)

    assert json.loads(request.content) == {"model": "m", "messages": [], "enable_thinking": True}
    assert request.dropped == ()


def test_what_the_client_says_natively_stays() -> None:
    raw = '{"model":"m","reasoning_effort":"medium","thinking":{"type":"auto"},"messages":[]}'

    assert json.loads(sent(raw, thinking=EFFORTS).content)["thinking"] == {"type": "auto"}


def test_the_effort_none_switches_thinking_off() -> None:
    request = sent('{"model":"m","reasoning_effort":"none","messages":[]}', thinking=EFFORTS, thinking_off=OFF)

    assert json.loads(request.content) == {"model": "m", "messages": [], **OFF}


@pytest.mark.parametrize("effort", ['"xhigh"', '"none"', "3", "null", "[]"])
def test_an_unknown_effort_is_passed_to_the_upstream(effort: str) -> None:
    raw = f'{{"model":"m","reasoning_effort":{effort},"messages":[]}}'

    assert sent(raw, thinking=EFFORTS).content == raw.encode()


def test_disabled_thinking_is_off_whatever_the_body_asks_for() -> None:
    raw = '{"model":"m","reasoning_effort":"high","thinking":{"type":"enabled"},"messages":[]}'

    request = sent(raw, thinking=EFFORTS, thinking_off=OFF, disable_thinking=True)

    assert json.loads(request.content) == {"model": "m", "messages": [], **OFF}
    assert request.dropped == ("reasoning_effort",)


def test_thinking_that_cannot_be_disabled_is_named() -> None:
    raw = '{"model":"m","messages":[]}'

    request = sent(raw, thinking=EFFORTS, disable_thinking=True)

    assert (request.content, request.dropped) == (raw.encode(), ("router.disable_thinking",))
    assert sent(raw, disable_thinking=True).dropped == ()


@pytest.mark.parametrize(
    ("effort", "members", "kept"),
    [
        ("high", {}, True),
        ("high", {"capabilities": frozenset({"tools"})}, False),
        ("high", {"capabilities": frozenset({"reasoning"})}, True),
        ("none", {}, False),
        ("none", {"thinking_off": {"reasoning_effort": "none"}}, True),
    ],
)
def test_effort_of_a_translated_request_fits_the_model(effort: str, members: dict[str, Any], kept: bool) -> None:
    raw = f'{{"model":"m","reasoning_effort":"{effort}","messages":[]}}'

    request = sent(raw, native=True, **members)

    assert ("reasoning_effort" in json.loads(request.content)) == kept
    assert request.dropped == (() if kept else ("reasoning_effort",))
    assert b"reasoning_effort" in sent(raw, **members).content
