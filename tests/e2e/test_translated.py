"""Anthropic and Gemini as an OpenAI client sees them: the SDK, Signalbox and an upstream on real sockets.

The upstream answers as its API's documentation has it, and is as strict as the API where that matters: a turn of a tool
loop whose thinking is not the one that it signed is refused. Recorded traffic is replayed where a folder has it.
"""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import openai
import pydantic
import pytest

from tests.support import exchanges, upstreams
from tests.support.exchanges import CUTS, Exchange
from tests.support.natives import (
    PIXEL,
    WIRE_FORMATS,
    NativeRequest,
    NativeUpstream,
    anthropic_message,
    anthropic_stream,
    gemini_chunk,
    gemini_stream,
    replayed,
    wire_format_of,
)
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import EVENT_STREAM, Script, Wire, plain, stream

HELLO: Any = [{"role": "user", "content": "Hello there"}]
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
THINKING = {
    "anthropic": {"high": {"thinking": {"type": "enabled", "budget_tokens": 2048}}},
    "gemini": {"high": {"thinkingConfig": {"includeThoughts": True, "thinkingLevel": "high"}}},
}
MODELS = {"anthropic": "anthropic/claude", "gemini": "gemini/flash"}
_ANSWERS = itertools.count(1)  # no two answers have the same id
each_dialect = pytest.mark.parametrize("dialect", MODELS)
each_form = pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])


def configuration(url: str) -> dict[str, Any]:
    """The two APIs and an OpenAI-compatible one."""
    keys = [{"id": "main", "value": "the-provider-key"}]
    able = ["tools", "vision", "files", "json_schema", "reasoning"]
    return {
        "store": "none",
        "auth": {"admin_token": "admin"},
        "providers": {
            "openai": {"base_url": f"{url}/v1", "keys": keys},
            **{name: {"dialect": name, "base_url": url, "keys": keys, "any_model": True} for name in MODELS},
            "vertex": {
                "dialect": "gemini",
                "vertex": True,
                "base_url": f"{url}/v1/projects/p/locations/l/publishers/google",
                "any_model": True,
            },
        },
        "models": [
            {"id": "openai/gpt"},
            {"id": "anthropic/claude", "capabilities": able, "thinking": THINKING["anthropic"]},
            {"id": "anthropic/older", "capabilities": ["tools", "vision"]},
            {"id": "gemini/flash", "capabilities": able, "thinking": THINKING["gemini"]},
        ],
        "routing": {
            "scenarios": {
                "mixed": ["anthropic/claude", "openai/gpt"],
                "back": ["openai/gpt", "anthropic/claude"],
                "all": ["gemini/flash", "anthropic/claude", "openai/gpt"],
            }
        },
        "resilience": without_breakers(same_target=0),
    }


