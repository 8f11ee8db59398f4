"""Where a call to Anthropic goes, with which headers, and what is remembered between two turns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.model import ProviderKey
from proxy.core.recall import Recall
from tests.support.fakes import FakeClock
from tests.unit.dialects.anthropic.build import (
    END,
    THINKING,
    USER,
    WEATHER,
    block,
    call,
    chunks_of,
    decoded,
    dialect,
    facts,
    sent,
    start,
    stop,
    target,
    text,
    tool,
)

KEY = ProviderKey("main", "sk-secret")
SIGNED = {"type": "thinking", "thinking": "Rain?", "signature": "sig1"}
THOUGHT = (
    {"type": "thinking", "thinking": ""},
    {"type": "thinking_delta", "thinking": "Ra"},
    {"type": "thinking_delta", "thinking": "in?"},
    {"type": "signature_delta", "signature": "sig1"},
)


@pytest.mark.parametrize(
    "base", ["https://a.example", "https://a.example/", "https://a.example/v1", "https://a.example/v1/"]
)
def test_the_path_is_there_once_whatever_the_base_url(base: str) -> None:
    request = dialect().request(call(), target(provider={"base_url": base}), KEY)

    assert request.url == "https://a.example/v1/messages"
    assert request.method == "POST"


def test_the_key_goes_into_anthropics_own_header() -> None:
    headers = dialect().request(call(), target(), KEY).headers

    assert headers["x-api-key"] == "sk-secret"
    assert "authorization" not in headers
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["accept-encoding"] == "identity"


def test_a_provider_sets_key_header_version_and_own_headers() -> None:
    provider = {"auth_header": "api-key", "api_version": "2024-01-01", "headers": {"X-Team": "blue"}}

    headers = dialect().request(call(), target(provider=provider), KEY).headers

    assert (headers["api-key"], headers["anthropic-version"], headers["x-team"]) == ("sk-secret", "2024-01-01", "blue")
    assert "x-api-key" not in headers


def test_a_configured_authorization_header_has_a_bearer_token() -> None:
    headers = dialect().request(call(), target(provider={"auth_header": "Authorization"}), KEY).headers

    assert headers["authorization"] == "Bearer sk-secret"
    assert "x-api-key" not in headers


def test_a_keyless_provider_gets_no_credential() -> None:
    headers = dialect().request(call(), target(), None).headers

    assert not {"x-api-key", "authorization"} & set(headers)


def test_the_clients_beta_stands_beside_the_providers() -> None:
    asked = call({"anthropic-beta": "b-1", "traceparent": "00-x", "accept": "text/html"}, stream=True)

    headers = dialect().request(asked, target(provider={"headers": {"anthropic-beta": "a-1"}}), KEY).headers

    assert headers["anthropic-beta"] == "a-1,b-1"
    assert (headers["traceparent"], headers["accept"]) == ("00-x", "text/event-stream")


def test_an_answer_has_one_id_and_the_upstreams_model() -> None:
    raw = decoded(call(stream=True), [start(), text(0, "Hi", "!"), stop(), END])

    chunks = chunks_of(raw)

    assert {(chunk["id"], chunk["model"], chunk["created"]) for chunk in chunks} == {
        ("chatcmpl-abc", "claude-x-1", 1_800_001_000)
    }
    assert raw.endswith(b"data: [DONE]\n\n")


def turn(recall: Recall, messages: list[dict[str, Any]], number: int) -> dict[str, Any]:
    """One turn of a loop: the request is sent, the answer thinks and calls."""
    asked = call(messages=messages, tools=[WEATHER], reasoning_effort="low", max_tokens=9000, stream=True)
    body, dropped = sent(asked, target(thinking=THINKING), recall)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert dropped == ()
    answer = [start(), block(0, *THOUGHT), tool(1, f"toolu_{number}", "get_weather", "{}"), stop("tool_use"), END]
    return facts(decoded(asked, answer, target(), recall))


@pytest.mark.parametrize("echoes", [True, False])
def test_a_loop_of_five_turns_keeps_its_signed_thinking(echoes: bool) -> None:
    recall, messages = Recall(FakeClock()), [USER]

    for number in range(5):
        found = turn(recall, messages, number)
        echo = {"reasoning_details": found["reasoning_details"]} if echoes else {}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": found["tool_calls"], **echo},
            {"role": "tool", "tool_call_id": f"toolu_{number}", "content": "rain"},
        ]
    body, _ = sent(call(messages=messages), target(), None if echoes else recall)

    assert [turn["content"][0] for turn in body["messages"][1::2]] == [SIGNED] * 5


def test_thinking_of_another_model_is_not_replayed() -> None:
    recall = Recall(FakeClock())
    found = turn(recall, [USER], 1)
    loop = [USER, {"role": "assistant", "tool_calls": found["tool_calls"]}, {"role": "tool", "tool_call_id": "toolu_1"}]

    body, _ = sent(call(messages=loop), target(provider={"name": "other"}), recall)

    assert [item["type"] for item in body["messages"][1]["content"]] == ["tool_use"]


def test_remembered_thinking_is_not_sent_with_thinking_disabled() -> None:
    recall = Recall(FakeClock())
    found = turn(recall, [USER], 1)
    loop = [USER, {"role": "assistant", "tool_calls": found["tool_calls"]}, {"role": "tool", "tool_call_id": "toolu_1"}]
    off = target(thinking_off={"thinking": {"type": "disabled"}})

    body, _ = sent(call(messages=loop, router={"disable_thinking": True}), off, recall)

    assert body["thinking"] == {"type": "disabled"}
    assert [item["type"] for item in body["messages"][1]["content"]] == ["tool_use"]


def test_the_body_is_utf_8_as_it_was_said() -> None:
    request = dialect().request(call(messages=[{"role": "user", "content": "Grüße 🌍"}]), target(), None)

    assert "Grüße 🌍".encode() in request.content
    assert json.loads(request.content)["model"] == "claude-x"
