"""Applies agents to the bodies of chat completions, in whose format they are defined."""

from __future__ import annotations

from proxy.core.agents import AgentUse
from proxy.core.body import Document
from proxy.core.snapshot import Snapshot
from proxy.surfaces.agents import Edits, first_and_rest, joined, params_of, take_variables, use_of, with_item

_INSTRUCTING = ("system", "developer")  # roles
_SAME = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}  # two names of one parameter


def with_agent(raw: bytes, document: Document, snapshot: Snapshot, name: str) -> tuple[bytes, AgentUse]:
    """Return a valid chat body with what the agent `name` adds. Raises `UnknownAgent` and `InvalidRequest`."""
    body = Edits(raw, document)
    use, text = use_of(snapshot, name, take_variables(body))
    if text:
        body.put("messages", _with_instructions(body.text("messages"), text))
    for parameter, value in params_of(use.agent, body).items():
        if _SAME.get(parameter, parameter) not in body:
            body.add(parameter, value)
    if use.agent.tools:
        body.add("tools", use.agent.tools)
    return body.result(), use


def _with_instructions(messages: bytes, text: str) -> bytes:
    """Put a text into the first message if that has instructions, else before it."""
    first, rest = first_and_rest(messages)
    message = Edits(first)
    content = message.members.get("content")
    if message.members["role"] not in _INSTRUCTING:
        return with_item(messages, {"role": "system", "content": text})
    if isinstance(content, list):
        message.put("content", with_item(message.text("content"), {"type": "text", "text": text}))
    else:
        message.set("content", joined(text, content or ""))
    return b"[" + message.result() + rest
