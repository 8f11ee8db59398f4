"""Tools and `tool_choice` of an Anthropic request as those of a chat.

Client tools become functions, those that Anthropic defines too. Server tools have a dated type, such as
`code_execution_20260120`, and run at Anthropic: they are dropped and noted, and a call that must use one is refused for
other targets. Some providers have a web search of their own (`Call.hosted`).

Names may have 128 characters at Anthropic and 64 elsewhere: longer ones are shortened, and `client_names` undoes that
in an answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from proxy.core.json_text import object_of
from proxy.surfaces.messages.client_tools import defined_function
from proxy.surfaces.messages.content import note_cache, string
from proxy.surfaces.messages.notes import Notes, invalid

LONGEST_NAME = 64  # characters, of a function in a chat
_KEPT = 55  # characters of a longer name; the digest of the whole follows
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_EMPTY = {"type": "object", "properties": {}}
_WEB_SEARCH = "web_search_"
_LOST = ("defer_loading", "allowed_callers", "input_examples")


def chat_name(name: str) -> str:
    """Return a tool's name in a chat; the same for the same name."""
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[: LONGEST_NAME - _KEPT - 1]
    return f"{name[:_KEPT]}_{digest}"


def client_names(raw_tools: bytes) -> dict[str, str]:
    """Return the client's names of the tools whose names were shortened, by their names in the chat."""
    tools = (object_of(b'{"tools":%b}' % raw_tools) or {}).get("tools")
    names = [tool.get("name") for tool in tools or () if isinstance(tool, dict)]
    return {chat_name(name): name for name in names if isinstance(name, str) and len(name) > LONGEST_NAME}


def read_tools(body: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    """Return `tools`, `tool_choice` and `parallel_tool_calls` of the chat. Raises `InvalidRequest`."""
    listed = body.get("tools")
    if listed is None:
        listed = []
    if not isinstance(listed, list):
        raise invalid("tools", "a list of tools")
    server: dict[str, str] = {}  # types of server tools by their names
    tools: list[dict[str, Any]] = []
    for place, tool in enumerate(listed):
        where = f"tools[{place}]"
        if not isinstance(tool, dict):
            raise invalid(where, "an object")
        if tool.get("type") in (None, "custom"):
            tools.append(_function(tool, where, notes))
        elif function := defined_function(tool):
            tools.append({"type": "function", "function": function})
        else:
            server[str(tool.get("name"))] = str(tool["type"])
            _note_server_tool(tool, notes)
    choice = _choice(body.get("tool_choice"), [tool["function"]["name"] for tool in tools], server, notes)
    return {"tools": tools, **choice} if tools else {}


def _note_server_tool(tool: Mapping[str, Any], notes: Notes) -> None:
    """Note a server tool: a web search in the form of `Call.hosted`, another one as dropped."""
    kind = str(tool["type"])
    if not kind.startswith(_WEB_SEARCH):
        notes.drop(f"tools.{kind}")
        return
    if tool.get("blocked_domains"):
        notes.drop(f"tools.{kind}.blocked_domains")
    domains = tool.get("allowed_domains")
    search = {"type": "web_search", "user_location": tool.get("user_location"), "max_uses": tool.get("max_uses")}
    notes.hosted.append({**search, "filters": {"allowed_domains": domains}} if domains else search)


def _function(tool: Mapping[str, Any], where: str, notes: Notes) -> dict[str, Any]:
    note_cache(tool, notes)
    for name in _LOST:
        if tool.get(name):
            notes.drop(f"tools.{name}")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict | None):
        raise invalid(f"{where}.input_schema", "an object")
    function: dict[str, Any] = {"name": chat_name(string(tool, "name", where))}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    function["parameters"] = schema or _EMPTY
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def _choice(choice: Any, names: list[str], server: Mapping[str, str], notes: Notes) -> dict[str, Any]:
    """Return the members of the chat for `tool_choice`; note a forced tool that not all providers have."""
    if choice is None:
        return {}
    kind = choice.get("type") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or kind not in (*_CHOICES, "tool"):
        raise invalid("tool_choice.type", "`auto`, `any`, `tool` or `none`")
    members: dict[str, Any] = {}
    if kind == "tool":
        name = string(choice, "name", "tool_choice")
        if name in server:
            _force(name, server, notes)
        elif chat_name(name) not in names:
            raise invalid("tool_choice.name", "the name of one of `tools`")
        else:
            members["tool_choice"] = {"type": "function", "function": {"name": chat_name(name)}}
    else:
        if kind == "any" and server and not names:
            _force(min(server, key=lambda name: (not server[name].startswith(_WEB_SEARCH), name)), server, notes)
        if kind == "none":
            notes.hosted.clear()
        members["tool_choice"] = _CHOICES[kind]
    if choice.get("disable_parallel_tool_use") is True:
        members["parallel_tool_calls"] = False
    return members


def _force(name: str, server: Mapping[str, str], notes: Notes) -> None:
    """Note that a server tool is forced. Some providers have a web search; other tools only Anthropic has."""
    message = (
        f"`tool_choice` requires the server tool `{name[:64]}`, which this model does not have; "
        "remove it or choose an Anthropic model."
    )
    note = notes.force if server[name].startswith(_WEB_SEARCH) else notes.refuse
    note(message, "tool_choice")
