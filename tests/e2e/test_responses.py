"""The answers of the Responses API over real sockets: the SDK, Signalbox and a scripted provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pydantic
import pytest

from tests.support.responses import events_of, fold, verify
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import (
    DONE,
    FINISH,
    ROLE,
    USAGE,
    Upstream,
    Wire,
    chunk,
    completion,
    drop,
    error,
    event,
    plain,
    refuse,
    stream,
    text_of,
    words,
)

WEBSOCKET = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-key": "eA=="}
TOOLS: Any = [
    {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False},
    {"type": "custom", "name": "patch"},
]
CALLS = [
    ROLE,
    chunk({"reasoning_content": "hm"}),
    chunk({"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "look", "arguments": '{"a":'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
    chunk({"tool_calls": [{"index": 1, "id": "call_2", "function": {"name": "patch", "arguments": '{"input":"a'}}]}),
    chunk({"tool_calls": [{"index": 1, "function": {"arguments": '\\n"}'}}]}),
    chunk({}, finish="tool_calls"),
    chunk(usage=USAGE),
    DONE,
]
USED = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}


def configuration(url: str) -> dict[str, Any]:
    return {
        "store": "none",
        "auth": {"encryption_key": "k" * 43 + "="},
        "providers": {"p": {"base_url": url, "any_model": True}, "q": {"base_url": url, "any_model": True}},
        "models": [{"id": "p/a"}, {"id": "q/good"}],
        "routing": {"scenarios": {"both": ["p/a", "q/good"]}},
        "resilience": without_breakers(),
    }


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with signalbox(configuration(module_upstream.url), tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_upstream: Upstream) -> Upstream:
    module_upstream.clear()
    return module_upstream


@pytest.fixture
def client(box: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key="key", max_retries=0) as sdk:
        yield sdk


def raw(box: Running, model: str, **more: Any) -> httpx.Response:
    body = {"model": model, "input": "Hello", "stream": True, **more}
    return httpx.post(f"{box.url}/v1/responses", json=body)


def test_sdk_gets_a_whole_answer(client: openai.OpenAI, upstream: Upstream) -> None:
    response = client.responses.create(model="q/good", input="Hello", instructions="Be short.", metadata={"a": "b"})

    assert (response.output_text, response.status) == (text_of("good"), "completed")
    assert (response.instructions, response.metadata, response.store) == ("Be short.", {"a": "b"}, False)
    assert response.usage is not None
    assert response.usage.model_dump(include=set(USED)) == USED


def test_sdk_streams_text(client: openai.OpenAI, upstream: Upstream) -> None:
    with client.responses.stream(model="q/good", input="Hello") as events:
        text = "".join(each.delta for each in events if each.type == "response.output_text.delta")
        response = events.get_final_response()

    assert text == response.output_text == text_of("good")
    assert response.usage is not None
    assert response.usage.model_dump(include=set(USED)) == USED


def test_sdk_streams_calls_of_tools(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.script("good", stream(CALLS))

    with client.responses.stream(model="q/good", input="Hello", tools=TOOLS) as events:
        kinds = [each.type for each in events]
        response = events.get_final_response()

    reasoning, look, patch = response.output
    assert reasoning.type == "reasoning"
    assert reasoning.summary[0].text == "hm"
    assert look.type == "function_call"
    assert (look.name, look.arguments, look.call_id) == ("look", '{"a":1}', "call_1")
    assert patch.type == "custom_tool_call"
    assert (patch.name, patch.input) == ("patch", "a\n")
    assert kinds[-1] == "response.completed"


def test_sdk_parses_structured_output(client: openai.OpenAI, upstream: Upstream) -> None:
    class Answer(pydantic.BaseModel):
        number: int

    upstream.script("good", plain(json.dumps(completion('{"number": 4}')).encode()))

    response = client.responses.parse(model="q/good", input="Hello", text_format=Answer)

    assert response.output_parsed == Answer(number=4)


def test_events_are_legal_and_complete(box: Running, upstream: Upstream) -> None:
    upstream.script("good", stream(CALLS))

    answer = raw(box, "q/good", tools=TOOLS)

    events = events_of(answer.content)
    response = verify(events)
    assert [item["type"] for item in response["output"]] == ["reasoning", "function_call", "custom_tool_call"]
    assert response["model"] == "upstream"
    assert response["id"] == "resp_" + answer.headers["x-router-id"].removeprefix("req_")
    assert response["completed_at"] >= response["created_at"]


def test_provider_that_dies_before_its_answer_is_not_seen(box: Running, upstream: Upstream) -> None:
    upstream.script("a", drop)

    answer = raw(box, "scenario/both")

    assert verify(events_of(answer.content))["status"] == "completed"
    assert fold(events_of(answer.content), "output_text") == text_of("good")


def test_provider_that_dies_in_its_answer_is_a_failed_response(box: Running, upstream: Upstream) -> None:
    upstream.script("a", stream([ROLE, *words("a")], Wire.reset))

    events = events_of(raw(box, "scenario/both").content)

    response = verify(events)
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert fold(events, "output_text") == text_of("a")


def test_sdk_sees_the_failure_of_a_stream(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.script("good", stream([ROLE, *words("a"), event(error("The disk is full."))]))

    with client.responses.stream(model="q/good", input="Hello") as events:
        last = list(events)[-1]

    assert last.type == "response.failed"
    assert last.response.error is not None
    assert "The disk is full." in last.response.error.message


def test_rate_limit_of_the_provider_is_a_429(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.script("limited", refuse(429, "Slow down.", headers={"retry-after": "7"}))

    with pytest.raises(openai.RateLimitError) as caught:
        client.responses.create(model="q/limited", input="Hello", extra_headers={"x-router-max-wait-seconds": "0"})

    assert caught.value.response.headers["retry-after"] == "7"


def test_cut_answer_is_incomplete(box: Running, upstream: Upstream) -> None:
    upstream.script("good", stream([ROLE, *words("a"), chunk({}, finish="length"), DONE]))

    events = events_of(raw(box, "q/good").content)

    assert events[-1]["type"] == "response.incomplete"
    assert verify(events)["incomplete_details"] == {"reason": "max_output_tokens"}


def test_finish_without_more_is_complete(box: Running, upstream: Upstream) -> None:
    upstream.script("good", stream([ROLE, *words("a"), FINISH]))

    assert verify(events_of(raw(box, "q/good").content))["status"] == "completed"


def test_websocket_handshake_is_refused_so_that_clients_use_http(box: Running) -> None:
    answer = httpx.get(f"{box.url}/v1/responses", headers=WEBSOCKET)

    assert answer.status_code == 426
    assert answer.json()["error"]["code"] == "websocket_not_supported"


def test_plain_get_is_a_method_that_the_path_does_not_support(box: Running) -> None:
    answer = httpx.get(f"{box.url}/v1/responses")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_sdk_counts_the_tokens_of_an_input(client: openai.OpenAI, upstream: Upstream) -> None:
    short = client.responses.input_tokens.count(model="q/good", input="Hello")
    long = client.responses.input_tokens.count(model="q/good", input="Hello " * 50, tools=TOOLS)

    assert 0 < short.input_tokens < long.input_tokens - 50
    assert upstream.models == []


def test_compaction_stands_for_its_conversation(client: openai.OpenAI, upstream: Upstream) -> None:
    compaction = client.responses.compact(model="q/good", input="My name is Ada.")
    items: Any = [*[item.model_dump() for item in compaction.output], {"role": "user", "content": "Who am I?"}]

    client.responses.create(model="q/good", input=items)

    asked, continued = upstream.next().json, upstream.next().json
    assert "My name is Ada." in asked["messages"][1]["content"]
    assert text_of("good").strip() in continued["messages"][0]["content"]
