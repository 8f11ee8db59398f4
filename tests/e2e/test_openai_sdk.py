"""The unmodified `openai` Python SDK through Signalbox to an upstream, all on real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import openai
import pydantic
import pytest

from tests.support.servers import RecordingUpstream, Running, recording_upstream, signalbox

HELLO: Any = [{"role": "user", "content": "Hello there"}]
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
IMAGE: Any = [
    {
        "role": "user",
        "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
    }
]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
ODD = "vendor/model-x:free@1~b"
BLIND = {"small", "text", "quick", ODD}  # declare capabilities, and vision is none of them
SEEING = {"medium", "large"}
KEYS = [{"id": "main", "value": "the-provider-key", "weight": 1000}, {"id": "spare", "value": "the-spare-key"}]
LIGHT = {"input": 0.15, "output": 0.6}
HEAVY = {"input": 5, "output": 20}


@dataclass(frozen=True)
class Box:
    """Signalbox, its upstream and a client."""

    running: Running
    upstream: RecordingUpstream
    client: openai.OpenAI

    def asked(self) -> list[dict[str, Any]]:
        """The bodies that reached the upstream since the last time."""
        bodies = [request.body for request in self.upstream.requests]
        self.upstream.requests.clear()
        return bodies

    def reset(self) -> None:
        """Forget what earlier failures have led to."""
        self.admin().post("/breakers/reset", cast_to=object)

    def admin(self, token: str = "the-admin-token") -> openai.OpenAI:
        """The client, pointed at the admin API."""
        return self.client.with_options(base_url=f"{self.running.url}/admin", api_key=token)

    def ask(self, model: str, messages: Any = HELLO, **more: Any) -> openai.types.chat.ChatCompletion:
        """One answer in one piece."""
        answer: openai.types.chat.ChatCompletion = self.client.chat.completions.create(
            model=model, messages=messages, **more
        )
        return answer


def config(upstream: str) -> dict[str, Any]:
    """Providers and models that differ in all that routing looks at."""
    tools = ["tools", "json_schema"]
    return {
        "auth": {"admin_token": "the-admin-token"},
        "providers": {
            "up": {"base_url": upstream, "keys": KEYS},
            "quiet": {"base_url": upstream, "stream_usage": "never"},
            "open": {"base_url": upstream, "any_model": True},
            "mock": {"dialect": "mock"},
        },
        "models": [
            {"id": "up/small", "tier": "low", "price": LIGHT, "context_window": 8000, "capabilities": tools},
            {"id": "up/medium", "tier": "medium", "context_window": 32000, "capabilities": [*tools, "vision"]},
            {
                "id": "up/large",
                "tier": "high",
                "price": HEAVY,
                "context_window": 200000,
                "capabilities": [*tools, "vision"],
            },
            {"id": "up/text", "capabilities": tools, "context_window": 8000},
            {"id": f"up/{ODD}", "capabilities": []},
            {"id": "quiet/quick", "capabilities": tools},
            {"id": "mock/only-here"},
        ],
        "agents": {
            "writer": {
                "model": "up/medium",
                "instructions": "Write in a {{tone}} tone.",
                "params": {"temperature": 0.1, "top_p": 0.5},
            }
        },
        "routing": {
            "aliases": {"gpt-4": "up/large", "cheap": "tier/low", "second": "gpt-4"},
            "scenarios": {
                "support": [{"model": "up/medium", "set": {"temperature": 0.2}}, "up/large"],
                "sight": ["up/small", "up/text", "up/large"],
                "blind": ["up/small", "up/text"],
            },
        },
        "resilience": {"retry": {"backoff": "1ms", "max_backoff": "1ms"}, "breaker": {"consecutive": 100}},
    }


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with (
        recording_upstream() as (url, upstream),
        signalbox(config(url), tmp_path_factory.mktemp("sdk")) as running,
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="the-client-key", max_retries=0) as client,
    ):
        yield Box(running, upstream, client)


@pytest.fixture
def box(shared: Box) -> Box:
    shared.reset()
    shared.upstream.requests.clear()
    return shared


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# Models


def test_every_usable_name_is_listed(box: Box) -> None:
    listed = {model.id for model in box.client.models.list()}

    assert listed >= {"up/small", f"up/{ODD}", "gpt-4", "cheap", "tier/low", "tier/high", "scenario/support", "auto"}
    assert listed >= {"mode/fast", "mode/balanced", "mode/accurate"}
    assert box.asked() == []


def test_a_list_of_models_is_the_same_every_time(box: Box) -> None:
    assert box.client.models.list().data == box.client.models.list().data


def test_every_listed_model_can_be_retrieved_by_its_id(box: Box) -> None:
    listed = box.client.models.list().data

    retrieved = [box.client.models.retrieve(model.id) for model in listed]

    assert retrieved == listed


def test_extensions_stand_beside_the_fields_of_openai(box: Box) -> None:
    model = box.client.models.retrieve("up/small")

    assert (model.object, model.owned_by) == ("model", "up")
    assert model.model_extra is not None
    assert model.model_extra["context_window"] == 8000
    assert model.model_extra["price"] == {"input": 0.15, "output": 0.6}


def test_a_model_that_is_not_there_cannot_be_retrieved(box: Box) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        box.client.models.retrieve("up/smal")

    assert caught.value.code == "model_not_found"
    assert "`up/small`" in caught.value.message


# Names


@pytest.mark.parametrize(
    ("name", "model", "route"),
    [
        ("up/small", "small", "up/small"),
        (f"up/{ODD}", ODD, f"up/{ODD}"),
        ("open/any/model:at@all", "any/model:at@all", "open/any/model:at@all"),
        ("medium", "medium", "up/medium"),
        ("gpt-4", "large", "up/large"),
        ("second", "large", "up/large"),
        ("cheap", "small", "tier/low"),
        ("tier/low", "small", "tier/low"),
        ("tier/medium", "medium", "tier/medium"),
        ("tier/high", "large", "tier/high"),
        ("scenario/support", "medium", "scenario/support"),
    ],
)
def test_a_name_reaches_the_model_that_it_stands_for(box: Box, name: str, model: str, route: str) -> None:
    raw = box.client.chat.completions.with_raw_response.create(model=name, messages=HELLO)

    assert [body["model"] for body in box.asked()] == [model]
    assert raw.headers["x-router-model"] == model
    assert raw.headers["x-router-route"] == route
    assert raw.parse().model == model


def test_a_bare_id_may_be_the_mocks(box: Box) -> None:
    answer = box.ask("only-here")

    assert (answer.choices[0].message.content or "").startswith("[MOCK]")
    assert box.asked() == []


@pytest.mark.parametrize("name", ["auto", "mode/fast", "mode/balanced", "mode/accurate"])
def test_auto_and_modes_choose_configured_models(box: Box, name: str) -> None:
    raw = box.client.chat.completions.with_raw_response.create(
        model=name, messages=HELLO, extra_body={"router": {"providers": ["up"]}}
    )

    assert raw.headers["x-router-route"] == name
    assert raw.headers["x-router-provider"] == "up"
    assert raw.parse().model in BLIND | SEEING
    assert len(box.asked()) == 1


def test_accurate_chooses_a_better_model_than_balanced(box: Box) -> None:
    hard: Any = [{"role": "user", "content": "Prove step by step that the algorithm below is correct. " * 20}]
    only_up = {"router": {"providers": ["up"]}}

    answer = box.ask("mode/accurate", hard, extra_body=only_up)

    assert answer.model == "large"


def test_a_scenario_sets_its_parameters_over_the_clients(box: Box) -> None:
    box.ask("scenario/support", temperature=0.9)

    assert [body["temperature"] for body in box.asked()] == [0.2]


def test_an_agent_adds_its_instructions_and_parameters(box: Box) -> None:
    box.ask("agent/writer", extra_body={"router": {"variables": {"tone": "dry"}}}, temperature=0.9)

    [body] = box.asked()
    assert body["messages"] == [{"role": "system", "content": "Write in a dry tone."}, *HELLO]
    assert (body["model"], body["temperature"], body["top_p"]) == ("medium", 0.9, 0.5)
    assert "router" not in body


def test_an_agent_without_the_value_of_a_variable_is_refused(box: Box) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        box.ask("agent/writer")

    assert caught.value.param == "router.variables.tone"
    assert box.asked() == []


def test_an_unknown_agent_is_not_found(box: Box) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        box.ask("agent/writer@2")

    assert caught.value.code == "model_not_found"


def test_an_unknown_model_is_told_with_its_nearest_names(box: Box) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        box.ask("scenario/suport")

    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "`scenario/support`" in caught.value.message
    assert box.asked() == []


# Options of our own


def test_the_router_object_is_not_sent_upstream(box: Box) -> None:
    answer = box.ask("tier/low", extra_body={"router": {"providers": ["up/large"], "fallbacks": ["up/large"]}})

    assert answer.model == "large"
    [body] = box.asked()
    assert "router" not in body


def test_router_headers_steer_and_do_not_reach_the_upstream(box: Box) -> None:
    headers = {"x-router-providers": "up/text, up/large", "x-router-fallbacks": "up/large", "x-router-mode": "fast"}

    answer = box.ask("tier/low", extra_headers=headers)

    assert answer.model == "large"
    [request] = box.upstream.requests
    assert not [name for name in request.headers if name.startswith("x-router-")]


def test_the_body_beats_the_header(box: Box) -> None:
    answer = box.ask(
        "auto",
        extra_headers={"x-router-providers": "mock"},
        extra_body={"router": {"providers": ["up/large"]}},
    )

    assert answer.model == "large"


def test_the_mode_of_the_name_beats_the_one_of_the_options(box: Box) -> None:
    answer = box.ask("mode/fast", extra_body={"router": {"mode": "accurate", "debug": True}})

    assert answer.model_extra is not None
    assert answer.model_extra["router"]["constraints"]["mode"] == "fast"


def test_fallbacks_answer_when_the_model_cannot(box: Box) -> None:
    raw = box.client.chat.completions.with_raw_response.create(
        model="open/status-503-fallbacks",
        messages=HELLO,
        extra_body={"router": {"fallbacks": ["up/medium", "up/large"]}},
    )

    assert raw.parse().model == "medium"
    assert int(raw.headers["x-router-attempts"]) == len(box.asked())


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"mood": "good"}, "router.mood"),
        ({"mode": "slow"}, "router.mode"),
        ({"providers": "up"}, "router.providers"),
        ({"max_cost_usd": "cheap"}, "router.max_cost_usd"),
        ({"debug": "yes"}, "router.debug"),
        ({"cache": "on"}, "router.cache"),
        ({"max_wait_seconds": "3"}, "router.max_wait_seconds"),
        ({"max_wait_seconds": -1}, "router.max_wait_seconds"),
        ({"conversation": "conv_1"}, "router.conversation"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(box: Box, options: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        box.ask("up/small", extra_body={"router": options})

    assert caught.value.param == param
    assert f"`{param}`" in caught.value.message
    assert box.asked() == []


def test_a_cost_ceiling_keeps_dear_models_out(box: Box) -> None:
    answer = box.ask("auto", max_tokens=100, extra_body={"router": {"max_cost_usd": 0.0005}})

    assert answer.model == "small"


def test_a_key_can_be_pinned(box: Box) -> None:
    for key_id in ("spare", "main", "spare"):
        box.ask("up/small", extra_body={"router": {"key_id": key_id}})

    sent = [request.headers["authorization"] for request in box.upstream.requests]
    assert sent == ["Bearer the-spare-key", "Bearer the-provider-key", "Bearer the-spare-key"]


def test_a_key_that_is_not_there_cannot_be_pinned(box: Box) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        box.ask("tier/low", extra_body={"router": {"key_id": "nobody"}})

    assert caught.value.code == "no_candidate_available"
    assert "router.key_id" in caught.value.message
    assert box.asked() == []


@pytest.mark.parametrize(
    ("options", "models"),
    [
        ({"exclude": ["mock", "quiet", "open", "up/small"]}, SEEING | {"text", ODD}),
        ({"require": ["vision"], "providers": ["up"]}, SEEING),
        ({"require": ["vision"], "exclude": ["up/large", "mock"]}, {"medium"}),
        ({"task": "code", "providers": ["up/large"]}, {"large"}),
        ({"max_latency_ms": 60_000, "providers": ["up/medium"]}, {"medium"}),
    ],
)
def test_options_narrow_the_choice(box: Box, options: dict[str, Any], models: set[str]) -> None:
    answer = box.ask("auto", extra_body={"router": options})

    assert answer.model in models


# Streams


def test_a_stream_joins_to_the_answer(box: Box) -> None:
    whole = box.ask("up/small")

    chunks = list(box.client.chat.completions.create(model="up/small", messages=HELLO, stream=True))

    assert text_of(chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in chunks} == {whole.id}


def test_usage_requested_by_the_proxy_is_hidden_from_the_client(box: Box) -> None:
    chunks = list(box.client.chat.completions.create(model="up/small", messages=HELLO, stream=True))

    [body] = box.asked()
    assert body["stream_options"] == {"include_usage": True}
    assert all(chunk.choices for chunk in chunks)


def test_the_usage_that_the_client_asked_for_comes_once(box: Box) -> None:
    chunks = list(
        box.client.chat.completions.create(
            model="up/small",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True, "include_obfuscation": False},
        )
    )

    [body] = box.asked()
    assert body["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    [last] = [chunk for chunk in chunks if not chunk.choices]
    assert last is chunks[-1]
    assert last.usage is not None
    assert last.usage.total_tokens > 0


def test_other_stream_options_are_kept_when_we_ask_for_usage(box: Box) -> None:
    list(
        box.client.chat.completions.create(
            model="up/small", messages=HELLO, stream=True, stream_options={"include_obfuscation": False}
        )
    )

    [body] = box.asked()
    assert body["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_a_provider_that_is_never_asked_for_usage_is_not(box: Box) -> None:
    chunks = list(box.client.chat.completions.create(model="quiet/quick", messages=HELLO, stream=True))

    [body] = box.asked()
    assert "stream_options" not in body
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_headers_of_a_stream(box: Box) -> None:
    with box.client.chat.completions.with_streaming_response.create(
        model="up/small", messages=HELLO, stream=True
    ) as raw:
        headers = raw.headers
        raw.read()

    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-router-model"] == "small"
    assert "x-router-cost-usd" not in headers


@pytest.mark.anyio
async def test_many_streams_at_once_do_not_mix(box: Box) -> None:
    answers: dict[int, str] = {}

    async def ask(client: openai.AsyncOpenAI, number: int) -> None:
        said: Any = [{"role": "user", "content": f"I am number {number}."}]
        stream = await client.chat.completions.create(model="up/small", messages=said, stream=True)
        answers[number] = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async with (
        openai.AsyncOpenAI(base_url=f"{box.running.url}/v1", api_key="any", max_retries=0) as client,
        anyio.create_task_group() as group,
    ):
        for number in range(30):
            group.start_soon(ask, client, number)

    assert all(f'"I am number {number}."' in answers[number] for number in range(30))


@pytest.mark.anyio
async def test_the_async_client_gets_answers_and_errors_too(box: Box) -> None:
    async with openai.AsyncOpenAI(base_url=f"{box.running.url}/v1", api_key="any", max_retries=0) as client:
        answer = await client.chat.completions.create(model="tier/high", messages=HELLO)
        listed = [model.id async for model in client.models.list()]
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="nothing", messages=HELLO)

    assert answer.model == "large"
    assert "auto" in listed


# Tools, structured output, choices


def test_a_tool_is_called_and_its_result_answered(box: Box) -> None:
    first = box.ask("tier/low", tools=[WEATHER], tool_choice="required")
    message = first.choices[0].message
    assert message.tool_calls is not None
    call: Any = message.tool_calls[0]
    history: Any = [*HELLO, message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "rain"}]

    second = box.ask("tier/low", history, tools=[WEATHER])

    assert first.choices[0].finish_reason == "tool_calls"
    assert list(json.loads(call.function.arguments)) == ["city"]
    assert "rain" in (second.choices[0].message.content or "")


def test_the_stream_helper_puts_a_tool_call_together(box: Box) -> None:
    with box.client.chat.completions.stream(model="up/small", messages=HELLO, tools=[WEATHER]) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_completion().choices[0].message

    assert "tool_calls.function.arguments.done" in kinds
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.name == "get_weather"
    assert message.tool_calls[0].function.parsed_arguments == {"city": "[MOCK] city"}


class Person(pydantic.BaseModel):
    name: str
    age: int


def test_parse_gives_an_object(box: Box) -> None:
    answer = box.client.chat.completions.parse(model="tier/low", messages=HELLO, response_format=Person)

    assert isinstance(answer.choices[0].message.parsed, Person)
    [body] = box.asked()
    assert body["response_format"]["json_schema"]["strict"] is True


def test_the_stream_helper_parses_too(box: Box) -> None:
    with box.client.chat.completions.stream(model="auto", messages=HELLO, response_format=Person) as stream:
        stream.until_done()
        parsed = stream.get_final_completion().choices[0].message.parsed

    assert isinstance(parsed, Person)


def test_several_choices_come_in_one_answer(box: Box) -> None:
    answer = box.ask("up/small", n=3)

    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def test_several_choices_come_in_one_stream(box: Box) -> None:
    chunks = list(box.client.chat.completions.create(model="up/small", messages=HELLO, n=3, stream=True))

    finished = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(finished) == [0, 1, 2]


@pytest.mark.parametrize("said", ["Grüße, 世界", "🦊 𝒳 ‮ \u2028 \x00", 'quote " backslash \\ done', "\ud7ff\ue000"])
def test_any_text_arrives_as_it_was_said(box: Box, said: str) -> None:
    messages: Any = [{"role": "user", "content": said}]

    whole = box.ask("up/small", messages)
    chunks = list(box.client.chat.completions.create(model="up/small", messages=messages, stream=True))

    assert [body["messages"] for body in box.asked()] == [messages, messages]
    assert text_of(chunks) == whole.choices[0].message.content


def test_parameters_that_we_do_not_know_pass(box: Box) -> None:
    box.ask("up/small", extra_body={"top_k": 5, "provider": {"order": ["a"]}, "model_settings": None})

    [body] = box.asked()
    assert (body["top_k"], body["provider"], body["model_settings"]) == (5, {"order": ["a"]}, None)


# What the router looks at


@pytest.mark.parametrize(
    "name", ["tier/low", "cheap", "scenario/sight", "auto", "mode/fast", "mode/balanced", "mode/accurate"]
)
def test_an_image_never_goes_to_a_model_that_declares_no_vision(box: Box, name: str) -> None:
    for _ in range(3):
        box.ask(name, IMAGE, extra_body={"router": {"providers": ["up", "quiet"]}})

    assert {body["model"] for body in box.asked()} <= SEEING


def test_an_image_is_refused_where_no_model_sees(box: Box) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        box.ask("scenario/blind", IMAGE)

    assert caught.value.code == "no_candidate_available"
    assert "vision" in caught.value.message
    assert box.asked() == []


def test_an_image_in_an_earlier_message_counts(box: Box) -> None:
    later: Any = [*IMAGE, {"role": "assistant", "content": "A pixel."}, {"role": "user", "content": "Are you sure?"}]

    box.ask("scenario/sight", later)

    assert [body["model"] for body in box.asked()] == ["large"]


def test_a_model_that_the_client_names_is_not_filtered(box: Box) -> None:
    box.ask("up/small", IMAGE)

    assert [body["model"] for body in box.asked()] == ["small"]


@pytest.mark.parametrize("name", ["tier/low", "scenario/sight", "auto", "mode/fast"])
def test_a_long_prompt_goes_to_a_model_that_it_fits(box: Box, name: str) -> None:
    long: Any = [{"role": "user", "content": "All work and no play makes a dull text. " * 4000}]

    answer = box.ask(name, long, extra_body={"router": {"providers": ["up"]}})

    assert answer.model == "large"


def test_a_prompt_that_fits_nowhere_is_a_context_length_error(box: Box) -> None:
    endless: Any = [{"role": "user", "content": "word " * 400_000}]

    with pytest.raises(openai.BadRequestError) as caught:
        box.ask("tier/low", endless)

    assert caught.value.code == "context_length_exceeded"
    assert box.asked() == []


# Debug


def test_debug_puts_the_decision_record_in_the_body(box: Box) -> None:
    answer = box.ask("tier/low", extra_body={"router": {"debug": True}})

    assert answer.model_extra is not None
    record = answer.model_extra["router"]
    assert set(record) >= {
        "id", "model", "route", "profile", "constraints", "candidates", "chosen", "attempts", "cost_usd",
        "config_version",
    }  # fmt: skip
    assert record["chosen"] == "up/small"
    assert record["cost_usd"] > 0
    assert [(attempt["model"], attempt["key_id"], attempt["outcome"]) for attempt in record["attempts"]] == [
        ("small", "main", "ok")
    ]


def test_debug_puts_the_decision_record_in_one_more_chunk(box: Box) -> None:
    plain = list(box.client.chat.completions.create(model="tier/low", messages=HELLO, stream=True))

    chunks = list(
        box.client.chat.completions.create(
            model="tier/low", messages=HELLO, stream=True, extra_headers={"x-router-debug": "true"}
        )
    )

    assert len(chunks) == len(plain) + 1
    assert chunks[-1].choices == []
    assert chunks[-1].id == chunks[0].id
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["router"]["chosen"] == "up/small"
    assert text_of(chunks) == text_of(plain)


def test_debug_and_usage_both_come(box: Box) -> None:
    chunks = list(
        box.client.chat.completions.create(
            model="tier/low",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"router": {"debug": True}},
        )
    )

    usage, debug = chunks[-2:]
    assert usage.usage is not None
    assert debug.model_extra is not None
    assert debug.model_extra["router"]["cost_usd"] > 0


def test_the_route_without_a_call_is_the_record_of_the_call(box: Box) -> None:
    body = {"model": "tier/low", "messages": HELLO}

    called = box.ask("tier/low", extra_body={"router": {"debug": True}})
    routed: Any = box.client.post("/route", body={**body, "router": {"debug": True}}, cast_to=object)

    assert called.model_extra is not None
    varies = {"id", "attempts", "wait", "cost_usd", "candidates"}
    record = called.model_extra["router"]
    assert {k: v for k, v in record.items() if k not in varies} == {k: v for k, v in routed.items() if k not in varies}
    assert [row["model"] for row in routed["candidates"]] == [row["model"] for row in record["candidates"]]
    assert len(box.asked()) == 1


# Headers


def test_an_answer_says_how_it_came_about(box: Box) -> None:
    raw = box.client.chat.completions.with_raw_response.create(model="tier/low", messages=HELLO)

    headers = raw.headers
    answer = raw.parse()
    assert headers["x-router-id"].startswith("req_")
    assert headers["x-request-id"] == headers["x-router-id"] == answer._request_id  # noqa: SLF001, the SDK's public name
    assert headers["x-router-provider"] == "up"
    assert headers["x-router-model"] == "small"
    assert headers["x-router-route"] == "tier/low"
    assert "cheapest" in headers["x-router-reason"]
    assert headers["x-router-attempts"] == "1"
    assert headers["x-router-cache"] == "bypass"
    assert 0 <= float(headers["x-router-overhead-ms"]) <= int(headers["openai-processing-ms"]) + 1
    assert headers["x-router-upstream-request-id"].startswith("req_mock_")
    assert headers["content-type"] == "application/json"


def test_the_cost_is_tokens_by_price(box: Box) -> None:
    raw = box.client.chat.completions.with_raw_response.create(model="up/small", messages=HELLO)

    usage = raw.parse().usage
    assert usage is not None
    cost = (usage.prompt_tokens * LIGHT["input"] + usage.completion_tokens * LIGHT["output"]) / 1e6
    assert float(raw.headers["x-router-cost-usd"]) == pytest.approx(cost)


def test_there_is_no_cost_without_a_price(box: Box) -> None:
    raw = box.client.chat.completions.with_raw_response.create(model="up/medium", messages=HELLO)

    assert "x-router-cost-usd" not in raw.headers


def test_of_the_upstreams_headers_only_openais_pass(box: Box) -> None:
    raw = box.client.chat.completions.with_raw_response.create(model="up/small", messages=HELLO)

    assert raw.headers["openai-version"] == "2020-10-01"
    assert not {"set-cookie", "x-ratelimit-remaining-requests", "content-encoding"} & set(raw.headers)


def test_our_processing_time_stands_and_not_the_upstreams(box: Box) -> None:
    raw = box.client.chat.completions.with_raw_response.create(model="up/small", messages=HELLO)

    assert len(raw.headers.get_list("openai-processing-ms")) == 1


def test_a_client_that_names_its_request_gets_the_name_back(box: Box) -> None:
    answer = box.ask("up/small", extra_headers={"x-request-id": "my-own-id_42"})

    assert answer._request_id == "my-own-id_42"  # noqa: SLF001, the SDK's public name


def test_the_clients_credentials_do_not_reach_the_upstream(box: Box) -> None:
    extra = {
        "cookie": "session=1",
        "x-forwarded-for": "10.0.0.1",
        "forwarded": "for=10.0.0.1",
        "api-key": "another-client-key",
        "x-api-key": "another-client-key",
        "idempotency-key": "once-only",
        "openai-beta": "assistants=v2",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }

    client = box.client.with_options(organization="org-1", project="proj-1")
    client.chat.completions.create(model="up/small", messages=HELLO, extra_headers=extra)

    [request] = box.upstream.requests
    assert request.headers["authorization"] == "Bearer the-provider-key"
    assert {name: request.headers.get(name) for name in ("idempotency-key", "openai-beta", "traceparent")} == {
        name: extra[name] for name in ("idempotency-key", "openai-beta", "traceparent")
    }
    ours = {"host", "authorization", "content-type", "accept", "content-length", "connection", "accept-encoding"}
    assert set(request.headers) <= {*ours, "user-agent", "idempotency-key", "openai-beta", "traceparent"}
    assert "openai" not in request.headers.get("user-agent", "").lower()


def test_a_keyless_provider_gets_no_credential(box: Box) -> None:
    box.ask("quiet/quick")

    [request] = box.upstream.requests
    assert "authorization" not in request.headers


# Errors


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, openai.BadRequestError, "said_so"),
        (409, openai.ConflictError, "said_so"),
        (422, openai.UnprocessableEntityError, "said_so"),
        (404, openai.NotFoundError, "model_not_found"),
        (429, openai.RateLimitError, "rate_limit_exceeded"),
        (500, openai.InternalServerError, "upstream_error"),
        (503, openai.InternalServerError, "overloaded"),
        (529, openai.InternalServerError, "overloaded"),
        (401, openai.InternalServerError, "upstream_error"),
        (403, openai.InternalServerError, "upstream_error"),
        (408, openai.InternalServerError, "upstream_timeout"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_upstream_errors_map_to_sdk_exceptions(
    box: Box, status: int, error: type[openai.APIStatusError], code: str, stream: bool
) -> None:
    with pytest.raises(error) as caught:
        box.ask(f"open/status-{status}-{stream}", stream=stream)

    assert type(caught.value) is error
    assert caught.value.code == code
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.response.headers["x-router-id"].startswith("req_")
    assert caught.value.request_id == caught.value.response.headers["x-router-id"]
    assert "x-ratelimit-limit-requests" not in caught.value.response.headers


def test_another_4xx_of_the_upstream_passes_with_its_words(box: Box) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        box.ask("open/status-400-words")

    assert caught.value.body == {
        "message": "The upstream says 400.", "type": "upstream_says", "param": None, "code": "said_so",
    }  # fmt: skip


@pytest.mark.parametrize("status", [429, 503])
def test_who_is_to_come_back_is_told_when(box: Box, status: int) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        box.ask(f"open/status-{status}-when")

    headers = caught.value.response.headers
    assert int(headers["retry-after"]) >= 1
    assert int(headers["retry-after-ms"]) <= int(headers["retry-after"]) * 1000


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"n": 0}, "n"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"stop": 5}, "stop"),
        ({"tools": "none"}, "tools"),
        ({"response_format": "json"}, "response_format"),
    ],
)
def test_a_wrong_parameter_is_a_bad_request_that_names_it(box: Box, body: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        box.ask("up/small", extra_body=body)

    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert box.asked() == []


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503, 529])
def test_the_sdk_does_not_try_again_what_we_have_tried(box: Box, status: int) -> None:
    model = f"open/status-{status}-again"
    with pytest.raises(openai.APIStatusError) as alone:
        box.ask(model)
    attempts = len(box.asked())
    box.reset()

    with pytest.raises(openai.APIStatusError) as patient:
        box.client.with_options(max_retries=3).chat.completions.create(model=model, messages=HELLO)

    assert type(patient.value) is type(alone.value)
    assert len(box.asked()) == attempts


def test_what_is_not_found_is_an_error_in_openais_shape(box: Box) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        box.client.post("/no/such/thing", body={}, cast_to=object)

    assert caught.value.code == "not_found"
    assert caught.value.request_id is not None


def test_the_admin_api_wants_its_token(box: Box) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        box.admin("the-client-key").get("/config", cast_to=object)

    assert caught.value.code == "invalid_api_key"


def test_without_a_token_the_admin_api_is_a_permission_error(box: Box, tmp_path: Any) -> None:
    with signalbox({"providers": {"mock": {"dialect": "mock"}}}, tmp_path) as running:
        admin = box.client.with_options(base_url=f"{running.url}/admin")

        with pytest.raises(openai.PermissionDeniedError) as caught:
            admin.get("/config", cast_to=object)

    assert caught.value.code == "admin_disabled"


def test_an_answer_that_breaks_off_is_no_answer(box: Box) -> None:
    with pytest.raises(openai.InternalServerError):
        box.ask("open/x:cut")


def test_a_stream_that_breaks_off_is_an_error_in_the_stream(box: Box) -> None:
    stream: Any = box.ask("open/x:cut", stream=True)

    with pytest.raises(openai.APIError) as caught:
        list(stream)

    assert caught.value.code == "upstream_error"
