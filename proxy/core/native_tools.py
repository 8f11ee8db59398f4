"""Members of a client's own body, such as tools that the provider runs, with which an answer's cost has no bound."""

from __future__ import annotations

from typing import Any

from proxy.core.call import NativeRequest

# Types of tools that the client runs; Anthropic's have a date behind their name.
_OWN_MESSAGES = ("custom", "bash_", "text_editor_", "computer_", "memory_")
_OWN_RESPONSES = ("function", "custom", "namespace", "local_shell", "apply_patch", "computer", "computer_use_preview")
_DECLARATIONS = ("functionDeclarations", "function_declarations")
_CHEAP = ("standard", "flex", "unspecified")
_UNKNOWN = (  # members that bring tools, a prompt of unknown size, another model or another price
    *("mcp_servers", "fallbacks", "thread", "inference_geo"),
    "prompt",
    *("cachedContent", "cached_content"),
)


def is_unbounded(native: NativeRequest) -> bool:
    """Return whether the provider may run tools, add to the prompt, or charge more than the model's price."""
    if any(name in native.spans and native.member(name) for name in _UNKNOWN):
        return True
    if native.member("speed") not in (None, "standard"):
        return True
    if native.format == "generate" and not _is_cheap(native.member("serviceTier") or native.member("service_tier")):
        return True
    tools = native.member("tools")
    if isinstance(tools, dict):  # Google accepts a single one without its list
        tools = [tools]
    return isinstance(tools, list) and not all(_is_own(native, tool) for tool in tools)


def _is_cheap(tier: Any) -> bool:
    """Return whether Google's service tier costs at most what the standard one does."""
    return tier is None or (isinstance(tier, str) and tier.lower().removeprefix("service_tier_") in _CHEAP)


def _is_own(native: NativeRequest, tool: Any) -> bool:
    if not isinstance(tool, dict):
        return False
    if native.format == "generate":
        return all(name in _DECLARATIONS or value is None for name, value in tool.items())
    if native.format == "responses" and tool.get("type") == "tool_search":
        return tool.get("execution") == "client"
    kind = tool.get("type")
    if native.format == "messages":
        return kind is None or (isinstance(kind, str) and kind.startswith(_OWN_MESSAGES))
    return isinstance(kind, str) and kind in _OWN_RESPONSES