@pytest.fixture(scope="module")
def box(module_natives: NativeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with signalbox(configuration(module_natives.url), tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_natives: NativeUpstream, box: Running, http: httpx.Client) -> NativeUpstream:
    """The module's, with nothing left in it, and no key of ours resting."""
    module_natives.clear()
    http.post(f"{box.url}/admin/breakers/reset", headers={"authorization": "Bearer admin"}).raise_for_status()
    return module_natives


def native_answer(dialect: str, *content: dict[str, Any], reason: str | None = None) -> Script:
    """The same answer streamed or not, as the request asks: of Anthropic's blocks or of Gemini's parts."""

    async def script(wire: Wire) -> None:
        answered = f"r{next(_ANSWERS)}"
        if dialect == "anthropic":
            calls = any(block["type"] == "tool_use" for block in content)
            why = reason or ("tool_use" if calls else "end_turn")
            events, whole = anthropic_stream(*content, reason=why), anthropic_message(*content, reason=why)
        else:
            why = reason or "STOP"
            events, whole = (
                gemini_stream(*content, finish=why, id=answered),
                gemini_chunk(*content, finish=why, id=answered),
            )
        await (stream(events) if wire.request.stream else plain(json.dumps(whole).encode()))(wire)

    return script


def text(dialect: str, text: str) -> dict[str, Any]:
    return {"type": "text", "text": text} if dialect == "anthropic" else {"text": text}


def call(dialect: str, id: str, name: str, /, **arguments: Any) -> dict[str, Any]:
    if dialect == "anthropic":
        return {"type": "tool_use", "id": id, "name": name, "input": arguments}
    return {"functionCall": {"name": name, "args": arguments}}


def complete(client: openai.OpenAI, streams: bool, **asked: Any) -> Any:
    """The whole completion, added up by the SDK itself where it is streamed."""
    if not streams:
        return client.chat.completions.create(**asked)
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as parts:
        return parts.get_final_completion()


# The shape of streams


RICH = {
    "anthropic": (
        {"type": "thinking", "thinking": "Zoë thinks: 日本 🚦", "signature": "c2ln"},
        {"type": "text", "text": "Grüße, 日本 🚦 — done."},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Tōkyō 🗼"}},
        {"type": "tool_use", "id": "toolu_2", "name": "get_weather", "input": {}},
    ),
    "gemini": (
        {"text": "Zoë thinks: 日本 🚦", "thought": True},
        {"text": "Grüße, 日本 🚦 "},
        {"text": "— done."},
        {"functionCall": {"name": "get_weather", "args": {"city": "Tōkyō 🗼"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "get_weather", "args": {}}},
    ),
}


def rich(dialect: str) -> bytes:
    """A stream with thinking, text beyond ASCII and two tool calls."""
    made = (
        anthropic_stream(*RICH[dialect], reason="tool_use") if dialect == "anthropic" else gemini_stream(*RICH[dialect])
    )
    return b"".join(made)


def posted(http: httpx.Client, box: Running, **body: Any) -> httpx.Response:
    return http.post(f"{box.url}/v1/chat/completions", json={"messages": HELLO, **body})


def chunks_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream that ends with `[DONE]`, each with nothing but data."""
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(item.startswith("data: ") and "\n" not in item for item in events[:-1])
    return [json.loads(item.removeprefix("data: ")) for item in events[:-2]]


@each_dialect
@pytest.mark.parametrize("usage", [True, False], ids=["usage", "no usage"])
def test_a_stream_has_the_shape_that_openai_gives_it(
    http: httpx.Client, box: Running, upstream: NativeUpstream, dialect: str, *, usage: bool
) -> None:
    model = MODELS[dialect]
    upstream.script(model.partition("/")[2], replayed(rich(dialect), stream=True, how="whole", rng=Random(1)))
    more = {"stream_options": {"include_usage": True}} if usage else {}

    answer = posted(http, box, model=model, stream=True, **more)

    parts = chunks_of(answer)
    deltas = [choice["delta"] for part in parts for choice in part["choices"]]
    finishes = [choice["finish_reason"] for part in parts for choice in part["choices"]]
    assert answer.headers["content-type"] == EVENT_STREAM
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert len({(part["id"], part["created"], part["model"], part["object"]) for part in parts}) == 1
    assert parts[0]["id"].startswith("chatcmpl-")
    assert parts[0]["model"] == "upstream"
    assert ["role" in delta for delta in deltas] == [True] + [False] * (len(deltas) - 1)
    assert finishes == [None] * (len(finishes) - 1) + ["tool_calls"]
    assert [bool(part.get("usage")) for part in parts] == [False] * (len(parts) - 1) + [usage]
    assert parts[-1]["choices"] == ([] if usage else parts[-1]["choices"][:1])
    assert all(("usage" in part) is usage for part in parts)


@each_dialect
def test_a_stream_does_not_depend_on_how_it_was_cut(
    http: httpx.Client, box: Running, upstream: NativeUpstream, dialect: str
) -> None:
    model = MODELS[dialect]
    found = []
    for number, how in enumerate(["whole", *CUTS * 3]):
        script = replayed(rich(dialect), stream=True, how=how, rng=Random(number))
        upstream.script(model.partition("/")[2], script)
        found.append(posted(http, box, model=model, stream=True))

    firsts = chunks_of(found[0])
    identity = {name: firsts[0][name] for name in ("id", "created")}
    for answer in found[1:]:
        assert [{**part, **identity} for part in chunks_of(answer)] == firsts


@each_dialect
def test_streamed_or_not_the_facts_are_the_same(sdk: openai.OpenAI, upstream: NativeUpstream, dialect: str) -> None:
    upstream.script(MODELS[dialect].partition("/")[2], native_answer(dialect, *RICH[dialect]))
    asked: Any = {"model": MODELS[dialect], "messages": HELLO, "tools": [WEATHER]}

    whole, added = complete(sdk, False, **asked), complete(sdk, True, **asked)

    for found in (whole, added):
        [choice] = found.choices
        assert choice.message.content == "Grüße, 日本 🚦 — done."
        assert choice.message.reasoning_content == "Zoë thinks: 日本 🚦"
        assert [json.loads(each.function.arguments) for each in choice.message.tool_calls] == [{"city": "Tōkyō 🗼"}, {}]
        assert len({each.id for each in choice.message.tool_calls}) == 2
        assert (choice.finish_reason, found.usage.prompt_tokens, found.usage.completion_tokens) == ("tool_calls", 7, 3)
        assert found.usage.total_tokens == 10


@each_form
def test_usage_tells_what_was_cached_and_thought(
    sdk: openai.OpenAI, upstream: NativeUpstream, access_log: Any, *, streams: bool
) -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 20, "output_tokens": 9}
    block = {"type": "text", "text": "good"}
    counts = {"cachedContentTokenCount": 4, "thoughtsTokenCount": 6}

    async def claude(wire: Wire) -> None:
        events, whole = anthropic_stream(block, **usage), anthropic_message(block, **usage)
        await (stream(events) if wire.request.stream else plain(json.dumps(whole).encode()))(wire)

    async def flash(wire: Wire) -> None:
        events = gemini_stream({"text": "go"}, {"text": "od"}, **counts)
        whole = json.dumps(gemini_chunk({"text": "good"}, finish="STOP", **counts)).encode()
        await (stream(events) if wire.request.stream else plain(whole))(wire)

    upstream.script("claude", claude)
    upstream.script("flash", flash)

    first = complete(sdk, streams, model="anthropic/claude", messages=HELLO).usage
    second = complete(sdk, streams, model="gemini/flash", messages=HELLO).usage

    assert (first.prompt_tokens, first.prompt_tokens_details.cached_tokens, first.completion_tokens) == (55, 30, 9)
    assert (second.prompt_tokens, second.prompt_tokens_details.cached_tokens) == (7, 4)
    assert (second.completion_tokens, second.completion_tokens_details.reasoning_tokens) == (9, 6)
    assert [(line["input_tokens"], line["output_tokens"]) for line in (access_log.next(), access_log.next())] == [
        (55, 9),
        (7, 9),
    ]


def test_parts_of_google_itself_can_be_added_up_by_the_sdk(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    ran = {"executableCode": {"language": "PYTHON", "code": "print(1)"}}
    came = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}
    upstream.script("flash", native_answer("gemini", ran, came, {"text": "good"}))

    found = complete(sdk, True, model="gemini/flash", messages=HELLO)
    echoed = [*HELLO, found.choices[0].message.model_dump(exclude_none=True), *HELLO]
    complete(sdk, False, model="gemini/flash", messages=echoed)

    assert found.choices[0].message.content == "good"
    assert upstream.requests[1].json["contents"][1]["parts"] == [ran, came, {"text": "good"}]


# Tool loops


TURNS = 5


def refusal_of(dialect: str, why: str) -> Script:
    status = (
        {"type": "invalid_request_error"} if dialect == "anthropic" else {"status": "INVALID_ARGUMENT", "code": 400}
    )
    return plain(json.dumps({"type": "error", "error": {"message": why, **status}}).encode(), 400)


async def strict_anthropic(wire: Wire) -> None:
    """Thinks and calls a tool in each turn, two in the third; wants its own signed thinking back, and each result."""
    messages = wire.request.json["messages"]
    turns = [message["content"] for message in messages if message["role"] == "assistant"]
    for number, blocks in enumerate(turns):
        if blocks[0] != {"type": "thinking", "thinking": f"thought {number}", "signature": f"c2ln{number}"}:
            await refusal_of("anthropic", f"turn {number} begins with {blocks[0]}")(wire)
            return
        results = [block for block in messages[2 * number + 2]["content"] if block["type"] == "tool_result"]
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if sorted(result["tool_use_id"] for result in results) != sorted(calls) or not calls:
            await refusal_of("anthropic", f"turn {number} has {calls}, and its results are {results}")(wire)
            return
    number = len(turns)
    if "thinking" not in wire.request.json:
        await refusal_of("anthropic", "thinking is not asked for")(wire)
        return
    thought = {"type": "thinking", "thinking": f"thought {number}", "signature": f"c2ln{number}"}
    if number == TURNS:
        await native_answer("anthropic", thought, {"type": "text", "text": "good"})(wire)
        return
    calls = [
        call("anthropic", f"toolu_{number}_{place}", "get_weather", city=f"c{number}")
        for place in range(1 + (number == 2))
    ]
    await native_answer("anthropic", thought, {"type": "text", "text": f"turn {number}"}, *calls)(wire)


async def strict_gemini(wire: Wire) -> None:
    """The same for Gemini, which signs the first call of each turn and knows results by name."""
    contents = wire.request.json["contents"]
    turns = [content["parts"] for content in contents if content["role"] == "model"]
    for number, parts in enumerate(turns):
        calls = [part for part in parts if "functionCall" in part]
        results = [part for part in contents[2 * number + 2]["parts"] if "functionResponse" in part]
        if [part.get("thoughtSignature") for part in calls] != [f"c2ln{number}", None][: len(calls)] or not calls:
            await refusal_of("gemini", f"turn {number} has the calls {calls}")(wire)
            return
        if sorted(part["functionResponse"]["name"] for part in results) != ["get_weather"] * len(calls):
            await refusal_of("gemini", f"turn {number} has the results {results}")(wire)
            return
    number = len(turns)
    if "thinkingConfig" not in wire.request.json.get("generationConfig", {}):
        await refusal_of("gemini", "thinking is not asked for")(wire)
        return
    thought = {"text": f"thought {number}", "thought": True}
    if number == TURNS:
        await native_answer("gemini", thought, {"text": "good"})(wire)
        return
    calls = [call("gemini", "", "get_weather", city=f"c{number}") for _ in range(1 + (number == 2))]
    calls[0]["thoughtSignature"] = f"c2ln{number}"
    await native_answer("gemini", thought, {"text": f"turn {number}"}, *calls)(wire)


STRICT: dict[str, Script] = {"anthropic": strict_anthropic, "gemini": strict_gemini}


def forgetful(message: Any) -> dict[str, Any]:
    """An assistant's message as most clients send it back: what OpenAI's API has, and nothing else."""
    calls = [
        {
            "id": each.id,
            "type": "function",
            "function": {"name": each.function.name, "arguments": each.function.arguments},
        }
        for each in message.tool_calls
    ]
    return {"role": "assistant", "content": message.content, "tool_calls": calls}


def echoing(message: Any) -> dict[str, Any]:
    """An assistant's message with all that came in it."""
    dumped: dict[str, Any] = message.model_dump(exclude_none=True)
    return dumped


def loop(
    clients: list[openai.OpenAI], model: str, remember: Callable[[Any], dict[str, Any]], streams: bool
) -> list[Any]:
    """Run a tool loop to its end, turn by turn with the next client; results of parallel calls in reverse order."""
    messages: list[Any] = [{"role": "system", "content": "Be brief."}, *HELLO]
    replies = []
    for turn in range(TURNS + 1):
        client = clients[turn % len(clients)]
        answer = complete(
            client, streams, model=model, messages=messages, tools=[WEATHER], reasoning_effort="high", max_tokens=9000
        )
        replies.append(answer.choices[0])
        if answer.choices[0].finish_reason != "tool_calls":
            break
        message = answer.choices[0].message
        results = [{"role": "tool", "tool_call_id": each.id, "content": "sunny"} for each in message.tool_calls]
        messages += [remember(message), *reversed(results)]
    return replies


def assert_looped(replies: list[Any], upstream: NativeUpstream) -> None:
    """Every turn thought, called, and was accepted."""
    assert [reply.finish_reason for reply in replies] == ["tool_calls"] * TURNS + ["stop"]
    assert [len(reply.message.tool_calls or []) for reply in replies] == [1, 1, 2, 1, 1, 0]
    assert [reply.message.reasoning_content for reply in replies] == [f"thought {turn}" for turn in range(TURNS + 1)]
    assert replies[-1].message.content == "good"
    assert len(upstream.requests) == TURNS + 1


@each_dialect
@each_form
def test_a_tool_loop_with_thinking_that_is_not_echoed(
    sdk: openai.OpenAI, upstream: NativeUpstream, dialect: str, *, streams: bool
) -> None:
    model = MODELS[dialect]
    upstream.script(model.partition("/")[2], STRICT[dialect])

    replies = loop([sdk], model, forgetful, streams)

    assert_looped(replies, upstream)


@each_dialect
@each_form
def test_a_tool_loop_with_echoed_thinking_over_two_replicas(
    sdk: openai.OpenAI, upstream: NativeUpstream, tmp_path: Path, dialect: str, *, streams: bool
) -> None:
    model = MODELS[dialect]
    upstream.script(model.partition("/")[2], STRICT[dialect])

    with (
        signalbox(configuration(upstream.url), tmp_path) as other,
        openai.OpenAI(base_url=f"{other.url}/v1", api_key="sb-client", max_retries=0) as second,
    ):
        replies = loop([sdk, second], model, echoing, streams)

    assert_looped(replies, upstream)


@each_dialect
def test_results_come_back_in_any_order(sdk: openai.OpenAI, upstream: NativeUpstream, dialect: str) -> None:
    model = MODELS[dialect]
    answers = [
        native_answer(
            dialect, *(call(dialect, f"toolu_{n}", name, n=n) for n, name in enumerate(("one", "two", "three")))
        )
    ]
    upstream.script(model.partition("/")[2], *answers, native_answer(dialect, text(dialect, "good")))
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("one", "two", "three")]

    first: Any = sdk.chat.completions.create(model=model, messages=HELLO, tools=tools)  # type: ignore[arg-type]
    calls = first.choices[0].message.tool_calls
    results = [{"role": "tool", "tool_call_id": each.id, "content": f"of {each.function.name}"} for each in calls]
    messages = [*HELLO, forgetful(first.choices[0].message), results[2], results[0], results[1]]
    second = sdk.chat.completions.create(model=model, messages=messages, tools=tools)  # type: ignore[arg-type]

    assert second.choices[0].message.content == "good"
    last = upstream.requests[1].json["messages" if dialect == "anthropic" else "contents"][-1]
    if dialect == "anthropic":
        found = {block["tool_use_id"]: block["content"] for block in last["content"]}
        assert found == {"toolu_0": "of one", "toolu_1": "of two", "toolu_2": "of three"}
    else:
        names = [part["functionResponse"]["name"] for part in last["parts"]]
        assert [
            (name, part["functionResponse"]["response"]) for name, part in zip(names, last["parts"], strict=True)
        ] == [(name, {"result": f"of {name}"}) for name in names]
        assert sorted(names) == ["one", "three", "two"]


# Structured output, images


class City(pydantic.BaseModel):
    """What the model is to say."""

    name: str
    rivers: list[str]


@each_form
@pytest.mark.parametrize("model", ["anthropic/claude", "anthropic/older", "gemini/flash"])
def test_structured_output_is_parsed_by_the_sdk(
    sdk: openai.OpenAI, upstream: NativeUpstream, model: str, *, streams: bool
) -> None:
    city = {"name": "Tōkyō", "rivers": ["Sumida"]}

    async def script(wire: Wire) -> None:
        body = wire.request.json
        if "output_config" in body:
            assert body["output_config"]["format"]["schema"]["required"] == ["name", "rivers"]
            await native_answer("anthropic", text("anthropic", json.dumps(city)))(wire)
        elif "tool_choice" in body:
            name = body["tool_choice"]["name"]
            await native_answer("anthropic", call("anthropic", "toolu_1", name, **city))(wire)
        else:
            assert body["generationConfig"]["responseMimeType"] == "application/json"
            assert body["generationConfig"]["responseJsonSchema"]["required"] == ["name", "rivers"]
            await native_answer("gemini", text("gemini", json.dumps(city)))(wire)

    upstream.script(model.partition("/")[2], script)

    if streams:
        with sdk.chat.completions.stream(model=model, messages=HELLO, response_format=City) as parts:
            found = parts.get_final_completion()
    else:
        found = sdk.chat.completions.parse(model=model, messages=HELLO, response_format=City)

    assert found.choices[0].message.parsed == City(**city)  # type: ignore[arg-type]
    assert (found.choices[0].finish_reason, found.choices[0].message.tool_calls or []) == ("stop", [])


@pytest.mark.parametrize("url", [f"data:image/gif;base64,{PIXEL}", "https://example.com/a.png"], ids=["data", "url"])
@each_dialect
def test_images_reach_the_model(sdk: openai.OpenAI, upstream: NativeUpstream, dialect: str, url: str) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]

    found = sdk.chat.completions.create(model=MODELS[dialect], messages=[{"role": "user", "content": parts}])  # type: ignore[list-item,misc]

    body, inline = upstream.requests[0].json, url.startswith("data:")
    assert found.choices[0].finish_reason == "stop"
    if dialect == "anthropic":
        source = {"type": "base64", "media_type": "image/gif", "data": PIXEL} if inline else {"type": "url", "url": url}
        assert body["messages"][0]["content"][1] == {"type": "image", "source": source}
    elif inline:
        assert body["contents"][0]["parts"][1] == {"inlineData": {"mimeType": "image/gif", "data": PIXEL}}
    else:
        assert body["contents"][0]["parts"][1]["fileData"]["fileUri"] == url


