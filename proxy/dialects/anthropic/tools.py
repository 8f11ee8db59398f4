"""OpenAI tools, legacy functions and `tool_choice` as Anthropic's.

Source: Anthropic's API reference, "Messages" (`tools`, `tool_choice`: auto, any, tool, none, each but the last with
`disable_parallel_tool_use`). Anthropic's own server tools, recognised by the date in their type, pass as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.model import Deployment
from proxy.dialects.answer_tool import Structure
from proxy.dialects.anthropic.parts import marked
from proxy.dialects.names import Alphabet, ToolNames, functions_of
from proxy.dialects.schema.forms import Forms
from proxy.dialects.schema.language import ANTHROPIC_STRICT_TOOL, ANTHROPIC_TOOL, NotExpressible
from proxy.dialects.writer import is_legacy

MEMBERS = Alphabet(re.compile(r"[a-zA-Z0-9_.-]{1,64}"))
_NAMES = Alphabet(re.compile(r"[a-zA-Z0-9_-]{1,64}"))
_SERVER_TOOL = re.compile(r"[a-z_]+_\d{8}")
_CHOICES = {"auto": "auto", "required": "any", "any": "any", "none": "none"}
_EMPTY = {"type": "object", "properties": {}}
_MOST_KEPT = 2 * 1024 * 1024  # bytes of tools as they came; what is made of them takes about ten times as much
_LONGEST_KEPT = _MOST_KEPT // 8


@dataclass(slots=True)
class Tools:
    """Native tools and choice; `choice` None leaves it to Anthropic, which means `auto`."""

    tools: list[dict[str, Any]]
    choice: dict[str, Any] | None = None
    dropped: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Declared:
    """Native tools, which are never changed, and the names of what they lack."""

    tools: list[dict[str, Any]]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """What was made of tools that came before."""

    names: ToolNames
    declared: Declared


class KnownTools:
    """The tools of the latest requests by their bytes, since most calls bring the tools of the call before."""

    def __init__(self) -> None:
        self._kept: dict[tuple[bytes, bool], Kept] = {}
        self._size = 0

    def find(self, raw: bytes, deployment: Deployment) -> Kept | None:
        """What was made of `tools`, as they came, for a model with the same abilities."""
        return self._kept.get((raw, _may_be_strict(deployment))) if raw else None

    def keep(self, raw: bytes, deployment: Deployment, kept: Kept) -> None:
        """Keep what was made of `tools`."""
        if len(raw) > _LONGEST_KEPT:
            return
        if self._size + len(raw) > _MOST_KEPT:
            self._kept.clear()
            self._size = 0
        self._kept[raw, _may_be_strict(deployment)] = kept
        self._size += len(raw)


def _may_be_strict(deployment: Deployment) -> bool:
    return deployment.capabilities is not None and "json_schema" in deployment.capabilities


def names_of(body: Mapping[str, Any], structure: Structure | None, kept: Kept | None = None) -> ToolNames:
    """The names of a request's tools, for this target; `kept` is what was made of the same tools before."""
    if kept is not None:
        return kept.names.again()
    names = ToolNames(_NAMES, MEMBERS)
    given = body.get("tools") or []
    own = [tool["name"] for tool in given if "function" not in tool and isinstance(tool.get("name"), str)]
    if structure is not None and structure.tool_name is not None:
        own.append(structure.tool_name)
    names.add(functions_of(body), own)
    return names


def declare(body: Mapping[str, Any], deployment: Deployment, forms: Forms) -> Declared:
    """Translate `tools`, or else the legacy `functions`, whose names are those that Anthropic takes.

    Raises `InvalidRequest` on a tool that it cannot have.
    """
    legacy = is_legacy(body)
    given: Any = body.get("tools") or []
    if legacy:
        given = [{"type": "function", "function": function} for function in body["functions"]]
    reader = _Reader(forms, _may_be_strict(deployment))
    kind = "functions" if legacy else "tools"
    tools = [reader.tool(tool, f"{kind}[{place}]") for place, tool in enumerate(given)]
    firsts = {tool.get("name"): tool for tool in reversed(tools)}
    if len(firsts) < len(tools):  # of tools of one name, the first
        if any(firsts[tool.get("name")] != tool for tool in tools):
            reader.lost.add("duplicate")
        tools = [tool for tool in tools if firsts[tool.get("name")] is tool]
    return Declared(tools, (*reader.dropped, *(f"tools.{keyword}" for keyword in sorted(reader.lost))))


