"""Agents applied to the bodies of chat completions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.agents import Agent, UnknownAgent, by_name
from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.surfaces.openai.chat import read_chat
from tests.support.calls import deployment, snapshot

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
AGENT = Agent(
    "support",
    "3",
    "acme/small",
    instructions="You work for {{company}}.",
    tools=(TOOL,),
    params={"temperature": 0.5, "max_tokens": 100},
    variables={"company": "Acme"},
)
HELLO = {"role": "user", "content": "Hello"}


def read(raw: bytes, agent: Agent = AGENT, **fields: Any) -> Call:
    agents = by_name([agent], {"production": agent.version})
    on = snapshot(deployment(), agents=agents, **fields)
    return read_chat(raw, {}, id="req_1", request_id="theirs", snapshot=on)


def sent(*messages: Any, agent: Agent = AGENT, **members: Any) -> dict[str, Any]:
    """The body that goes on, for a request with these members."""
    body = {"model": "agent/support", "messages": messages or [HELLO], **members}
    call = read(json.dumps(body).encode(), agent)
    assert {name: call.body[name] for name in call.body} == {
        name: value for name, value in json.loads(call.raw).items() if name != "router"
    }
    read_back: dict[str, Any] = json.loads(call.raw)
    return read_back


def test_an_agent_adds_what_the_request_does_not_have() -> None:
    assert sent() == {
        "model": "agent/support",
        "messages": [{"role": "system", "content": "You work for Acme."}, HELLO],
        "tools": [TOOL],
        "temperature": 0.5,
        "max_tokens": 100,
    }


def test_the_call_keeps_its_name_and_its_agent() -> None:
    call = read(b'{"model":"mine","messages":[{"role":"user","content":"x"}]}', aliases={"mine": "agent/support@3"})

    assert call.model == "mine"
    assert call.agent is not None
    assert (call.agent.agent, call.agent.problem) == (AGENT, None)


@pytest.mark.parametrize("value", [None, 0.1])
def test_a_member_of_the_request_has_priority(value: Any) -> None:
    body = sent(temperature=value, tools=[])

    assert (body["temperature"], body["tools"]) == (value, [])


def test_both_names_of_the_longest_answer_have_priority() -> None:
    assert "max_tokens" not in sent(max_completion_tokens=5)


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Be brief.", "You work for Acme.\n\nBe brief."),
        ("", "You work for Acme."),
        (None, "You work for Acme."),
        (
            [{"type": "text", "text": "x"}],
            [{"type": "text", "text": "You work for Acme."}, {"type": "text", "text": "x"}],
        ),
        ([], [{"type": "text", "text": "You work for Acme."}]),
    ],
)
def test_instructions_come_before_those_of_the_request(role: str, content: Any, expected: Any) -> None:
    body = sent({"role": role, "content": content, "name": "n"}, HELLO)

    assert body["messages"] == [{"role": role, "content": expected, "name": "n"}, HELLO]


def test_an_agent_without_instructions_leaves_the_messages() -> None:
    call = read(
        b'{"model":"agent/x","messages":[ {"role":"user", "content":"\\u00e9"} ]}', Agent("x", "1", "acme/small")
    )

    assert call.raw == b'{"model":"agent/x","messages":[ {"role":"user", "content":"\\u00e9"} ]}'


def test_what_is_not_edited_keeps_its_bytes() -> None:
    messages = b'[{"role":"system","content":"a","x":1e400},{"role":"user",  "content":"\\ud800"}]'

    call = read(b'{"model":"agent/support", "messages":' + messages + b',"seed": 1}')

    assert b'{"role":"system","content":"You work for Acme.\\n\\na","x":1e400}' in call.raw
    assert b'{"role":"user",  "content":"\\ud800"}' in call.raw
    assert b'"seed": 1' in call.raw


def test_variables_are_taken_out_of_the_options() -> None:
    body = sent(router={"variables": {"company": "Initech"}, "debug": True})

    assert body["messages"][0]["content"] == "You work for Initech."
    assert body["router"] == {"debug": True}
    assert sent(router={"variables": {}})["router"] == {}


@pytest.mark.parametrize(
    ("variables", "param"),
    [([], "router.variables"), ("x", "router.variables"), ({"company": 5}, "router.variables.company")],
)
def test_variables_must_be_texts(variables: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(router={"variables": variables})

    assert caught.value.param == param


def test_a_problem_with_variables_waits_for_the_permission() -> None:
    raw = {"model": "agent/support", "messages": [HELLO], "router": {"variables": {"firm": "x"}}}

    call = read(json.dumps(raw).encode())

    assert call.agent is not None
    assert call.agent.problem is not None
    assert call.agent.problem.param == "router.variables.firm"


def test_an_unknown_agent_is_reported_by_its_name() -> None:
    with pytest.raises(UnknownAgent) as caught:
        read(b'{"model":"agent/support@9","messages":[{"role":"user","content":"x"}]}')

    assert caught.value.name == "agent/support@9"


def test_a_call_without_an_agent_has_no_variables() -> None:
    with pytest.raises(InvalidRequest, match="calls to an agent"):
        read(b'{"model":"acme/small","messages":[{"role":"user","content":"x"}],"router":{"variables":{}}}')
