"""Agents applied to Google's `generateContent` family."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.agents import Agent, by_name
from proxy.core.call import Call
from proxy.core.principal import UNKNOWN_CALLER
from proxy.surfaces.generate.read import read_generate
from tests.support.calls import deployment, snapshot

FUNCTION = {"name": "look_up", "description": "Looks", "parameters": {"type": "object"}}
AGENT = Agent(
    "support",
    "3",
    "acme/small",
    instructions="You work for {{company}}.",
    tools=({"type": "function", "function": FUNCTION}, {"type": "web_search"}),
    params={
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 100,
        "stop": "END",
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "out", "schema": {"type": "object"}}},
        "tool_choice": {"type": "function", "function": {"name": "look_up"}},
        "logit_bias": {},
    },
    variables={"company": "Acme"},
)
HI = [{"role": "user", "parts": [{"text": "hi"}]}]


def read(operation: str = "generateContent", name: str = "agent/support", **body: Any) -> Call:
    on = snapshot(deployment(), agents=by_name([AGENT], {"production": "3"}), aliases={"flash": "agent/support"})
    raw = json.dumps(body or {"contents": HI}).encode()
    path = f"/v1beta/models/{name}:{operation}"
    ids = {"id": "req_1", "request_id": "r"}
    return read_generate(raw, {}, **ids, snapshot=on, principal=UNKNOWN_CALLER, path=path, query="")


def native(call: Call) -> dict[str, Any]:
    assert call.native is not None
    body: dict[str, Any] = json.loads(call.native.raw)
    return body


@pytest.mark.parametrize("name", ["agent/support", "agent/support@3", "flash"])
def test_a_gemini_target_gets_what_the_agent_adds(name: str) -> None:
    call = read(name=name)

    assert native(call) == {
        "contents": HI,
        "systemInstruction": {"parts": [{"text": "You work for Acme."}]},
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "look_up", "description": "Looks", "parametersJsonSchema": {"type": "object"}}
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look_up"]}},
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "maxOutputTokens": 100,
            "stopSequences": ["END"],
            "thinkingConfig": {"thinkingBudget": 1024},
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
        },
    }
    assert (call.model, call.agent and call.agent.agent) == (name, AGENT)


def test_another_target_gets_it_as_a_chat() -> None:
    call = read()

    assert call.body["messages"][0] == {"role": "system", "content": "You work for Acme."}
    assert [tool["function"]["name"] for tool in call.body["tools"]] == ["look_up"]
    assert (call.body["max_completion_tokens"], call.body["reasoning_effort"]) == (100, "low")
    assert call.native is not None
    assert call.native.dropped == ("agent.tools.web_search", "agent.params.logit_bias")
    assert set(call.native.dropped) <= set(call.dropped)


@pytest.mark.parametrize("member", ["systemInstruction", "system_instruction"])
@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("Be brief.", "You work for Acme.\n\nBe brief."),
        ({"parts": [{"text": "a"}]}, {"parts": [{"text": "You work for Acme."}, {"text": "a"}]}),
        (
            {"role": "user", "parts": {"text": "a"}},
            {"role": "user", "parts": [{"text": "You work for Acme."}, {"text": "a"}]},
        ),
        ({"parts": []}, {"parts": [{"text": "You work for Acme."}]}),
        ({}, {"parts": [{"text": "You work for Acme."}]}),
        (None, {"parts": [{"text": "You work for Acme."}]}),
    ],
)
def test_instructions_come_before_those_of_the_request(member: str, system: Any, expected: Any) -> None:
    assert native(read(contents=HI, **{member: system}))[member] == expected


def test_members_of_the_request_have_priority_in_both_forms_of_their_names() -> None:
    config = {"temperature": 1, "top_p": 0.1, "max_output_tokens": 7, "response_mime_type": "text/plain"}

    body = native(read(contents=HI, generation_config=config, tools=[]))

    assert body["generation_config"] == {
        **config,
        "stopSequences": ["END"],
        "thinkingConfig": {"thinkingBudget": 1024},
    }
    assert (body["tools"], "toolConfig" in body, "generationConfig" in body) == ([], False, False)


def test_variables_come_with_the_options() -> None:
    body = native(read(contents=HI, router={"variables": {"company": "Initech"}}))

    assert body["systemInstruction"] == {"parts": [{"text": "You work for Initech."}]}
    assert "router" not in body


def test_counting_tokens_adds_what_it_knows_only_to_a_whole_request() -> None:
    plain = native(read("countTokens", contents=HI))
    whole = native(read("countTokens", generateContentRequest={"model": "m", "contents": HI}))

    assert plain == {"contents": HI}
    assert whole["generateContentRequest"]["systemInstruction"] == {"parts": [{"text": "You work for Acme."}]}
