"""The mock server on a real port, with the OpenAI SDK."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import openai
import pytest
import uvicorn

from proxy.core.clock import SystemClock
from proxy.core.model import MockOptions
from proxy.mock.server import mock_app
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

MESSAGES: Any = [{"role": "user", "content": "Hello there"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@asynccontextmanager
async def served(options: MockOptions | None = None) -> AsyncIterator[str]:
    """The mock on a free port of the loopback; leaving waits until every request has ended."""
    app = mock_app(options or MockOptions(), SystemClock())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None))
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listening])
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                server.should_exit = True


@asynccontextmanager
async def sdk(options: MockOptions | None = None) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        served(options) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="not-looked-at", max_retries=0) as client,
    ):
        yield client


async def test_a_completion_reads_as_one() -> None:
    async with sdk(MockOptions(tokens=12)) as client:
        answer = await client.chat.completions.create(model="small", messages=MESSAGES)

    assert (answer.choices[0].message.content or "").startswith('[MOCK] You said "Hello there".')
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12


async def test_a_stream_joins_to_the_completion() -> None:
    async with sdk() as client:
        answer = await client.chat.completions.create(model="small", messages=MESSAGES)
        stream = await client.chat.completions.create(
            model="small", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == answer.choices[0].message.content
    assert chunks[-1].usage == answer.usage


async def test_the_sdk_puts_a_streamed_tool_call_together() -> None:
    async with (
        sdk() as client,
        client.chat.completions.stream(model="small", messages=MESSAGES, tools=[WEATHER]) as stream,
    ):
        message = (await stream.get_final_completion()).choices[0].message

    assert message.tool_calls is not None
    assert message.tool_calls[0].function.name == "get_weather"
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "[MOCK] city"}


async def test_models_are_listed() -> None:
    async with sdk() as client:
        listed = [model.id async for model in client.models.list()]

    assert "small" in listed
    assert "small:cut" in listed


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("error", openai.InternalServerError), ("rate_limit", openai.RateLimitError), ("cut", openai.APIConnectionError)],
)
async def test_a_fault_is_the_error_that_the_sdk_has_for_it(fault: str, expected: type[Exception]) -> None:
    async with sdk() as client:
        with pytest.raises(expected):
            await client.chat.completions.create(model=f"small:{fault}", messages=MESSAGES)


async def test_cut_drops_the_connection_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    body = {"model": "small:cut", "messages": MESSAGES, "stream": True}
    got = b""

    async def read(url: str, client: httpx.AsyncClient) -> None:
        nonlocal got
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            async for chunk in response.aiter_bytes():
                got += chunk

    with caplog.at_level(logging.INFO):
        async with served() as url, httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await read(url, client)

    assert b'"role":"assistant"' in got
    assert b"[DONE]" not in got
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_client_that_leaves_before_the_answer_ends_the_request() -> None:
    async with sdk() as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(model="small:timeout", messages=MESSAGES, timeout=0.2)


async def test_a_client_that_leaves_in_mid_stream_ends_the_request() -> None:
    async with sdk(MockOptions(latency=0.1, tokens=100_000)) as client:
        stream = await client.chat.completions.create(model="small", messages=MESSAGES, stream=True)
        first = await anext(stream)
        await stream.close()

    assert first.choices[0].delta.role == "assistant"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
async def test_malformed_json_is_a_400(path: str) -> None:
    async with served() as url, httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE) as client:
        answer = await client.post(path, content=b'{"model": ')

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("POST", "/v1/embeddings", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
    ],
)
async def test_any_other_path_is_refused_in_openai_shape(method: str, path: str, status: int, code: str) -> None:
    async with served() as url, httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE) as client:
        answer = await client.request(method, path)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code


async def test_it_says_that_it_is_healthy() -> None:
    async with served() as url, httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE) as client:
        answer = await client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
