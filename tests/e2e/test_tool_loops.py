"""An open tool loop over real sockets: it stays with the models that signed it, and leaves them only when they fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.natives import NativeUpstream, anthropic_message
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import plain, refuse

QUESTION = {"type": "message", "role": "user", "content": "What is the weather?"}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
THINKING = {"type": "thinking", "thinking": "I should look.", "signature": "c2lnbmF0dXJl"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
ANSWER = plain(json.dumps(anthropic_message(THINKING, USE, reason="tool_use")).encode())


@pytest.fixture(scope="module")
def box(module_natives: NativeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    url = module_natives.url
    settings = {
        "store": "none",
        "auth": {"encryption_key": "k" * 43 + "="},
        "providers": {
            "o": {"base_url": f"{url}/v1", "keys": ["sk-o"]},
            "a": {"dialect": "anthropic", "base_url": url, "keys": ["sk-a"]},
        },
        "models": [{"id": "o/chat"}, {"id": "a/claude"}],
        "routing": {"scenarios": {"both": ["o/chat", "a/claude"]}},
        "resilience": without_breakers(),
    }
    with signalbox(settings, tmp_path_factory.mktemp("loops")) as running:
        yield running


@pytest.fixture
def upstream(module_natives: NativeUpstream) -> NativeUpstream:
    module_natives.clear()
    return module_natives


def ask(box: Running, *items: dict[str, Any], **router: Any) -> httpx.Response:
    """Send the items of a loop."""
    body = {"model": "scenario/both", "input": [QUESTION, *items], "tools": [TOOL], "router": {"debug": True, **router}}
    answer = httpx.post(f"{box.url}/v1/responses", json={**body, "include": ["reasoning.encrypted_content"]})
    answer.raise_for_status()
    return answer


@pytest.fixture
def opened(box: Running, upstream: NativeUpstream) -> list[dict[str, Any]]:
    """The items of a loop that Claude has begun, with the result of its call."""
    upstream.script("claude", ANSWER)
    output = ask(box, providers=["a"]).json()["output"]
    assert [item["type"] for item in output] == ["reasoning", "function_call"]
    return [*output, {"type": "function_call_output", "call_id": output[1]["call_id"], "output": "Sunny."}]


def affinity(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["router"]["affinity"]
    return found


def test_a_new_question_goes_to_the_first_target(box: Running, upstream: NativeUpstream) -> None:
    answer = ask(box)

    assert answer.headers["x-router-provider"] == "o"
    assert "affinity" not in answer.json()["router"]


def test_an_open_loop_stays_with_the_models_that_signed_it(
    box: Running, upstream: NativeUpstream, opened: list[dict[str, Any]]
) -> None:
    answer = ask(box, *opened)

    assert answer.headers["x-router-provider"] == "a"
    assert answer.headers["x-router-reason"].endswith("stays with the family anthropic of the open tool loop")
    assert affinity(answer) == {"family": "anthropic", "kept": True}
    assert upstream.natives[-1].json["messages"][1]["content"] == [THINKING, USE]


def test_a_loop_leaves_models_that_fail(box: Running, upstream: NativeUpstream, opened: list[dict[str, Any]]) -> None:
    upstream.script("claude", refuse(500))

    answer = ask(box, *opened)

    assert answer.headers["x-router-provider"] == "o"
    assert affinity(answer) == {"family": "anthropic", "kept": False}
    assert "messages.reasoning_details" in answer.headers["x-router-dropped"]
    assert "sbx1." not in json.dumps(upstream.natives[-1].json)


def test_a_loop_that_has_ended_goes_to_the_first_target(
    box: Running, upstream: NativeUpstream, opened: list[dict[str, Any]]
) -> None:
    said = {"type": "message", "role": "assistant", "content": "It is sunny."}

    assert ask(box, *opened, said, QUESTION).headers["x-router-provider"] == "o"


def test_a_loop_of_a_client_without_signatures_stays_too(box: Running, upstream: NativeUpstream) -> None:
    upstream.script("claude", ANSWER)
    question = {"role": "user", "content": "What is the weather?"}

    def chat(*messages: Any, **router: Any) -> httpx.Response:
        body = {"model": "scenario/both", "messages": [question, *messages], "router": {"debug": True, **router}}
        return httpx.post(f"{box.url}/v1/chat/completions", json=body).raise_for_status()

    message = chat(providers=["a"]).json()["choices"][0]["message"]
    plain = {name: message[name] for name in ("role", "content", "tool_calls")}
    answer = chat(plain, {"role": "tool", "tool_call_id": "toolu_1", "content": "Sunny."})

    assert affinity(answer) == {"family": "anthropic", "kept": True}
    assert upstream.natives[-1].json["messages"][1]["content"] == [THINKING, USE]
