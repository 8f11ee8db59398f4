"""`tool_choice` of a Responses request, and the functions of the chat that it leaves.

`allowed_tools` is a hard constraint: the chat has no other functions, whatever its target can do. A choice that forces
a web search is `forced`: the error of targets without one. Other hosted tools can be forced only at a provider's own
Responses API: such a choice is `refused`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.surfaces.responses.tools import SEARCH, WEB_SEARCH, ToolTable

_WORDS = ("auto", "none", "required")


@dataclass(slots=True)
class Choice:
    """The tools of a chat; `choice` None is the default."""

    tools: list[dict[str, Any]]
    choice: str | dict[str, Any] | None = None
    refused: InvalidRequest | None = None
    forced: InvalidRequest | None = None
    searches: bool = True  # a web search of the request may be made

    def members(self, parallel: bool | None) -> dict[str, Any]:
        """Return the chat's members; without tools, none of them is allowed."""
        if not self.tools:
            return {}
        chat: dict[str, Any] = {"tools": self.tools}
        if self.choice is not None:
            chat["tool_choice"] = self.choice
        if parallel is not None:
            chat["parallel_tool_calls"] = parallel
        return chat


def read_choice(choice: Any, table: ToolTable) -> Choice:
    """Return the choice among the tools of `table`. Raises `InvalidRequest`."""
    tools = list(table.chat.values())
    if choice is None:
        return Choice(tools)
    if isinstance(choice, str):
        return _word(choice, tools, table)
    kind = choice.get("type")
    if kind in _WORDS:
        return _word(kind, tools, table)
    if kind == "allowed_tools":
        return _allowed(choice, table)
    if kind in ("function", "custom", SEARCH):
        name = _declared(choice, "tool_choice", table)
        return Choice(tools, {"type": "function", "function": {"name": name}})
    if isinstance(kind, str) and kind:
        return _forced(tools, kind, table)
    raise InvalidRequest("`tool_choice.type` must be a string, such as `function`.", param="tool_choice.type")


def _word(word: str, tools: list[dict[str, Any]], table: ToolTable) -> Choice:
    if word not in _WORDS:
        raise InvalidRequest("`tool_choice` must be `auto`, `none`, `required` or an object.", param="tool_choice")
    if word == "required" and not tools:
        if not (table.hosted or table.searches):
            raise InvalidRequest("`tool_choice` is `required`, but there are no `tools`.", param="tool_choice")
        return _forced(tools, WEB_SEARCH if table.searches else table.hosted[0], table)
    return Choice(tools, word, searches=word != "none")


def _allowed(choice: Mapping[str, Any], table: ToolTable) -> Choice:
    """Leave the allowed functions. In a request as in a chat, the members may stand in `allowed_tools`."""
    inner = choice.get("allowed_tools")
    members = inner if isinstance(inner, dict) else choice
    listed, mode = members.get("tools"), members.get("mode", "auto")
    if not isinstance(listed, list) or not all(isinstance(tool, dict) for tool in listed):
        raise InvalidRequest("`tool_choice.tools` must be a list of objects.", param="tool_choice.tools")
    if mode not in ("auto", "required"):
        raise InvalidRequest("`tool_choice.mode` must be `auto` or `required`.", param="tool_choice.mode")
    names = [
        _declared(tool, f"tool_choice.tools[{place}]", table)
        for place, tool in enumerate(listed)
        if tool.get("type") in ("function", "custom", SEARCH)
    ]
    tools = [table.chat[name] for name in dict.fromkeys(names)]
    kinds = [str(tool.get("type")) for tool in listed]
    searches = any(kind.startswith(WEB_SEARCH) for kind in kinds)
    if tools or mode == "auto":
        return Choice(tools, mode, searches=searches)
    return _forced(tools, WEB_SEARCH if searches else kinds[0] if kinds else "none", table)


def _forced(tools: list[dict[str, Any]], kind: str, table: ToolTable) -> Choice:
    """Return the choice of a hosted tool."""
    if table.searches and kind.startswith(WEB_SEARCH):
        return Choice(tools, forced=_hosted(kind))
    return Choice(tools, refused=_hosted(kind))


def _declared(tool: Mapping[str, Any], where: str, table: ToolTable) -> str:
    """Return the chat's name of a tool of the request. Raises `InvalidRequest` if it is not among them."""
    name, namespace = tool.get("name"), tool.get("namespace")
    if tool.get("type") == SEARCH:
        name = SEARCH
    elif isinstance(tool.get("function"), dict):  # as in a chat
        name = tool["function"].get("name")
    known = table.chat_name(name, namespace if isinstance(namespace, str) else None) if isinstance(name, str) else ""
    if known not in table.chat:
        raise InvalidRequest(f"`{where}` must name one of `tools`.", param=where)
    return known


def _hosted(kind: str) -> InvalidRequest:
    message = (
        f"`tool_choice` forces the hosted tool `{kind[:60]}`, which this model does not have; "
        "choose another tool, or a model of a provider with `responses: native`."
    )
    return InvalidRequest(message, param="tool_choice")
