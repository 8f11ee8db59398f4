"""Chat bodies: read as far as routing needs it, and refused where no upstream could take them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.surfaces.openai.chat import read_chat
from tests.support.calls import snapshot

MESSAGES = [{"role": "user", "content": "Hi"}]


def read(raw: bytes, headers: dict[str, str] | None = None) -> Call:
    return read_chat(raw, headers or {}, id="req_1", request_id="theirs", snapshot=snapshot())


def body(**members: Any) -> bytes:
    return json.dumps({"model": "auto", "messages": MESSAGES, **members}).encode()


def refused(raw: bytes, headers: dict[str, str] | None = None) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as found:
        read(raw, headers)
    return found.value


def test_a_call_has_what_routing_needs() -> None:
    raw = body(router={"debug": True}, temperature=0.5)

    call = read(raw, {"accept": "*/*", "authorization": "secret", "cookie": "c", "x-router-client-id": "app"})

    assert (call.id, call.request_id, call.endpoint, call.raw, call.model) == ("req_1", "theirs", "chat", raw, "auto")
    assert call.body == {"model": "auto", "messages": MESSAGES, "temperature": 0.5}
    assert (call.stream, call.usage_asked) == (False, False)
    assert (call.options.debug, call.options.client_id) == (True, "app")
    assert call.headers == {"accept": "*/*"}
    assert call.raw[call.spans["model"].value : call.spans["model"].end] == b'"auto"'


def test_no_repr_shows_the_body_or_the_headers() -> None:
    call = read(body(messages=[{"role": "user", "content": "private"}]), {"accept": "own"})

    assert "private" not in repr(call)
    assert "own" not in repr(call)


@pytest.mark.parametrize(
    ("members", "stream", "usage"),
    [
        ({"stream": True}, True, False),
        ({"stream": None}, False, False),
        ({"stream": True, "stream_options": None}, True, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True, True),
        ({"stream": True, "stream_options": {"include_usage": False}}, True, False),
        ({"stream": True, "stream_options": {"include_usage": None}}, True, False),
    ],
)
def test_a_stream_and_its_usage_are_noticed(members: dict[str, Any], stream: bool, usage: bool) -> None:
    call = read(body(**members))

    assert (call.stream, call.usage_asked) == (stream, usage)


@pytest.mark.parametrize(
    "members",
    [
        {"n": 2, "max_tokens": 1, "max_completion_tokens": 5, "seed": -3},
        {"max_tokens": -1},
        {"max_completion_tokens": -1},
        {"temperature": 2, "top_p": 0.1, "presence_penalty": -2.0, "frequency_penalty": 0},
        {"stop": "x", "tool_choice": "auto"},
        {"stop": ["x", "y"], "tool_choice": {"type": "function"}},
        {"tools": [{}], "functions": [], "response_format": {"type": "text"}},
        {"user": "u", "parallel_tool_calls": False, "logprobs": True},
        {"n": None, "stop": None, "tools": None, "temperature": None, "stream_options": None, "router": None},
        {"unknown": {"of": ["any", 1, None]}, "max_tokens_to_sample": "x"},
        {"messages": [{"role": "anything", "content": None}, {"role": "tool"}, {"role": "user", "content": ["x"]}]},
    ],
)
def test_what_an_upstream_could_take_is_taken(members: dict[str, Any]) -> None:
    expected = {name: value for name, value in members.items() if name != "router"}

    assert read(body(**members)).body == {"model": "auto", "messages": MESSAGES, **expected}


@pytest.mark.parametrize(
    ("members", "param", "said"),
    [
        ({"model": None}, "model", "must provide `model`"),
        ({"model": ""}, "model", "must provide `model`"),
        ({"model": 4}, "model", "`model` must be a string"),
        ({"model": ["auto"]}, "model", "`model` must be a string"),
        ({"messages": None}, "messages", "must provide `messages`"),
        ({"messages": []}, "messages", "at least one message"),
        ({"messages": "Hi"}, "messages", "must be a list"),
        ({"messages": {}}, "messages", "must be a list"),
        ({"messages": [*MESSAGES, "Hi"]}, "messages[1]", "`messages[1]` must be an object"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role", "must be a string"),
        ({"messages": [{"role": 1}]}, "messages[0].role", "must be a string"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content", "a string or a list of parts"),
        ({"messages": [{"role": "user", "content": {}}]}, "messages[0].content", "a string or a list of parts"),
        ({"stream": "true"}, "stream", "a boolean"),
        ({"stream": 1}, "stream", "a boolean"),
        ({"stream_options": []}, "stream_options", "an object"),
        ({"stream_options": ""}, "stream_options", "an object"),
        ({"stream_options": {"include_usage": 1}}, "stream_options", "`stream_options.include_usage` must be"),
        ({"n": 0}, "n", "a positive integer"),
        ({"n": True}, "n", "a positive integer"),
        ({"n": 1.5}, "n", "a positive integer"),
        ({"max_tokens": "9"}, "max_tokens", "a positive integer"),
        ({"max_completion_tokens": -2}, "max_completion_tokens", "a positive integer"),
        ({"temperature": "hot"}, "temperature", "a number"),
        ({"temperature": False}, "temperature", "a number"),
        ({"top_p": []}, "top_p", "a number"),
        ({"seed": 1.5}, "seed", "an integer"),
        ({"stop": [1]}, "stop", "a string or a list of strings"),
        ({"stop": 1}, "stop", "a string or a list of strings"),
        ({"tools": {}}, "tools", "a list of objects"),
        ({"tools": ["f"]}, "tools", "a list of objects"),
        ({"functions": [1]}, "functions", "a list of objects"),
        ({"tool_choice": 1}, "tool_choice", "a string or an object"),
        ({"response_format": "json"}, "response_format", "an object"),
        ({"user": 7}, "user", "a string"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls", "a boolean"),
        ({"logprobs": 1}, "logprobs", "a boolean"),
        ({"router": []}, "router", "must be an object"),
        ({"router": {"colour": "red"}}, "router.colour", "Unknown option `router.colour`"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(members: dict[str, Any], param: str, said: str) -> None:
    error = refused(body(**members))

    assert error.param == param
    assert said in str(error)


def test_model_and_messages_must_be_there() -> None:
    assert refused(b'{"messages":[{"role":"user"}]}').param == "model"
    assert refused(b'{"model":"auto"}').param == "messages"
    assert refused(b"{}").param == "model"


@pytest.mark.parametrize("name", ["model", "stream", "stream_options", "router"])
def test_what_we_read_or_edit_must_not_be_ambiguous(name: str) -> None:
    members = {"model": "auto", "messages": MESSAGES, "stream": True, "stream_options": {}, "router": {}}
    raw = json.dumps(members).encode()[:-1] + f', "{name}": {json.dumps(members[name])}}}'.encode()

    error = refused(raw)

    assert error.param == name
    assert "must be given once" in str(error)


def test_other_members_may_stand_there_twice() -> None:
    assert read(b'{"model":"a","messages":[{"role":"user"}],"seed":1,"seed":2}').body["seed"] == 2


def test_a_body_that_is_no_json_is_refused() -> None:
    assert "not valid JSON" in str(refused(b"model=auto"))


def test_an_open_tool_loop_has_the_family_of_its_signatures() -> None:
    called = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    signed = {**called, "extra_content": {"google": {"thought_signature": "c2ln"}}}
    result = {"role": "tool", "tool_call_id": "c1", "content": "1"}

    def family(call: dict[str, Any], *then: dict[str, Any]) -> str | None:
        messages = [*MESSAGES, {"role": "assistant", "content": None, "tool_calls": [call]}, *then]
        return read(body(messages=messages)).family

    assert family(signed, result) == "gemini"
    assert family(signed) is None
    assert family(called, result) is None
