"""Applies agents to the bodies of Google's `generateContent` family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.agents import Agent, AgentUse
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

_WHOLE = "generateContentRequest"  # of `countTokens`
_CONFIG, _SYSTEM, _TOOL_CONFIG = "generationConfig", "systemInstruction", "toolConfig"
_SNAKE = {_CONFIG: "generation_config", _SYSTEM: "system_instruction", _TOOL_CONFIG: "tool_config"}
_PARAMS = {
    "temperature": ("temperature", "temperature"),
    "top_p": ("topP", "top_p"),
    "top_k": ("topK", "top_k"),
    "seed": ("seed", "seed"),
    "n": ("candidateCount", "candidate_count"),
    "presence_penalty": ("presencePenalty", "presence_penalty"),
    "frequency_penalty": ("frequencyPenalty", "frequency_penalty"),
    "max_tokens": ("maxOutputTokens", "max_output_tokens"),
    "max_completion_tokens": ("maxOutputTokens", "max_output_tokens"),
    "stop": ("stopSequences", "stop_sequences"),
}
_FORMATS = ("responseMimeType", "response_mime_type")
_THINKING = ("thinkingConfig", "thinking_config")
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def with_agent(raw: bytes, snapshot: Snapshot, name: str, *, counted: bool) -> tuple[bytes, AgentUse, tuple[str, ...]]:
    """Return a body with what the agent `name` adds; and what of the agent has no counterpart.

    `counted`: the body is for `countTokens`, which knows instructions and tools in a whole request only. Raises
    `UnknownAgent` and `InvalidRequest`.
    """
    body = Edits(raw)
    use, text = use_of(snapshot, name, take_variables(body))
    if not counted:
        lost = _apply(body, use.agent, text)
        return body.result(), use, tuple(lost)
    if isinstance(body.members.get(_WHOLE), dict):
        whole = Edits(body.text(_WHOLE))
        _apply(whole, use.agent, text)
        body.put(_WHOLE, whole.result())
    return body.result(), use, ()


def _apply(body: Edits, agent: Agent, text: str) -> list[str]:
    if text:
        _add_instructions(body, text)
    params = params_of(agent, body)
    functions, others = functions_of(agent)
    if functions:
        body.add("tools", [{"functionDeclarations": [_declaration(function) for function in functions]}])
    return [*(f"agent.tools.{tool['type']}" for tool in others), *add_params(params, _Params(body).add)]


def _name(body: Edits, name: str) -> str:
    """Return the form of a member's name that the request uses: camelCase or snake_case."""
    return _SNAKE[name] if _SNAKE[name] in body else name


def _add_instructions(body: Edits, text: str) -> None:
    """Put a text before the parts of the system instruction."""
    name = _name(body, _SYSTEM)
    system = body.members.get(name)
    part = {"text": text}
    if isinstance(system, str):
        body.set(name, joined(text, system))
    elif not system:
        body.set(name, {"parts": [part]})
    elif isinstance(system, dict):
        content = Edits(body.text(name))
        parts = system.get("parts")
        if isinstance(parts, list):
            content.put("parts", with_item(content.text("parts"), part))
        else:
            content.set("parts", [part, *([parts] if parts else ())])
        body.put(name, content.result())


def _declaration(function: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: function[name] for name in ("name", "description") if function.get(name) is not None}
    return {**kept, "parametersJsonSchema": function["parameters"]} if function.get("parameters") else kept


def _add_choice(body: Edits, choice: Any) -> bool:
    name = forced_function(choice)
    mode = "ANY" if name is not None else _MODES.get(choice) if isinstance(choice, str) else None
    if mode is None:
        return False
    calling = {"mode": mode} if name is None else {"mode": mode, "allowedFunctionNames": [name]}
    if _name(body, _TOOL_CONFIG) not in body:
        body.set(_TOOL_CONFIG, {"functionCallingConfig": calling})
    return True


class _Params:
    """Adds parameters of a chat to a body, most of them to its `generationConfig`."""

    def __init__(self, body: Edits) -> None:
        self._body = body
        self._name = _name(body, _CONFIG)
        config = body.members.get(self._name)
        self._has: Mapping[str, Any] = config if isinstance(config, dict) else {}

    def add(self, name: str, value: Any) -> bool:
        """Add a parameter, if the request does not have it; return whether it has a counterpart."""
        if name == "tool_choice":
            return _add_choice(self._body, value)
        if name == "parallel_tool_calls":
            return bool(value)
        if name in _PARAMS:
            self._put(_PARAMS[name], stops_of(value) if name == "stop" else value)
        elif name == "reasoning_effort" and isinstance(value, str) and value in _BUDGETS:
            self._put(_THINKING, {"thinkingBudget": _BUDGETS[value]})
        elif name == "response_format" and isinstance(value, dict):
            self._put_format(value)
        else:
            return False
        return True

    def _put_format(self, form: Mapping[str, Any]) -> None:
        if form.get("type") not in ("json_schema", "json_object") or any(name in self._has for name in _FORMATS):
            return
        self._put(_FORMATS, "application/json")
        if schema := schema_of(form):
            self._body.add_inside(self._name, "responseJsonSchema", schema)

    def _put(self, names: tuple[str, str], value: Any) -> None:
        if not any(name in self._has for name in names):
            self._body.add_inside(self._name, names[0], value)
