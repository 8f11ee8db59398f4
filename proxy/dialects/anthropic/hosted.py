"""Tools that clients of other formats expect their provider to execute (`Call.hosted`), as Anthropic's server tools.

Source: Anthropic's API reference, "Web search tool".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TYPE = "web_search_20250305"
_NAME = "web_search"
_PLACE = ("city", "region", "country", "timezone")


def add_hosted(native: dict[str, Any], hosted: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Add the tools to a native body. Returns the names of those that it cannot have."""
    tools = native.get("tools", [])
    if any(tool.get("name") == _NAME for tool in tools):
        return (f"tools.{_NAME}",)
    native["tools"] = [*tools, _web_search(hosted[0])]
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
    return made
