"""What a provider of chats gets for a Responses request: Codex CLI's tool loop, images of tools, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.exchanges import FOLDER
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import Upstream, completion, plain

CLIENTS = FOLDER.parent / "clients"
CODEX: dict[str, Any] = {
    "model": "p/a",
    "input": [
        {"type": "message", "id": "msg_1", "role": "developer", "content": [{"type": "input_text", "text": "Code."}]},
        {"type": "message", "id": "msg_2", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": "gAAA"},
        {
            "type": "function_call",
            "id": "fc_1",
            "status": "completed",
            "name": "close_agent",
            "namespace": "agents",
            "arguments": '{"target": "x"}',
            "call_id": "call_1",
        },
        {"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "closed"},
    ],
    "tools": [
        {"type": "function", "name": "exec_command", "strict": False, "parameters": {"type": "object"}},
        {
            "type": "namespace",
            "name": "agents",
            "description": "For agents.",
            "tools": [{"type": "function", "name": "close_agent", "strict": False, "parameters": {"type": "object"}}],
        },
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto", "effort": "low"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "k",
    "client_metadata": {"thread_id": "t"},
}


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {
        "store": "none",
        "providers": {"p": {"base_url": module_upstream.url, "any_model": True}},
        "models": [{"id": "p/a"}],
        "resilience": without_breakers(),
    }
    with signalbox(settings, tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_upstream: Upstream) -> Upstream:
    module_upstream.clear()
    return module_upstream


def send(box: Running, upstream: Upstream, body: dict[str, Any]) -> tuple[httpx.Response, dict[str, Any]]:
    """Send a request; return the answer, and the body that the provider got."""
    upstream.script("a", plain(json.dumps(completion("Hello")).encode()))
    answer = httpx.post(f"{box.url}/v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    return answer, json.loads(upstream.next().body)


def test_codex_tool_loop_is_a_chat(box: Running, upstream: Upstream) -> None:
    answer, sent = send(box, upstream, CODEX)

    function = {"name": "agents__close_agent", "arguments": '{"target": "x"}'}
    assert sent["messages"] == [
        {"role": "developer", "content": "Code."},
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "closed"},
    ]
    names = [tool["function"]["name"] for tool in sent["tools"]]
    assert names == ["exec_command", "agents__close_agent", "apply_patch"]
    assert sent.keys() == {
        "model",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning_effort",
    }
    assert answer.headers["x-router-dropped"] == "tools.web_search,input.reasoning,client_metadata"


def test_image_of_a_tool_follows_its_output(box: Running, upstream: Upstream) -> None:
    image = {"type": "input_image", "image_url": "https://example.com/a.png"}
    call = {"type": "function_call", "name": "view", "arguments": "{}", "call_id": "call_1"}
    items = [call, {"type": "function_call_output", "call_id": "call_1", "output": [image]}]

    _, sent = send(box, upstream, {"model": "p/a", "input": items})

    assert [message["role"] for message in sent["messages"]] == ["assistant", "tool", "user"]
    assert sent["messages"][2]["content"][1] == {"type": "image_url", "image_url": {"url": image["image_url"]}}


def test_forced_hosted_tool_is_rejected_without_an_attempt(box: Running, upstream: Upstream) -> None:
    body = {"model": "p/a", "input": "x", "tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}

    answer = httpx.post(f"{box.url}/v1/responses", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tool_choice"
    assert upstream.models == []


def test_web_search_is_dropped_for_chat_completions(box: Running, upstream: Upstream) -> None:
    answer, sent = send(box, upstream, {"model": "p/a", "input": "x", "tools": [{"type": "web_search"}]})

    assert "tools" not in sent
    assert answer.headers["x-router-dropped"] == "tools.web_search"


def test_unknown_previous_response_is_rejected(box: Running) -> None:
    answer = httpx.post(
        f"{box.url}/v1/responses", json={"model": "p/a", "input": "x", "previous_response_id": "resp_1"}
    )

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "previous_response_not_found"


@pytest.mark.skipif(not CLIENTS.is_dir(), reason="the recorded requests are not part of the project")
def test_recorded_clients_are_answered(box: Running, upstream: Upstream) -> None:
    requests = [
        request["body"]
        for name in ("codex-exec-tool-loop", "codex-namespaced-call", "codex-output-schema", "responses-api-by-sdks")
        for request in json.loads((CLIENTS / f"{name}.json").read_text())
        if request["path"] == "/v1/responses" and isinstance(request["body"], dict)
    ]
    plain_requests = [
        body for body in requests if not body.get("previous_response_id") and not body.get("conversation")
    ]

    for body in plain_requests:
        answer, sent = send(box, upstream, {**body, "model": "p/a", "stream": False})
        assert answer.json()["status"] == "completed"
        assert sent["messages"][-1]["role"] in ("user", "tool")
