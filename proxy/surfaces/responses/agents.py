"""Applies agents to the bodies of Responses requests, which name them by `model`, or by OpenAI's `prompt`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from proxy.core.agents import PREFIX, Agent, AgentUse, agent_name
from proxy.core.body import Document
from proxy.core.errors import InvalidRequest
from proxy.core.snapshot import Snapshot
from proxy.surfaces.agents import (
    Edits,
    add_params,
    forced_function,
    functions_of,
    joined,
    params_of,
    take_variables,
    texts,
    use_of,
)

_PROMPT = "prompt.variables"
_SAME = frozenset(
    (
        *("temperature", "top_p", "top_logprobs", "presence_penalty", "frequency_penalty", "parallel_tool_calls"),
        *("user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier", "metadata"),
        *("truncation", "include", "max_tool_calls"),
    )
)
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def names_agent(body: Mapping[str, Any], snapshot: Snapshot) -> bool:
    """Return whether a body names an agent."""
    return body.get("prompt") is not None or _own_name(body, snapshot) is not None


def with_agent(raw: bytes, document: Document, snapshot: Snapshot) -> tuple[bytes, AgentUse, tuple[str, ...]]:
    """Return a body with what its agent adds, and without `prompt`; and what of the agent has no counterpart.

    Raises `UnknownAgent` and `InvalidRequest`.
    """
    body = Edits(raw, document)
    own, prompt = _own_name(document.body, snapshot), document.body.get("prompt")
    values = take_variables(body)
    if prompt is None:
        assert own is not None
        use, text = use_of(snapshot, own, values)
    else:
        name = _named(prompt, own)
        values |= texts(prompt.get("variables"), _PROMPT)
        use, text = use_of(snapshot, name, values, _PROMPT, "prompt.id")
        body.remove("prompt")
        if own or document.body.get("model") is None:
            body.set("model", name)
        else:
            use = replace(use, own_model=True)
    instructions = document.body.get("instructions")
    if text and isinstance(instructions, str | None):
        body.set("instructions", joined(text, instructions or ""))
    lost = add_params(params_of(use.agent, body), partial(_add_param, body))
    _add_tools(body, use.agent)
    return body.result(), use, tuple(lost)


def _own_name(body: Mapping[str, Any], snapshot: Snapshot) -> str | None:
    """Return the name of the agent that `model` stands for."""
    model = body.get("model")
    return agent_name(snapshot.aliases, model) if isinstance(model, str) else None


def _named(prompt: Any, own: str | None) -> str:
    """Return the name of the agent of a prompt; `own` is that of `model`. Raises `InvalidRequest`."""
    id, version = (prompt.get("id"), prompt.get("version")) if isinstance(prompt, dict) else (None, None)
    if not isinstance(id, str) or not id:
        raise InvalidRequest("`prompt` must be an object with the `id` of an agent.", param="prompt")
    if not isinstance(version, str | int | None) or isinstance(version, bool):
        raise InvalidRequest("`prompt.version` must be a version or a label.", param="prompt.version")
    name = PREFIX + id.removeprefix(PREFIX)
    whole = name if version in (None, "") else f"{name}@{version}"
    if own is None or own == whole:
        return whole
    if own.partition("@")[0] != name:
        raise InvalidRequest("`prompt.id` and `model` name two agents; remove one of them.", param="prompt.id")
    if "@" in own and "@" in whole:
        message = "`prompt.version` and `model` name two versions; remove one of them."
        raise InvalidRequest(message, param="prompt.version")
    return own if "@" in own else whole


def _add_param(body: Edits, name: str, value: Any) -> bool:
    if name in _SAME:
        body.add(name, value)
    elif name in _LIMITS:
        body.add("max_output_tokens", value)
    elif name == "reasoning_effort":
        body.add_inside("reasoning", "effort", value)
    elif name == "verbosity":
        body.add_inside("text", "verbosity", value)
    elif name == "response_format" and isinstance(value, dict):
        body.add_inside("text", "format", _format(value))
    elif name == "tool_choice":
        body.add("tool_choice", _choice(value))
    else:
        return False
    return True


def _format(form: Mapping[str, Any]) -> dict[str, Any]:
    schema = form.get("json_schema")
    return {"type": form.get("type"), **schema} if isinstance(schema, dict) else dict(form)


def _choice(choice: Any) -> Any:
    if (name := forced_function(choice)) is not None:
        return {"type": "function", "name": name}
    allowed = choice.get("allowed_tools") if isinstance(choice, dict) else None
    if not isinstance(allowed, dict):
        return choice
    listed = allowed.get("tools")
    named = [forced_function(tool) for tool in (listed if isinstance(listed, list) else ())]
    tools = [{"type": "function", "name": name} for name in named if name is not None]
    return {"type": "allowed_tools", "mode": allowed.get("mode"), "tools": tools}


def _add_tools(body: Edits, agent: Agent) -> None:
    functions, others = functions_of(agent)
    if functions or others:
        body.add("tools", [*({"type": "function", **function} for function in functions), *others])
