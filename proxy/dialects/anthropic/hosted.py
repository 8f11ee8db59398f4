"""Tools that clients of other formats expect their provider to execute (`Call.hosted`), as Anthropic's server tools.

Source: Anthropic's API reference, "Web search tool".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.core.errors import InvalidRequest

_TYPE = "web_search_20250305"
_NAME = "web_search"
_FORCED = ("any", "tool")  # types of `tool_choice`
_PLACE = ("city", "region", "country", "timezone")


def add_hosted(
    native: dict[str, Any], hosted: Sequence[Mapping[str, Any]], forced: InvalidRequest | None = None
) -> tuple[str, ...]:
    """Add the tools to a native body. Returns the names of those that it cannot have.

    Raises `forced`, if a search must be made, and cannot: a function has its name, or must be called itself.
    """
    tools, choice = native.get("tools", []), native.get("tool_choice", {})
    is_taken = any(tool.get("name") == _NAME for tool in tools)
    if forced is not None and (is_taken or choice.get("type") in _FORCED):
        raise forced
    if is_taken:
        return (f"tools.{_NAME}",)
    native["tools"] = [*tools, _web_search(hosted[0])]
    if forced is not None:
        native["tool_choice"] = {**choice, "type": "tool", "name": _NAME}
    return ()


def _web_search(tool: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": _TYPE, "name": _NAME}
    filters, location = tool.get("filters"), tool.get("user_location")
    domains = filters.get("allowed_domains") if isinstance(filters, dict) else None
    if isinstance(domains, list) and domains:
        made["allowed_domains"] = domains
    place = {name: location[name] for name in _PLACE if location.get(name)} if isinstance(location, dict) else {}
    if place:
        made["user_location"] = {"type": "approximate", **place}
    if type(tool.get("max_uses")) is int:
        made["max_uses"] = tool["max_uses"]
    return made
