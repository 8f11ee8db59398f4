"""Other clients as they come: LangChain's `ChatOpenAI`, and the `openai` package of Node.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.support.servers import ROOT, RecordingUpstream, recording_upstream, signalbox
from tests.support.waiting import PATIENCE

langchain = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")

NODE = ROOT / ".cache" / "node"
ODD = "vendor/model-x:free@1~b"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, RecordingUpstream]]:
    """The base URL for clients, and the upstream."""
    with recording_upstream() as (url, upstream):
        settings = {
            "providers": {"up": {"base_url": url}, "open": {"base_url": url, "any_model": True}},
            "models": [
                {"id": "up/small", "tier": "low"},
                {"id": "up/large", "tier": "high"},
                {"id": f"up/{ODD}"},
            ],
            "routing": {"aliases": {"cheap": "tier/low"}},
            "resilience": {"retry": {"backoff": "1ms", "max_backoff": "1ms"}, "breaker": {"consecutive": 100}},
        }
        with signalbox(settings, tmp_path_factory.mktemp("others")) as box:
            yield f"{box.url}/v1", upstream


# LangChain


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


@pytest.fixture
def chat(running: tuple[str, RecordingUpstream]) -> Any:
    running[1].requests.clear()
    return langchain.ChatOpenAI(model="tier/low", base_url=running[0], api_key="any", max_retries=0)


def test_langchain_gets_an_answer(chat: Any) -> None:
    answer = chat.invoke("Hello there")

    assert answer.content.startswith('[MOCK] You said "Hello there".')
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["model_name"] == "small"


def test_langchain_streams(chat: Any) -> None:
    chunks = list(chat.stream("Hello there"))

    assert len(chunks) > 5
    assert "".join(chunk.content for chunk in chunks) == chat.invoke("Hello there").content


@pytest.mark.anyio
async def test_langchain_streams_asynchronously(chat: Any) -> None:
    text = "".join([chunk.content async for chunk in chat.astream("Hello there")])

    assert text.startswith("[MOCK]")


def test_langchain_gets_the_usage_of_a_stream(chat: Any) -> None:
    usage = [chunk.usage_metadata for chunk in chat.stream("Hello there", stream_usage=True) if chunk.usage_metadata]

    assert len(usage) == 1
    assert usage[0]["output_tokens"] > 0


@pytest.mark.parametrize("stream", [False, True])
def test_langchain_calls_tools(chat: Any, stream: bool) -> None:
    bound = chat.bind_tools([get_weather])

    if stream:
        first, *rest = bound.stream("Weather?")
        answer = sum(rest, first)
    else:
        answer = bound.invoke("Weather?")

    [call] = answer.tool_calls
    assert (call["name"], list(call["args"])) == ("get_weather", ["city"])


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_gets_structured_output(chat: Any, method: str) -> None:
    person = chat.with_structured_output(Person, method=method).invoke("Who?")

    assert isinstance(person, Person)


def test_langchain_passes_options_of_our_own(running: tuple[str, RecordingUpstream]) -> None:
    chat = langchain.ChatOpenAI(
        model="auto", base_url=running[0], api_key="any", extra_body={"router": {"providers": ["up/large"]}}
    )

    assert chat.invoke("Hello there").response_metadata["model_name"] == "large"


def test_langchain_raises_the_errors_of_the_sdk(running: tuple[str, RecordingUpstream]) -> None:
    chat = langchain.ChatOpenAI(model="nothing", base_url=running[0], api_key="any", max_retries=0)

    with pytest.raises(openai.NotFoundError):
        chat.invoke("Hello there")


# Node.js


@pytest.fixture(scope="module")
def node(running: tuple[str, RecordingUpstream]) -> dict[str, Any]:
    """What the client of Node.js saw."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed; tests/setup.sh would try to")
    if not (NODE / "node_modules" / "openai" / "package.json").is_file():
        pytest.skip("the openai package of Node.js is not in .cache/node; tests/setup.sh puts it there")
    script = Path(__file__).with_name("node_client.mjs")
    running[1].requests.clear()
    done = subprocess.run(
        [program, str(script), str(NODE), running[0]], capture_output=True, text=True, timeout=2 * PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return {**seen, "upstream": list(running[1].models)}


def test_node_lists_and_retrieves_models(node: dict[str, Any]) -> None:
    assert {"auto", "tier/low", "up/small", "cheap"} <= set(node["models"])
    assert node["model"] == f"up/{ODD}"


def test_node_gets_an_answer_with_its_headers(node: dict[str, Any]) -> None:
    assert node["text"].startswith('[MOCK] You said "Grüße, 世界 🦊".')
    assert node["route"] == "tier/low"
    assert node["requestId"].startswith("req_")


def test_node_streams(node: dict[str, Any]) -> None:
    assert node["streamed"] == node["text"]
    assert node["usage"]["completion_tokens"] > 0


def test_node_calls_tools_in_a_stream(node: dict[str, Any]) -> None:
    assert node["tool"]["name"] == "get_weather"
    assert json.loads(node["tool"]["arguments"]) == {"city": "[MOCK] city"}


def test_node_gets_a_response(node: dict[str, Any]) -> None:
    assert node["response"] == node["text"]


def test_node_streams_a_response_with_a_call(node: dict[str, Any]) -> None:
    assert (node["kinds"][0], node["kinds"][-1]) == ("response.created", "response.completed")
    assert node["responseTool"]["name"] == "get_weather"
    assert json.loads(node["responseTool"]["arguments"]) == {"city": "[MOCK] city"}


def test_node_passes_options_of_our_own(node: dict[str, Any]) -> None:
    assert node["chosen"] == "up/small"


@pytest.mark.parametrize(
    ("what", "kind", "status", "code"),
    [
        ("notFound", "NotFoundError", 404, "model_not_found"),
        ("badRequest", "BadRequestError", 400, None),
        ("exhausted", "InternalServerError", 502, "upstream_error"),
        ("limited", "RateLimitError", 429, "rate_limit_exceeded"),
        ("broken", "APIError", None, "upstream_error"),
    ],
)
def test_node_raises_the_error_that_fits(node: dict[str, Any], what: str, kind: str, status: Any, code: Any) -> None:
    assert node[what] == {"kind": kind, "status": status, "code": code}


def test_node_does_not_try_again_what_we_have_tried(node: dict[str, Any]) -> None:
    assert node["upstream"].count("status-429-node") == 1
    assert node["upstream"].count("status-500-node") == 2