# Parameters


@each_form
def test_what_a_target_cannot_take_is_named(sdk: openai.OpenAI, upstream: NativeUpstream, *, streams: bool) -> None:
    asked: Any = {"messages": HELLO, "seed": 7, "user": "me", "temperature": 1.5, "store": True, "stream": streams}

    claude = sdk.chat.completions.with_raw_response.create(model="anthropic/claude", **asked)
    flash = sdk.chat.completions.with_raw_response.create(model="gemini/flash", **asked)

    assert sorted(claude.headers["x-router-dropped"].split(",")) == ["seed", "store", "temperature"]
    assert sorted(flash.headers["x-router-dropped"].split(",")) == ["store", "user"]
    native, google = upstream.requests[0].json, upstream.requests[1].json
    assert (native["temperature"], native["metadata"], "seed" in native) == (1, {"user_id": "me"}, False)
    assert (google["generationConfig"]["temperature"], google["generationConfig"]["seed"]) == (1.5, 7)


@each_form
def test_nothing_is_named_where_nothing_was_dropped(
    sdk: openai.OpenAI, upstream: NativeUpstream, *, streams: bool
) -> None:
    for model in MODELS.values():
        found = sdk.chat.completions.with_raw_response.create(
            model=model, messages=HELLO, max_completion_tokens=5, temperature=0.5, stop="x", stream=streams
        )

        assert "x-router-dropped" not in found.headers


