"""Thinking on its way to Anthropic: when it is asked for, and what it forbids.

How a model is asked to think is not known here: the catalogue says it, effort by effort, as members of the native
request (`Deployment.thinking`, `Deployment.thinking_off`). What the API forbids beside thinking is Anthropic's
documentation, "Extended thinking" and "Adaptive thinking": no temperature, `top_p` from 0.95, no forced tool, no
prefill, a budget from 1,024 tokens and below `max_tokens`; and in manual mode a tool loop's assistant turn begins with
the thinking block that it came with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.model import Deployment

LEAST_BUDGET = 1024  # tokens; Anthropic's own minimum
ROOM = 1024  # tokens that are left for the answer where the client's ceiling is tight
LEAST_TOP_P = 0.95
_KINDS = ("enabled", "adaptive")


@dataclass(slots=True)
class Ceiling:
    """`max_tokens`: the client's own, or ours where it gave none."""

    tokens: int
    given: bool
    most: int | None = None  # the model's


@dataclass(frozen=True, slots=True)
class Wish:
    """What the client asks of thinking: the parameter that said it, and the native members."""

    param: str
    members: Mapping[str, Any] = field(default_factory=dict)
    off: bool = False


def wish_of(body: Mapping[str, Any], deployment: Deployment, *, off: bool) -> tuple[Wish | None, list[str]]:
    """What is wanted, and the parameters that are dropped because the catalogue does not say how.

    `off` is `router.disable_thinking` and wins. A native `thinking` object wins over `reasoning_effort`, where the
    model thinks at all.
    """
    effort, native = body.get("reasoning_effort"), body.get("thinking")
    named = [name for name in ("reasoning_effort", "thinking") if body.get(name) is not None]
    if off and deployment.thinking and deployment.thinking_off is None:
        wish, dropped = wish_of(body, deployment, off=False)
        return wish, [*dropped, "router.disable_thinking"]  # it cannot be kept from thinking
    if off:
        return Wish("thinking", deployment.thinking_off or {}, off=True), named
    if isinstance(native, dict) and deployment.thinking:
        return Wish("thinking", {"thinking": native}), [name for name in named if name != "thinking"]
    found = deployment.thinking.get(effort) if isinstance(effort, str) else None
    if found is None and effort == "none":
        found = deployment.thinking_off
    if not isinstance(found, Mapping):
        return None, named
    return Wish("reasoning_effort", found), [name for name in named if name != "reasoning_effort"]


def apply(native: dict[str, Any], wish: Wish, ceiling: Ceiling) -> list[str]:
    """Put what is wanted into the native request; the names of what had to be dropped.

    Where something with a meaning of its own stands against thinking (a forced tool, a prefill, a tool loop whose
    signed blocks nobody has any more, a ceiling too small), that wins and the wish is dropped.
    """
    members = {name: dict(value) if isinstance(value, Mapping) else value for name, value in wish.members.items()}
    dropped = []
    kind = (members.get("thinking") or {}).get("type") if isinstance(members.get("thinking"), dict) else None
    if kind in _KINDS and (_stands_against(native, kind) or not _budget_fits(members["thinking"], ceiling)):
        del members["thinking"]
        dropped.append(wish.param)
    for name, value in members.items():
        before = native.get(name)
        native[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    native["max_tokens"] = ceiling.tokens
    return dropped + (_without_sampling(native) if "thinking" in members and kind in _KINDS else [])


def _stands_against(native: Mapping[str, Any], kind: str) -> bool:
    choice = native.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] in ("any", "tool"):
        return True
    turns: list[dict[str, Any]] = native["messages"]
    if is_prefill(turns):
        return True
    return kind == "enabled" and _in_unsigned_loop(turns)


def is_prefill(turns: list[dict[str, Any]]) -> bool:
    """Whether the client has begun the answer. A turn that a server tool interrupted is continued, not begun."""
    content = turns[-1]["content"]
    return turns[-1]["role"] == "assistant" and (isinstance(content, str) or content[-1]["type"] == "text")


def _in_unsigned_loop(turns: list[dict[str, Any]]) -> bool:
    """Whether the last turn has tool results for an assistant turn that does not begin with thinking."""
    if len(turns) < 2 or not isinstance(turns[-1]["content"], list) or not isinstance(turns[-2]["content"], list):
        return False
    results = any(block["type"] == "tool_result" for block in turns[-1]["content"])
    return results and turns[-2]["content"][0]["type"] not in ("thinking", "redacted_thinking")


def _budget_fits(thinking: dict[str, Any], ceiling: Ceiling) -> bool:
    """Make budget and ceiling agree: a ceiling of ours grows, the client's own holds and the budget shrinks."""
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or isinstance(budget, bool):
        return True
    if not ceiling.given and budget + ROOM > ceiling.tokens:
        ceiling.tokens = min(budget + ceiling.tokens, ceiling.most or budget + ceiling.tokens)
    thinking["budget_tokens"] = min(budget, ceiling.tokens - ROOM)
    return bool(thinking["budget_tokens"] >= LEAST_BUDGET)


def _without_sampling(native: dict[str, Any]) -> list[str]:
    """Take out the sampling that thinking forbids; a temperature of 1 is what thinking has anyway."""
    dropped = []
    if native.pop("temperature", 1) != 1:
        dropped.append("temperature")
    if native.get("top_p", 1) < LEAST_TOP_P:
        del native["top_p"]
        dropped.append("top_p")
    if native.pop("top_k", None) is not None:
        dropped.append("top_k")
    return dropped
