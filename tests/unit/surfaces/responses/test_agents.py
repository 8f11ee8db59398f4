"""Agents applied to Responses requests: by `model`, and by OpenAI's `prompt`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.agents import Agent, UnknownAgent, by_name
from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.surfaces.responses.request import read_response
from tests.support.calls import deployment, snapshot

FUNCTION = {"name": "look_up", "parameters": {"type": "object"}}
AGENT = Agent(
    "support",
    "3",
    "acme/small",
    instructions="You work for {{company}}.",
    tools=({"type": "function", "function": FUNCTION}, {"type": "web_search"}),
    params={
        "temperature": 0.5,
        "max_tokens": 100,
        "reasoning_effort": "low",
        "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "out", "schema": {"type": "object"}}},
        "tool_choice": {"type": "function", "function": {"name": "look_up"}},
        "parallel_tool_calls": False,
        "seed": 1,
    },
    variables={"company": "Acme"},
)
NEWER = Agent("support", "4", "acme/small", instructions="Newer.")
OTHER = Agent("other", "1", "acme/small")
AGENTS = {**by_name([AGENT, NEWER], {"production": "3", "beta": "4"}), **by_name([OTHER], {"production": "1"})}


def read(**body: Any) -> Call:
    on = snapshot(deployment(), agents=AGENTS, aliases={"mine": "agent/support"})
    raw = json.dumps({"input": "hi", **body}).encode()
    return read_response(raw, {}, id="req_1", request_id="r", snapshot=on)


def native(call: Call) -> dict[str, Any]:
    assert call.native is not None
    body: dict[str, Any] = json.loads(call.native.raw)
    return body


def test_a_target_with_the_api_gets_what_the_agent_adds() -> None:
    call = read(model="agent/support")

    assert native(call) == {
        "input": "hi",
        "model": "agent/support",
        "instructions": "You work for Acme.",
        "temperature": 0.5,
        "max_output_tokens": 100,
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "out", "schema": {"type": "object"}}},
        "tools": [{"type": "function", **FUNCTION}, {"type": "web_search"}],
        "tool_choice": {"type": "function", "name": "look_up"},
        "parallel_tool_calls": False,
    }
    assert call.agent is not None
    assert call.agent.agent is AGENT


def test_another_target_gets_it_as_a_chat() -> None:
    call = read(model="agent/support")

    assert [message["role"] for message in call.body["messages"]] == ["system", "user"]
    assert call.body["messages"][0]["content"] == "You work for Acme."
    assert [tool["function"]["name"] for tool in call.body["tools"]] == ["look_up"]
    assert (call.body["max_completion_tokens"], call.body["reasoning_effort"]) == (100, "low")
    assert "agent.params.seed" in call.dropped


def test_members_of_the_request_have_priority() -> None:
    call = read(
        model="mine",
        instructions="Be brief.",
        temperature=None,
        max_output_tokens=7,
        reasoning={"effort": "high"},
        text={"format": {"type": "text"}},
        tools=[],
    )

    body = native(call)
    assert body["instructions"] == "You work for Acme.\n\nBe brief."
    assert (body["temperature"], body["max_output_tokens"], body["reasoning"]) == (None, 7, {"effort": "high"})
    assert body["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert (body["tools"], "tool_choice" in body, "parallel_tool_calls" in body) == ([], False, False)


def test_a_prompt_names_an_agent() -> None:
    call = read(prompt={"id": "support", "variables": {"company": {"type": "input_text", "text": "Initech"}}})

    assert (call.model, native(call)["instructions"]) == ("agent/support", "You work for Initech.")
    assert "prompt" not in native(call)
    assert call.agent is not None
    assert not call.agent.own_model


@pytest.mark.parametrize(
    ("prompt", "model", "version"),
    [
        ({"id": "support", "version": "4"}, None, "4"),
        ({"id": "support", "version": 4}, None, "4"),
        ({"id": "agent/support", "version": "beta"}, None, "4"),
        ({"id": "support", "version": None}, None, "3"),
        ({"id": "support", "version": "4"}, "agent/support", "4"),
        ({"id": "support"}, "agent/support@4", "4"),
        ({"id": "support", "version": "4"}, "mine", "4"),
    ],
)
def test_a_prompt_names_a_version(prompt: Any, model: str | None, version: str) -> None:
    call = read(prompt=prompt, **({} if model is None else {"model": model}))

    assert call.agent is not None
    assert (call.agent.agent.version, call.agent.own_model) == (version, False)


def test_the_model_of_the_request_has_priority_over_that_of_its_prompt() -> None:
    call = read(prompt={"id": "support"}, model="acme/small")

    assert call.model == "acme/small"
    assert call.agent is not None
    assert call.agent.own_model


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": "support"}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": {"id": 5}}, "prompt"),
        ({"prompt": {"id": "support", "version": True}}, "prompt.version"),
        ({"prompt": {"id": "support", "version": [1]}}, "prompt.version"),
        ({"prompt": {"id": "support", "variables": ["x"]}}, "prompt.variables"),
        (
            {"prompt": {"id": "support", "variables": {"company": {"type": "input_image"}}}},
            "prompt.variables.company",
        ),
        ({"prompt": {"id": "support"}, "model": "agent/other"}, "prompt.id"),
        ({"prompt": {"id": "support", "version": "3"}, "model": "agent/support@4"}, "prompt.version"),
        ({"prompt": {"id": "support"}, "instructions": 5}, "instructions"),
        ({"prompt": {"id": "support"}, "input": None}, "input"),
    ],
)
def test_a_mistake_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**body)

    assert caught.value.param == param


def test_an_unknown_prompt_is_an_unknown_agent() -> None:
    with pytest.raises(UnknownAgent) as caught:
        read(prompt={"id": "pmpt_68", "version": "2"})

    assert (caught.value.name, caught.value.param) == ("agent/pmpt_68@2", "prompt.id")


def test_a_turn_has_its_agent_when_its_history_is_known() -> None:
    call = read(model="agent/support", previous_response_id="resp_1")
    assert call.turn is not None

    whole = call.turn.complete([{"type": "message", "role": "user", "content": "earlier"}])

    assert [message["content"] for message in whole.body["messages"]] == ["You work for Acme.", "earlier", "hi"]
    assert whole.agent is call.agent