LACKING: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "n": ({"n": 2}, "n", ["anthropic"]),
    "logprobs": ({"logprobs": True}, "logprobs", ["anthropic"]),
    "logit_bias": ({"logit_bias": {"1": 1}}, "logit_bias", ["anthropic", "gemini"]),
    "audio": (
        {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
        "audio",
        ["anthropic", "gemini"],
    ),
    "web search": ({"web_search_options": {}}, "web_search_options", ["anthropic", "gemini"]),
}


@each_form
@pytest.mark.parametrize(("asked", "param", "dialects"), LACKING.values(), ids=LACKING.keys())
def test_what_no_target_can_do_is_a_400_that_names_it(
    sdk: openai.OpenAI,
    upstream: NativeUpstream,
    access_log: Any,
    asked: dict[str, Any],
    param: str,
    dialects: list[str],
    *,
    streams: bool,
) -> None:
    for dialect in dialects:
        with pytest.raises(openai.BadRequestError) as raised:
            sdk.chat.completions.create(model=MODELS[dialect], messages=HELLO, stream=streams, **asked)

        assert raised.value.param in (param, "modalities")
        assert raised.value.response.headers["x-should-retry"] == "false"
        assert raised.value.response.headers["x-router-attempts"] == "0"
        assert (access_log.next()["attempts"], upstream.requests) == ([], [])


