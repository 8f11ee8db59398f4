"""LangChain and the OpenAI Agents SDK over the Responses API: loops of tools, streams, and stored dialogs.

The last tests are about dialogs with a provider that has the Responses API itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.responses import events_of
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import DONE, FINISH, ROLE, USAGE, Upstream, Wire, chunk, completion, event, plain, stream

agents = pytest.importorskip("agents", reason="openai-agents is not installed")
langchain = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")

CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}


async def weather(wire: Wire) -> None:
    """Call the tool, if there is one; then repeat what it returned, or count the messages."""
    messages = wire.request.json["messages"]
    results = [message["content"] for message in messages if message["role"] == "tool"]
    calls = bool(wire.request.json.get("tools")) and not results
    text = results[-1] if results else f"{len(messages)} messages"
    if wire.request.stream:
        delta = {"tool_calls": [{"index": 0, **CALL}]} if calls else {"content": text}
        finish = chunk({}, finish="tool_calls") if calls else FINISH
        await stream([ROLE, chunk(delta), finish, chunk(usage=USAGE), DONE])(wire)
        return
    answer = completion(text)
    if calls:
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        answer["choices"] = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    await plain(json.dumps(answer).encode())(wire)


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {
        "store": "sqlite",
        "providers": {
            "p": {"base_url": module_upstream.url, "any_model": True},
            "n": {"base_url": module_upstream.url, "any_model": True, "responses": "native"},
        },
        "models": [{"id": "p/weather"}],
        "resilience": without_breakers(),
    }
    module_upstream.script("weather", *[weather] * 50)
    with signalbox(settings, tmp_path_factory.mktemp("box")) as running:
        yield running


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


@pytest.fixture
def chat(box: Running) -> Any:
    return langchain.ChatOpenAI(
        model="p/weather", base_url=f"{box.url}/v1", api_key="any", max_retries=0, use_responses_api=True
    )


def test_langchain_gets_an_answer(chat: Any) -> None:
    answer = chat.invoke("Hello")

    assert answer.text == "1 messages"
    assert answer.usage_metadata["output_tokens"] == 3


def test_langchain_streams(chat: Any) -> None:
    first, *rest = chat.stream("Hello")
    answer = sum(rest, first)

    assert answer.text == "1 messages"
    assert answer.usage_metadata["output_tokens"] == 3


@pytest.mark.parametrize("streams", [False, True])
def test_langchain_runs_a_loop_of_tools(chat: Any, streams: bool) -> None:
    bound = chat.bind_tools([get_weather])
    messages: list[Any] = [("user", "Weather?")]
    first, *rest = bound.stream(messages) if streams else [bound.invoke(messages)]
    answer = sum(rest, first)
    [call] = answer.tool_calls

    messages += [answer, {"role": "tool", "tool_call_id": call["id"], "content": get_weather(**call["args"])}]

    assert bound.invoke(messages).text == "rain in Rome"


def test_langchain_continues_a_stored_response(chat: Any) -> None:
    answer = chat.invoke("Hello")

    after = chat.invoke("And now?", previous_response_id=answer.response_metadata["id"])

    assert after.text == "3 messages"


def with_client(box: Running, work: Callable[[openai.AsyncOpenAI], Awaitable[Any]]) -> Any:
    """Run `work` with a client of its own event loop."""
    agents.set_tracing_disabled(True)

    async def run() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{box.url}/v1", api_key="any", max_retries=0) as client:
            return await work(client)

    return asyncio.run(run())


def agent_of(client: openai.AsyncOpenAI, *, tools: bool = True) -> Any:
    model = agents.OpenAIResponsesModel(model="p/weather", openai_client=client)
    return agents.Agent(name="Ada", model=model, tools=[agents.function_tool(get_weather)] if tools else [])


def test_agent_runs_a_loop_of_tools(box: Running) -> None:
    result = with_client(box, lambda client: agents.Runner.run(agent_of(client), "Weather?"))

    assert result.final_output == "rain in Rome"


def test_agent_streams_a_loop_of_tools(box: Running) -> None:
    async def run(client: openai.AsyncOpenAI) -> Any:
        result = agents.Runner.run_streamed(agent_of(client), "Weather?")
        return [each.type async for each in result.stream_events()], result.final_output

    kinds, output = with_client(box, run)

    assert output == "rain in Rome"
    assert "raw_response_event" in kinds


def test_agent_keeps_its_session_in_a_conversation(box: Running) -> None:
    async def run(client: openai.AsyncOpenAI) -> Any:
        session = agents.OpenAIConversationsSession(openai_client=client)
        agent = agent_of(client, tools=False)
        results = [await agents.Runner.run(agent, text, session=session) for text in ("Hello", "And now?")]
        return [result.final_output for result in results], await session.get_items()

    outputs, items = with_client(box, run)

    assert outputs == ["1 messages", "3 messages"]
    assert [item["role"] for item in items] == ["user", "assistant", "user", "assistant"]


def native_event(kind: str, number: int, **members: Any) -> bytes:
    return b"event: " + kind.encode() + b"\n" + event({"type": kind, "sequence_number": number, **members})


def native_answer(id: str) -> list[bytes]:
    """The events of a provider's own Responses API."""
    item = {"id": f"msg_{id}", "type": "message", "role": "assistant", "status": "completed"}
    item["content"] = [{"type": "output_text", "text": "Hi", "annotations": []}]  # type: ignore[assignment]
    response = {"id": f"resp_{id}", "object": "response", "created_at": 1, "model": "m", "output": []}
    done = {**response, "status": "completed", "output": [item], "usage": {"input_tokens": 1, "output_tokens": 1}}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    return [
        native_event("response.created", 0, response={**response, "status": "in_progress"}),
        native_event("response.output_text.delta", 1, **place, delta="Hi"),
        native_event("response.completed", 2, response=done),
    ]


def asked(box: Running, **body: Any) -> httpx.Response:
    return httpx.post(f"{box.url}/v1/responses", json={"input": "Hello", "stream": True, **body})


def test_native_answer_is_stored_before_its_last_event(box: Running, module_upstream: Upstream) -> None:
    module_upstream.script("native", stream(native_answer("one")), stream(native_answer("two")))

    answer = asked(box, model="n/native")
    stored = httpx.get(f"{box.url}/v1/responses/resp_one").json()
    after = asked(box, model="n/native", previous_response_id="resp_one", input="And now?")

    assert answer.content == b"".join(native_answer("one"))
    assert (stored["status"], stored["store"]) == ("completed", True)
    assert after.status_code == 200
    hello, hi, now = [item["content"] for item in module_upstream.requests[-1].json["input"]]
    assert (hello[0]["text"], hi[0]["text"], now) == ("Hello", "Hi", "And now?")


def test_native_answer_that_breaks_off_is_a_failed_response(box: Running, module_upstream: Upstream) -> None:
    events = native_answer("cut")[:2]
    module_upstream.script("cut", stream(events, Wire.reset))

    answer = asked(box, model="n/cut")

    assert answer.content.startswith(b"".join(events))
    [last] = events_of(answer.content.removeprefix(b"".join(events)))
    assert (last["type"], last["sequence_number"], last["response"]["id"]) == ("response.failed", 2, "resp_cut")
    assert httpx.get(f"{box.url}/v1/responses/resp_cut").status_code == 404
