"""Agents applied to any body: the result is JSON with the agent's members, or an error of the client."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.agents import Agent, by_name
from proxy.core.call import Call
from proxy.core.errors import InvalidRequest, ModelNotFound
from proxy.core.principal import UNKNOWN_CALLER
from proxy.surfaces.generate.read import read_generate
from proxy.surfaces.messages.surface import COUNT_TOKENS, MESSAGES
from proxy.surfaces.openai.chat import read_chat
from proxy.surfaces.responses.request import read_response
from tests.support.calls import deployment, snapshot

TEXT = "The agent's own instructions."
AGENT = Agent(
    "a",
    "1",
    "acme/small",
    instructions=TEXT,
    tools=({"type": "function", "function": {"name": "f"}}, {"type": "web_search"}),
    params={
        "temperature": 0.5,
        "max_tokens": 9,
        "stop": ["x"],
        "user": "u",
        "reasoning_effort": "low",
        "verbosity": "low",
        "response_format": {"type": "json_object"},
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    },
)
SNAPSHOT = snapshot(deployment(), agents=by_name([AGENT], {"production": "1"}))
ARRIVAL: dict[str, Any] = {"id": "req_1", "request_id": "r", "snapshot": SNAPSHOT, "principal": UNKNOWN_CALLER}
READERS: dict[str, Any] = {
    "chat": lambda raw: read_chat(raw, {}, **ARRIVAL),
    "responses": lambda raw: read_response(raw, {}, **ARRIVAL),
    "messages": lambda raw: MESSAGES.read(raw, {}, **ARRIVAL),
    "count": lambda raw: COUNT_TOKENS.read(raw, {}, **ARRIVAL),
    "google": lambda raw: read_generate(raw, {}, **ARRIVAL, path="/v1/models/agent/a:generateContent", query=""),
    "google count": lambda raw: read_generate(raw, {}, **ARRIVAL, path="/v1/models/agent/a:countTokens", query=""),
}
MEMBERS = (
    *("messages", "input", "contents", "system", "instructions", "systemInstruction", "system_instruction", "tools"),
    *("router", "prompt", "text", "reasoning", "metadata", "output_config", "thinking", "generationConfig", "stop"),
    *("generation_config", "toolConfig", "tool_choice", "max_tokens", "max_output_tokens", "generateContentRequest"),
    *("parts", "role", "content", "type", "id", "version", "variables"),
)
words = st.sampled_from(["", "user", "system", "text", "a", "agent/a", "\ud800", "\0", "{{x}}", "é"])
leaves = st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from([1.5, 1e300]) | words
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS) | words, inner, max_size=4),
    max_leaves=12,
)
contents = st.just("hi") | st.just([{"type": "text", "text": "hi"}]) | values
message = st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "developer"]), "content": contents})
bodies = st.dictionaries(st.sampled_from(MEMBERS), values, max_size=2)
good = st.fixed_dictionaries(
    {
        "messages": st.lists(message, min_size=1, max_size=3),
        "input": st.just("hi") | values,
        "contents": st.just([{"role": "user", "parts": [{"text": "hi"}]}]) | values,
    }
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(READERS)), good, bodies)
def test_a_body_is_read_or_the_error_is_the_clients(surface: str, whole: dict[str, Any], more: dict[str, Any]) -> None:
    raw = json.dumps({"model": "agent/a", "max_tokens": 5, **whole, **more}).encode()

    try:
        call: Call = READERS[surface](raw)
    except (InvalidRequest, ModelNotFound):
        return

    assert call.agent is not None
    sent = [call.raw] if call.native is None else [call.raw, call.native.raw]
    assert all(isinstance(json.loads(each), dict) for each in sent)
    first = json.loads(call.raw)["messages"][0]["content"]
    if call.agent.problem is None and "count" not in surface:
        assert TEXT in (first if isinstance(first, str) else first[0]["text"])