@each_form
@pytest.mark.parametrize(("asked", "param", "dialects"), LACKING.values(), ids=LACKING.keys())
def test_a_target_that_cannot_do_it_is_passed_over(
    sdk: openai.OpenAI,
    upstream: NativeUpstream,
    asked: dict[str, Any],
    param: str,
    dialects: list[str],
    *,
    streams: bool,
) -> None:
    found = sdk.chat.completions.with_raw_response.create(
        model="scenario/mixed", messages=HELLO, stream=streams, **asked
    )

    assert (found.headers["x-router-model"], found.headers["x-router-attempts"]) == ("gpt", "1")
    assert "x-router-dropped" not in found.headers
    assert upstream.models == ["gpt"]
    assert {name: upstream.requests[0].json[name] for name in asked} == asked


def test_two_answers_of_gemini(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    value = gemini_chunk({"text": "one"}, finish="STOP")
    value["candidates"].append({**gemini_chunk({"text": "two"}, finish="STOP")["candidates"][0], "index": 1})
    upstream.script("flash", plain(json.dumps(value).encode()))

    found = sdk.chat.completions.create(model="gemini/flash", messages=HELLO, n=2)

    assert [choice.message.content for choice in found.choices] == ["one", "two"]
    assert upstream.requests[0].json["generationConfig"]["candidateCount"] == 2


# Plans over several APIs


@each_form
@pytest.mark.parametrize(
    ("scenario", "failing", "answering"),
    [("mixed", "claude", "gpt"), ("back", "gpt", "claude"), ("all", "flash", "claude")],
)
def test_a_plan_falls_back_from_one_api_to_another(
    sdk: openai.OpenAI, upstream: NativeUpstream, scenario: str, failing: str, answering: str, *, streams: bool
) -> None:
    async def fail(wire: Wire) -> None:
        await plain(wire_format_of(wire.request).refusal(500, "no"), 500)(wire)

    upstream.script(failing, fail)

    found = complete(sdk, streams, model=f"scenario/{scenario}", messages=HELLO, seed=7)

    assert found.choices[0].message.content == upstreams.text_of(answering)
    assert upstream.models == [failing, answering]
    assert {
        request.headers.get("authorization")
        for request in upstream.requests
        if wire_format_of(request).name == "openai"
    } <= {"Bearer the-provider-key"}


def test_each_api_gets_only_its_own_credential(sdk: openai.OpenAI, upstream: NativeUpstream) -> None:
    for model in ("anthropic/claude", "gemini/flash", "openai/gpt"):
        sdk.chat.completions.create(model=model, messages=HELLO, extra_headers={"anthropic-beta": "a-1", "cookie": "c"})

    names = ("authorization", "x-api-key", "x-goog-api-key", "anthropic-version", "cookie")
    seen = [{name: request.headers[name] for name in names if name in request.headers} for request in upstream.requests]
    assert seen == [
        {"x-api-key": "the-provider-key", "anthropic-version": "2023-06-01"},
        {"x-goog-api-key": "the-provider-key"},
        {"authorization": "Bearer the-provider-key"},
    ]
    assert upstream.requests[0].headers["anthropic-beta"] == "a-1"
    assert [request.path for request in upstream.requests] == [
        "/v1/messages",
        "/v1beta/models/flash:generateContent",
        "/v1/chat/completions",
    ]


@each_dialect
def test_a_debug_record_is_told_in_the_body(sdk: openai.OpenAI, upstream: NativeUpstream, dialect: str) -> None:
    asked: Any = {"model": MODELS[dialect], "messages": HELLO, "extra_body": {"router": {"debug": True}}}

    whole: Any = sdk.chat.completions.create(**asked)
    parts: Any = list(sdk.chat.completions.create(**asked, stream=True))

    for router in (whole.router, parts[-1].router):
        assert [attempt["outcome"] for attempt in router["attempts"]] == ["ok"]
    assert parts[-1].choices == []


@each_form
@each_dialect
def test_an_error_of_the_provider_keeps_its_words(
    sdk: openai.OpenAI, upstream: NativeUpstream, dialect: str, *, streams: bool
) -> None:
    identity = {
        "anthropic": ("prompt is too long: 210000 tokens > 200000 maximum", "context_length_exceeded"),
        "gemini": (
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "context_length_exceeded",
        ),
    }
    message, code = identity[dialect]
    upstream.script(MODELS[dialect].partition("/")[2], refusal_of(dialect, message))

    with pytest.raises(openai.BadRequestError) as raised:
        sdk.chat.completions.create(model=MODELS[dialect], messages=HELLO, stream=streams)

    assert (raised.value.code, raised.value.param) == (code, "messages")
    assert message in raised.value.message


@each_form
def test_a_refusal_of_the_model_is_a_content_filter(
    sdk: openai.OpenAI, upstream: NativeUpstream, *, streams: bool
) -> None:
    upstream.script("claude", native_answer("anthropic", text("anthropic", "I"), reason="refusal"))
    upstream.script("flash", native_answer("gemini", text("gemini", "I"), reason="SAFETY"))

    found = [complete(sdk, False, model=model, messages=HELLO) for model in MODELS.values()]

    assert [each.choices[0].finish_reason for each in found] == ["content_filter"] * 2


@each_dialect
def test_a_client_that_leaves_closes_the_upstreams_connection(
    http: httpx.Client, box: Running, upstream: NativeUpstream, access_log: Any, dialect: str
) -> None:
    model = MODELS[dialect]
    wire_format = WIRE_FORMATS[dialect]
    upstream.script(model.partition("/")[2], stream([*wire_format.opening, *wire_format.words("a")], Wire.stall))
    body = {"model": model, "messages": HELLO, "stream": True}

    with http.stream("POST", f"{box.url}/v1/chat/completions", json=body) as found:
        next(found.iter_raw())

    assert upstream.next().left() > 0
    assert access_log.next()["outcome"] == "client_closed"


# Recorded traffic


NATIVE = ("anthropic-messages", "gemini-generate", "vertex-generate", "fixtures", "errors")
APIS = {"anthropic-messages": "anthropic", "gemini-generate": "gemini", "vertex-generate": "vertex"}


@pytest.fixture(scope="module")
def compare() -> Any:
    """The comparison that lies beside the recordings."""
    tools = exchanges.FOLDER.parent / "tools"
    if not (tools / "compare.py").is_file():
        pytest.skip(f"no compare.py in {tools}: set SIGNALBOX_RECORDINGS to a folder that has it beside it")
    sys.path.insert(0, str(tools))
    try:
        return importlib.import_module("compare")
    finally:
        sys.path.remove(str(tools))


def pairs(name: str) -> list[tuple[Exchange, Exchange]]:
    """The recorded exchanges of a file with what is expected of them."""
    path = exchanges.FOLDER / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip("no recorded traffic: set SIGNALBOX_RECORDINGS to a folder of it")
    expected = {each["id"]: each for each in exchanges.read(exchanges.FOLDER / f"{name}.expected.jsonl")}
    found = [each for each in exchanges.read(path) if each["api"] in APIS and each["id"] in expected]
    return [(each, expected[each["id"]]) for each in found]


@pytest.mark.parametrize("name", NATIVE)
def test_recorded_answers_give_the_same_facts_however_cut(
    http: httpx.Client,
    box: Running,
    upstream: NativeUpstream,
    compare: Any,
    report: Callable[[str, object], None],
    name: str,
) -> None:
    answers = requests = 0
    wrong: list[Any] = []
    for exchange, expected in pairs(name):
        id, wanted, response = exchange["id"], expected["expected"], exchange["response"]
        rng = Random(id)
        model = f"replay-{id}"
        kind = exchange["stream"] and "text" in response
        script = replayed(
            exchanges.answer_of(exchange), stream=kind, how=rng.choice(CUTS), rng=rng, status=response["status"]
        )
        upstream.clear()
        upstream.script(model, script)
        given = expected["openai_request"]
        usage = {"stream": True, "stream_options": {"include_usage": True}} if exchange["stream"] else {}
        body = {**(given or {"messages": HELLO, **usage}), "model": f"{APIS[exchange['api']]}/{model}"}

        answer = http.post(f"{box.url}/v1/chat/completions", json=body)

        if answer.status_code >= 400:  # a key may rest now, which is no matter of the next one
            http.post(f"{box.url}/admin/breakers/reset", headers={"authorization": "Bearer admin"}).raise_for_status()
        facts = compare.openai_facts(answer.text)
        differences = [each for each in compare.answer_diff(wanted, facts) if each[0] == "hard"]
        if kind and wanted.get("native_finish", "") is None:  # it broke off before its finish, which is an error
            differences = [each for each in differences if each[1] != "error"]
        answers += 1
        if given and expected["request_mapping"] != "none" and upstream.requests:
            requests += 1
            sent = upstream.requests[0]
            assert isinstance(sent, NativeRequest)
            lost, soft = expected.get("not_expressible") or [], expected.get("soft_request") or []
            recorded = exchange["request"]
            native = compare.native_diff(
                exchange["api"], recorded["body"], sent.json, lost, soft, exchange["path"], sent.path
            )
            differences += [each for each in native if each[0] == "hard"]
        if differences:
            wrong.append((id, differences))

    report("answers", answers)
    report("requests", requests)
    assert wrong == []