def read_tools(body: Mapping[str, Any], declared: Declared, structure: Structure | None) -> Tools:
    """Translate `tool_choice`, `parallel_tool_calls` and their legacy forms, and add the answer's own tool.

    The body's names are those that Anthropic takes (`ToolNames.applied`). Raises `InvalidRequest` on a choice that it
    cannot have.
    """
    legacy = is_legacy(body)
    found = Tools(declared.tools)
    choice = _legacy_choice(body.get("function_call")) if legacy else body.get("tool_choice")
    if not legacy:
        found.dropped += [name for name in ("functions", "function_call") if body.get(name) is not None]
    found.dropped += declared.dropped
    if found.tools:
        _choose(found, choice)
        if legacy or body.get("parallel_tool_calls") is False:
            _one_at_a_time(found)
    if structure is not None and structure.tool is not None:
        _add_answer_tool(found, structure.tool)
    return found


@dataclass(slots=True)
class _Reader:
    forms: Forms
    may_be_strict: bool
    dropped: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)

    def tool(self, tool: Mapping[str, Any], where: str) -> dict[str, Any]:
        kind = tool.get("type", "function")
        if isinstance(kind, str) and _SERVER_TOOL.fullmatch(kind):
            return dict(tool)
        function = tool.get("function")
        if kind != "function" or not isinstance(function, dict):
            raise InvalidRequest(f"`{where}`: this model takes tools of type `function` only.", param=where)
        name = function.get("name")
        if not isinstance(name, str) or not name:
            raise InvalidRequest(f"`{where}.function.name` must be a string.", param=where)
        native: dict[str, Any] = {"name": name}
        if isinstance(function.get("description"), str) and function["description"]:
            native["description"] = function["description"]
        self._schema(native, function)
        return marked(marked(native, function), tool)

    def _schema(self, native: dict[str, Any], function: Mapping[str, Any]) -> None:
        """Strict where the model and the schema allow it; else the tool is an ordinary one, which is named."""
        given = function.get("parameters")
        schema = given if isinstance(given, dict) else _EMPTY
        form = None
        if function.get("strict") is True and self.may_be_strict:
            with suppress(NotExpressible):
                form = self.forms.of(schema, ANTHROPIC_STRICT_TOOL)
        if form is None and function.get("strict") is True and "tools.strict" not in self.dropped:
            self.dropped.append("tools.strict")
        is_strict = form is not None
        if form is None:
            form = self.forms.of(schema, ANTHROPIC_TOOL)
        native["input_schema"] = form.schema
        if is_strict:
            native["strict"] = True
        self.lost.update(form.lost)


def _legacy_choice(value: Any) -> Any:
    return {"type": "function", "function": value} if isinstance(value, dict) else value


def _choose(found: Tools, choice: Any) -> None:
    """Set the native choice; `allowed_tools` leaves only these tools in the request."""
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        allowed = allowed if isinstance(allowed, dict) else choice
        listed = allowed.get("tools")
        names = [_name_of(tool) for tool in listed] if isinstance(listed, list) else []
        found.tools = [tool for tool in found.tools if tool.get("name") in names]
        if not found.tools:
            raise InvalidRequest("`tool_choice` allows none of the tools given.", param="tool_choice")
        choice = allowed.get("mode", "auto")
    if isinstance(choice, dict) and choice.get("type") in _CHOICES:
        choice = choice["type"]
    if isinstance(choice, dict):
        name = _name_of(choice)
        if name not in [tool.get("name") for tool in found.tools]:
            raise InvalidRequest("`tool_choice` must name one of `tools`.", param="tool_choice")
        found.choice = {"type": "tool", "name": name}
    elif choice is not None:
        native = _CHOICES.get(str(choice))
        if native is None:
            raise InvalidRequest("`tool_choice` must be auto, none, required, or name a tool.", param="tool_choice")
        found.choice = {"type": native}


def _name_of(value: Any) -> str | None:
    """The name in `{"function": {"name"}}`, `{"custom": {"name"}}` or `{"name"}`."""
    if not isinstance(value, dict):
        return None
    inner = value.get("function") or value.get("custom")
    name = inner.get("name") if isinstance(inner, dict) else value.get("name")
    return name if isinstance(name, str) else None


def _one_at_a_time(found: Tools) -> None:
    choice = found.choice or {"type": "auto"}
    if choice["type"] != "none":
        found.choice = {**choice, "disable_parallel_tool_use": True}


def _add_answer_tool(found: Tools, tool: dict[str, Any]) -> None:
    """Make the model answer through `tool`; where it may call the client's tools, through one of all these."""
    choice = found.choice or {"type": "auto"}
    free = found.tools and choice["type"] != "none"
    found.tools = [*found.tools, tool]
    found.choice = {**choice, "type": "any"} if free else {"type": "tool", "name": tool["name"]}
