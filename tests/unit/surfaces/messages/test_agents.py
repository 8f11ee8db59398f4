"""Agents applied to Anthropic's Messages API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.agents import Agent, by_name
from proxy.core.call import Call
from proxy.core.principal import UNKNOWN_CALLER
from proxy.surfaces.messages.surface import COUNT_TOKENS, MESSAGES
from tests.support.calls import deployment, snapshot

FUNCTION = {"name": "look_up", "description": "Looks", "parameters": {"type": "object"}}
TOOL = {"name": "look_up", "description": "Looks", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
AGENT = Agent(
    "support",
    "3",
    "acme/small",
    instructions="You work for {{company}}.",
    tools=({"type": "function", "function": FUNCTION}, SEARCH, {"type": "web_search"}),
    params={
        "temperature": 0.5,
        "max_tokens": 100,
        "stop": "END",
        "user": "u",
        "reasoning_effort": "minimal",
        "response_format": {"type": "json_schema", "json_schema": {"name": "out", "schema": {"type": "object"}}},
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "seed": 1,
    },
    variables={"company": "Acme"},
)


def read(agent: Agent = AGENT, *, surface: Any = MESSAGES, **body: Any) -> Call:
    on = snapshot(deployment(), agents=by_name([agent], {"production": agent.version}))
    raw = json.dumps({"model": "agent/support", "messages": [{"role": "user", "content": "hi"}], **body}).encode()
    call: Call = surface.read(raw, {}, id="req_1", request_id="r", snapshot=on, principal=UNKNOWN_CALLER)
    return call


def native(call: Call) -> dict[str, Any]:
    assert call.native is not None
    body: dict[str, Any] = json.loads(call.native.raw)
    return body


def test_an_anthropic_target_gets_what_the_agent_adds() -> None:
    call = read()

    body = native(call)
    assert {name: body[name] for name in body if name not in ("model", "messages")} == {
        "system": "You work for Acme.",
        "tools": [TOOL, SEARCH],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "temperature": 0.5,
        "max_tokens": 100,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    }
    assert call.agent is not None
    assert call.agent.agent is AGENT


def test_another_target_gets_it_as_a_chat() -> None:
    call = read()

    assert call.model == "agent/support"
    assert call.body["messages"][0] == {"role": "system", "content": "You work for Acme."}
    assert [tool["function"]["name"] for tool in call.body["tools"]] == ["look_up"]
    assert (call.body["max_completion_tokens"], call.body["stop"]) == (100, ["END"])
    assert call.native is not None
    assert call.native.dropped == ("agent.tools.web_search", "agent.params.seed")
    assert set(call.native.dropped) <= set(call.dropped)


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("Be brief.", "You work for Acme.\n\nBe brief."),
        (
            [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
            [
                {"type": "text", "text": "You work for Acme."},
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
            ],
        ),
        ([], [{"type": "text", "text": "You work for Acme."}]),
    ],
)
def test_instructions_come_before_those_of_the_request(system: Any, expected: Any) -> None:
    assert native(read(system=system))["system"] == expected


def test_members_of_the_request_have_priority() -> None:
    body = native(read(max_tokens=7, temperature=1, thinking={"type": "adaptive"}, tools=[], metadata={}))

    assert (body["max_tokens"], body["temperature"], body["tools"]) == (7, 1, [])
    assert "effort" not in body["output_config"]
    assert "tool_choice" not in body
    assert body["metadata"] == {"user_id": "u"}


def test_variables_come_with_the_options() -> None:
    body = native(read(router={"variables": {"company": "Initech"}}))

    assert body["system"] == "You work for Initech."
    assert "router" not in body


def test_counting_tokens_adds_no_parameters() -> None:
    body = native(read(surface=COUNT_TOKENS))

    assert body.keys() == {"model", "messages", "system", "tools", "tool_choice"}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": {"type": "function", "function": {"name": "look_up"}}}, {"type": "tool", "name": "look_up"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": {"type": "other"}}, None),
        ({}, None),
    ],
)
def test_a_choice_of_tools_is_translated(params: Any, expected: Any) -> None:
    agent = Agent("support", "1", "acme/small", tools=AGENT.tools, params={**params, "max_tokens": 5})

    assert native(read(agent)).get("tool_choice") == expected


def test_thinking_can_be_off() -> None:
    agent = Agent("support", "1", "acme/small", params={"reasoning_effort": "none", "max_tokens": 5})

    assert native(read(agent))["thinking"] == {"type": "disabled"}
