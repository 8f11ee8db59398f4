"""Applies agents to the bodies of Anthropic's Messages API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from proxy.core.agents import Agent, AgentUse
from proxy.core.body import Document
from proxy.core.snapshot import Snapshot
from proxy.surfaces.agents import (
    Edits,
    add_params,
    forced_function,
    functions_of,
    joined,
    params_of,
    schema_of,
    stops_of,
    take_variables,
    use_of,
    with_item,
)

_SAME = ("temperature", "top_p", "top_k")
_LIMITS = ("max_tokens", "max_completion_tokens")
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_OF_CHOICE = ("tool_choice", "parallel_tool_calls")  # parameters that `_add_choice` adds
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
_SERVER_TOOL = re.compile(r"[a-z_]{1,64}_[0-9]{8}")  # a type of Anthropic's own tools


def with_agent(
    raw: bytes, document: Document, snapshot: Snapshot, name: str, *, counted: bool
) -> tuple[bytes, AgentUse, tuple[str, ...]]:
    """Return a body with what the agent `name` adds; and what of the agent has no counterpart.

    `counted`: the body is for `count_tokens`, which knows no parameters of answers. Raises `UnknownAgent` and
    `InvalidRequest`.
    """
    body = Edits(raw, document)
    use, text = use_of(snapshot, name, take_variables(body))
    if text:
        _add_instructions(body, text)
    params = params_of(use.agent, body)
    lost = [*_add_tools(body, use.agent), *_add_choice(body, params)]
    if not counted:
        lost += add_params(params, partial(_add_param, body))
    return body.result(), use, tuple(lost)


def _add_instructions(body: Edits, text: str) -> None:
    system = body.members.get("system")
    if isinstance(system, list):
        body.put("system", with_item(body.text("system"), {"type": "text", "text": text}))
    elif isinstance(system, str | None):
        body.set("system", joined(text, system or ""))


def _add_tools(body: Edits, agent: Agent) -> list[str]:
    functions, others = functions_of(agent)
    own = [tool for tool in others if _SERVER_TOOL.fullmatch(str(tool["type"]))]
    if "tools" not in body and (functions or own):
        body.set("tools", [*map(_tool, functions), *own])
    return [f"agent.tools.{tool['type']}" for tool in others if tool not in own]


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: function[name] for name in ("name", "description", "strict") if function.get(name) is not None}
    return {**kept, "input_schema": function.get("parameters") or {"type": "object", "properties": {}}}


def _add_choice(body: Edits, params: Mapping[str, Any]) -> list[str]:
    choice, parallel = params.get("tool_choice"), params.get("parallel_tool_calls")
    chosen: dict[str, Any] | None = None
    if (name := forced_function(choice)) is not None:
        chosen = {"type": "tool", "name": name}
    elif isinstance(choice, str) and choice in _CHOICES:
        chosen = {"type": _CHOICES[choice]}
    if parallel is False and (chosen or {}).get("type") != "none":
        chosen = {**(chosen or {"type": "auto"}), "disable_parallel_tool_use": True}
    if chosen is not None:
        body.add("tool_choice", chosen)
    return ["agent.params.tool_choice"] if choice is not None and chosen is None else []


def _add_param(body: Edits, name: str, value: Any) -> bool:
    if name in _SAME:
        body.add(name, value)
    elif name in _LIMITS:
        body.add("max_tokens", value)
    elif name == "stop":
        body.add("stop_sequences", stops_of(value))
    elif name == "user":
        body.add_inside("metadata", "user_id", value)
    else:
        return name in _OF_CHOICE or _add_config(body, name, value)
    return True


def _add_config(body: Edits, name: str, value: Any) -> bool:
    """Add a parameter that belongs to `thinking` or `output_config`; return whether it is one."""
    if name == "reasoning_effort" and value == "none":
        body.add("thinking", {"type": "disabled"})
    elif name == "reasoning_effort" and isinstance(value, str) and value in _EFFORTS:
        if "thinking" not in body:
            body.add_inside("output_config", "effort", _EFFORTS[value])
    elif name == "response_format" and (schema := schema_of(value)) is not None:
        body.add_inside("output_config", "format", {"type": "json_schema", "schema": schema})
    else:
        return False
    return True
