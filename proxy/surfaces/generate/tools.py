"""Google's `tools` and `toolConfig` as the tools of a chat.

Functions become function tools. Of Google's own tools, a web search is left to providers that have one; the others
(code execution, maps) are dropped. A list of allowed functions removes the others: every provider can express that.
"""

from __future__ import annotations

from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.surfaces.generate.fields import (
    Members,
    needed_text,
    object_of,
    objects_of,
    text_of,
    texts_of,
    wrong,
)
from proxy.surfaces.generate.schema import json_schema, schema_of

Chat = dict[str, Any]  # parameters of a chat

SEARCHES = ("googleSearch", "googleSearchRetrieval")
_CONFIG = "toolConfig.functionCallingConfig"
_CHOICES = {"ANY": "required", "NONE": "none", "AUTO": "auto", "VALIDATED": None, "MODE_UNSPECIFIED": None, "": None}
_OF_FUNCTION = ("name", "description", "parameters", "parametersJsonSchema")


def read_tools(body: Members, dropped: dict[str, None]) -> Chat:
    """Return `tools` and `tool_choice`; names of what has no counterpart are added to `dropped`.

    Raises `InvalidRequest` that names the member.
    """
    functions: dict[str, Chat] = {}
    for where, tool in objects_of(body, "tools"):
        for at, declaration in objects_of(tool, "functionDeclarations", where):
            function = _function(declaration, at, dropped)
            functions.setdefault(function["name"], function)
        for name in tool:
            if name != "functionDeclarations" and name not in SEARCHES:
                dropped[f"tools.{name[:40]}"] = None
    return _chosen(body, functions, dropped)


def read_searches(body: Members) -> tuple[Members, ...]:
    """Return the web searches that a provider may execute, as in `Call.hosted`."""
    found = any(name in tool for _, tool in objects_of(body, "tools") for name in SEARCHES)
    return ({"type": "web_search"},) if found else ()


def _function(declaration: Members, where: str, dropped: dict[str, None]) -> Chat:
    function: Chat = {"name": needed_text(declaration, "name", where)}
    if (description := text_of(declaration, "description", where)) is not None:
        function["description"] = description
    schema = declaration.get("parametersJsonSchema")
    if schema is not None and not isinstance(schema, dict):
        raise wrong(f"{where}.parametersJsonSchema", "an object")
    if schema is not None:
        function["parameters"] = json_schema(schema)
    elif "parameters" in declaration:
        function["parameters"] = schema_of(declaration["parameters"], f"{where}.parameters")
    for name in declaration:
        if name not in _OF_FUNCTION:
            dropped[f"tools.functionDeclarations.{name[:40]}"] = None
    return function


def _chosen(body: Members, functions: dict[str, Chat], dropped: dict[str, None]) -> Chat:
    """Return the functions that may be called, and whether one must be."""
    config = object_of(body, "toolConfig")
    for name in config:
        if name != "functionCallingConfig":
            dropped[f"toolConfig.{name[:40]}"] = None
    calling = object_of(config, "functionCallingConfig", "toolConfig")
    mode = (text_of(calling, "mode", _CONFIG) or "").upper()
    if mode not in _CHOICES:
        message = f"`{_CONFIG}.mode` must be `AUTO`, `ANY`, `NONE` or `VALIDATED`."
        raise InvalidRequest(message, param=f"{_CONFIG}.mode")
    if mode == "ANY" and not functions:
        message = f"`{_CONFIG}.mode`: `ANY` requires functions in `tools`."
        raise InvalidRequest(message, param=f"{_CONFIG}.mode")
    allowed = texts_of(calling, "allowedFunctionNames", _CONFIG)
    if allowed and functions:
        functions = {name: function for name, function in functions.items() if name in allowed}
        if not functions:
            message = f"`{_CONFIG}.allowedFunctionNames` names no function of `tools`."
            raise InvalidRequest(message, param=f"{_CONFIG}.allowedFunctionNames")
    if not functions:
        return {}
    chat: Chat = {"tools": [{"type": "function", "function": function} for function in functions.values()]}
    choice: Any = _CHOICES[mode]
    if choice == "required" and len(allowed) == 1:
        choice = {"type": "function", "function": {"name": allowed[0]}}
    return chat if choice is None else {**chat, "tool_choice": choice}
