"""Thinking in Anthropic requests: when it is enabled, and which parameters conflict with it.

The catalogue defines how thinking is enabled, for each effort, as members of the native request
(`Deployment.thinking`, `Deployment.thinking_off`). The API's restrictions are those in Anthropic's documentation,
"Extended thinking" and "Adaptive thinking": no temperature, `top_p` from 0.95, no forced tool, no
prefill, a budget from 1,024 tokens and below `max_tokens`; and in manual mode the assistant turn of a tool loop begins
with its original thinking block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.model import Deployment

LEAST_BUDGET = 1024  # tokens; Anthropic's own minimum
ROOM = 1024  # tokens reserved for the answer if the client's limit is small
LEAST_TOP_P = 0.95
_KINDS = ("enabled", "adaptive")


@dataclass(slots=True)
class MaxTokens:
    """`max_tokens`: the client's, or a default."""

    tokens: int
    is_requested: bool
    most: int | None = None  # the model's


@dataclass(frozen=True, slots=True)
class ThinkingRequest:
    """Thinking as requested by the client: its parameter, and the native members."""

    param: str
    members: Mapping[str, Any] = field(default_factory=dict)
    off: bool = False


def requested_thinking(
    body: Mapping[str, Any], deployment: Deployment, *, off: bool
) -> tuple[ThinkingRequest | None, list[str]]:
    """Return the requested thinking, and the parameters that are dropped because the catalogue does not define them.

    `off` is `router.disable_thinking` and takes precedence. A native `thinking` object takes precedence over
    `reasoning_effort`, if the model supports thinking.
    """
    effort, native = body.get("reasoning_effort"), body.get("thinking")
    named = [name for name in ("reasoning_effort", "thinking") if body.get(name) is not None]
    if off and deployment.thinking and deployment.thinking_off is None:
        requested, dropped = requested_thinking(body, deployment, off=False)
        return requested, [*dropped, "router.disable_thinking"]  # thinking cannot be disabled
    if off:
        return ThinkingRequest("thinking", deployment.thinking_off or {}, off=True), named
    if isinstance(native, dict) and deployment.thinking:
        return ThinkingRequest("thinking", {"thinking": native}), [name for name in named if name != "thinking"]
    members = deployment.thinking.get(effort) if isinstance(effort, str) else None
    if members is None and effort == "none":
        members = deployment.thinking_off
    if not isinstance(members, Mapping):
        return None, named
    return ThinkingRequest("reasoning_effort", members), [name for name in named if name != "reasoning_effort"]


def apply(native: dict[str, Any], requested: ThinkingRequest, max_tokens: MaxTokens) -> list[str]:
    """Apply the requested thinking to the native request; return the names of dropped parameters.

    If it conflicts with another part of the request (a forced tool, a prefill, a tool loop without signed blocks, a
    small limit of tokens), thinking is dropped.
    """
    members = {name: dict(value) if isinstance(value, Mapping) else value for name, value in requested.members.items()}
    dropped = []
    kind = (members.get("thinking") or {}).get("type") if isinstance(members.get("thinking"), dict) else None
    if kind in _KINDS and (_conflicts(native, kind) or not _budget_fits(members["thinking"], max_tokens)):
        del members["thinking"]
        dropped.append(requested.param)
    for name, value in members.items():
        before = native.get(name)
        native[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    native["max_tokens"] = max_tokens.tokens
    return dropped + (_without_sampling(native) if "thinking" in members and kind in _KINDS else [])


def _conflicts(native: Mapping[str, Any], kind: str) -> bool:
    choice = native.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] in ("any", "tool"):
        return True
    turns: list[dict[str, Any]] = native["messages"]
    if is_prefill(turns):
        return True
    return kind == "enabled" and _in_unsigned_loop(turns)


def is_prefill(turns: list[dict[str, Any]]) -> bool:
    """Whether the last turn is an assistant prefill, and not one that a server tool interrupted."""
    content = turns[-1]["content"]
    return turns[-1]["role"] == "assistant" and (isinstance(content, str) or content[-1]["type"] == "text")


def _in_unsigned_loop(turns: list[dict[str, Any]]) -> bool:
    """Whether the last turn has tool results for an assistant turn that does not begin with thinking."""
    if len(turns) < 2 or not isinstance(turns[-1]["content"], list) or not isinstance(turns[-2]["content"], list):
        return False
    results = any(block["type"] == "tool_result" for block in turns[-1]["content"])
    return results and turns[-2]["content"][0]["type"] not in ("thinking", "redacted_thinking")


def _budget_fits(thinking: dict[str, Any], max_tokens: MaxTokens) -> bool:
    """Fit the budget to the limit: a default limit is raised; the client's is kept, and the budget is lowered."""
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or isinstance(budget, bool):
        return True
    if not max_tokens.is_requested and budget + ROOM > max_tokens.tokens:
        max_tokens.tokens = min(budget + max_tokens.tokens, max_tokens.most or budget + max_tokens.tokens)
    thinking["budget_tokens"] = min(budget, max_tokens.tokens - ROOM)
    return bool(thinking["budget_tokens"] >= LEAST_BUDGET)


def _without_sampling(native: dict[str, Any]) -> list[str]:
    """Remove sampling parameters that conflict with thinking; a temperature of 1 is its default."""
    dropped = []
    if native.pop("temperature", 1) != 1:
        dropped.append("temperature")
    if native.get("top_p", 1) < LEAST_TOP_P:
        del native["top_p"]
        dropped.append("top_p")
    if native.pop("top_k", None) is not None:
        dropped.append("top_k")
    return dropped
