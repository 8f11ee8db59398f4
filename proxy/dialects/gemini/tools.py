"""Translation of tools and `tool_choice` to Gemini's `tools` and `toolConfig`.

Functions become `functionDeclarations`. Google's own tools (such as `{"googleSearch": {}}`) are sent unchanged; the
server-side tools of other providers are rejected.
Source: ai.google.dev/api/caching (Tool, ToolConfig, FunctionCallingConfig).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.dialects.answer_tool import Structure
from proxy.dialects.names import Alphabet, ToolNames, functions_of
from proxy.dialects.schema.forms import Forms
from proxy.dialects.schema.language import GEMINI_TOOL

_GOOGLE = {
    "googleSearch",
    "google_search",
    "googleSearchRetrieval",
    "google_search_retrieval",
    "googleMaps",
    "google_maps",
    "urlContext",
    "url_context",
    "codeExecution",
    "code_execution",
    "fileSearch",
    "file_search",
    "enterpriseWebSearch",
    "enterprise_web_search",
    "computerUse",
    "computer_use",
}
_NAMES = Alphabet(re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,63}"))
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "any": "ANY"}


def names_of(body: Mapping[str, Any], structure: Structure | None) -> ToolNames:
    """Return the names of a request's tools for this target."""
    names = ToolNames(_NAMES)
    names.add(functions_of(body), [structure.tool_name] if structure and structure.tool_name else ())
    return names


def tools_of(body: Mapping[str, Any], lost: set[str], forms: Forms) -> list[dict[str, Any]]:
    """Translate `tools` and the legacy `functions`; adds schema keywords that cannot be expressed to `lost`."""
    declarations: list[dict[str, Any]] = []
    native: list[dict[str, Any]] = []
    for place, tool in enumerate(body.get("tools") or []):
        if tool.keys() and tool.keys() <= _GOOGLE:
            native.append(tool)
        else:
            declarations.append(_declaration(_function(tool, f"tools[{place}]"), f"tools[{place}]", lost, forms))
    for place, function in enumerate(body.get("functions") or []):
        declarations.append(_declaration(function, f"functions[{place}]", lost, forms))
    names = {declaration["name"]: declaration for declaration in reversed(declarations)}
    if len(names) < len(declarations):
        if any(names[declaration["name"]] != declaration for declaration in declarations):
            lost.add("duplicate")
        declarations = [declaration for declaration in declarations if names[declaration["name"]] is declaration]
    return ([{"functionDeclarations": declarations}] if declarations else []) + native


def tool_config_of(body: Mapping[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Translate `tool_choice` or the legacy `function_call`, for the native `tools`.

    Raises `InvalidRequest` if it cannot be expressed, or names an undeclared function.
    """
    choice = body.get("tool_choice")
    older = body.get("function_call")
    if choice is None and older is not None:
        choice = {"type": "function", "function": older} if isinstance(older, dict) else older
    if choice is None:
        return None
    declared = [function["name"] for tool in tools for function in tool.get("functionDeclarations", ())]
    mode, names = _calling(choice, declared)
    if not declared:  # with Google's own tools only, Gemini accepts no choice
        return None
    return {"functionCallingConfig": {"mode": mode, **({"allowedFunctionNames": names} if names else {})}}


def _calling(choice: Any, declared: list[str]) -> tuple[str, list[str]]:
    if isinstance(choice, dict) and choice.get("type") in _MODES:
        choice = choice["type"]
    if isinstance(choice, str) and choice in _MODES:
        return _MODES[choice], []
    if isinstance(choice, dict) and choice.get("type") == "function":
        name = _name(choice.get("function"), choice)
        if name not in declared:
            raise InvalidRequest("`tool_choice` must name one of `tools`.", param="tool_choice")
        return "ANY", [name]
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        allowed = allowed if isinstance(allowed, dict) else choice
        tools = allowed.get("tools")
        named = [_name(tool.get("function"), tool) for tool in tools or [] if isinstance(tool, dict)]
        names = [name for name in declared if name in named]
        if not names:
            raise InvalidRequest("`tool_choice` allows none of `tools`; add one of them.", param="tool_choice")
        # only ANY and VALIDATED accept names; VALIDATED also allows the model to answer with text
        return ("ANY" if allowed.get("mode") == "required" else "VALIDATED"), names
    raise InvalidRequest(
        "`tool_choice` must be `auto`, `none`, `required`, a function or `allowed_tools`.", param="tool_choice"
    )


def _name(function: Any, tool: dict[str, Any]) -> str:
    name = function.get("name") if isinstance(function, dict) else tool.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest("`tool_choice` names no function.", param="tool_choice")
    return name


def _function(tool: dict[str, Any], where: str) -> dict[str, Any]:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise InvalidRequest(f"`{where}`: this model supports only tools of type `function`.", param=where)
    return function


def _declaration(function: dict[str, Any], where: str, lost: set[str], forms: Forms) -> dict[str, Any]:
    name, description, parameters = (function.get(key) for key in ("name", "description", "parameters"))
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"`{where}`: a function must have a name.", param=where)
    made: dict[str, Any] = {"name": name}
    if isinstance(description, str) and description:
        made["description"] = description
    if function.get("strict") is True:
        lost.add("strict")
    if isinstance(parameters, dict) and parameters:
        form = forms.of(parameters, GEMINI_TOOL)
        made["parametersJsonSchema"] = form.schema
        lost.update(form.lost)
    return made
