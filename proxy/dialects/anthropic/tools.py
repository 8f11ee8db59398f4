"""Translation of OpenAI tools, legacy functions and `tool_choice` to Anthropic's.

Source: Anthropic's API reference, "Messages" (`tools`, `tool_choice`: auto, any, tool, none, each but the last with
`disable_parallel_tool_use`). Server tools, recognised by the date in their type, are sent unchanged.
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
_MOST_KEPT = 2 * 1024 * 1024  # bytes of the clients' tools; their translations take about ten times as much
_LONGEST_KEPT = _MOST_KEPT // 8


@dataclass(slots=True)
class Tools:
    """Native tools and choice; `choice` None is Anthropic's default, `auto`."""

    tools: list[dict[str, Any]]
    choice: dict[str, Any] | None = None
    dropped: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Declared:
    """Native tools, which are immutable, and the names of what they lack."""

    tools: list[dict[str, Any]]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownTranslation:
    """The translation of tools of an earlier request."""

    names: ToolNames
    declared: Declared


class KnownTools:
    """A cache of translated tools by their bytes, because successive calls of a conversation have the same tools."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bool], KnownTranslation] = {}
        self._size = 0

    def find(self, raw: bytes, deployment: Deployment) -> KnownTranslation | None:
        """Return the translation of the bytes `raw` for a model with the same capabilities, or `None`."""
        return self._known.get((raw, _may_be_strict(deployment))) if raw else None

    def keep(self, raw: bytes, deployment: Deployment, translation: KnownTranslation) -> None:
        """Store the translation of `tools`."""
        if len(raw) > _LONGEST_KEPT:
            return
        if self._size + len(raw) > _MOST_KEPT:
            self._known.clear()
            self._size = 0
        self._known[raw, _may_be_strict(deployment)] = translation
        self._size += len(raw)


def _may_be_strict(deployment: Deployment) -> bool:
    return deployment.capabilities is not None and "json_schema" in deployment.capabilities


def names_of(
    body: Mapping[str, Any], structure: Structure | None, translation: KnownTranslation | None = None
) -> ToolNames:
    """The names of a request's tools, for this target; `translation` is an earlier one of the same tools."""
    if translation is not None:
        return translation.names.again()
    names = ToolNames(_NAMES, MEMBERS)
    listed = body.get("tools") or []
    own = [tool["name"] for tool in listed if "function" not in tool and isinstance(tool.get("name"), str)]
    if structure is not None and structure.tool_name is not None:
        own.append(structure.tool_name)
    names.add(functions_of(body), own)
    return names


def declare(body: Mapping[str, Any], deployment: Deployment, forms: Forms) -> Declared:
    """Translate `tools` or the legacy `functions`, whose names Anthropic accepts.

    Raises `InvalidRequest` for an unsupported tool.
    """
    legacy = is_legacy(body)
    listed: Any = body.get("tools") or []
    if legacy:
        listed = [{"type": "function", "function": function} for function in body["functions"]]
    reader = _Reader(forms, _may_be_strict(deployment))
    kind = "functions" if legacy else "tools"
    tools = [reader.tool(tool, f"{kind}[{place}]") for place, tool in enumerate(listed)]
    firsts = {tool.get("name"): tool for tool in reversed(tools)}
    if len(firsts) < len(tools):  # of tools of one name, the first
        if any(firsts[tool.get("name")] != tool for tool in tools):
            reader.lost.add("duplicate")
        tools = [tool for tool in tools if firsts[tool.get("name")] is tool]
    return Declared(tools, (*reader.dropped, *(f"tools.{keyword}" for keyword in sorted(reader.lost))))


def read_tools(body: Mapping[str, Any], declared: Declared, structure: Structure | None) -> Tools:
    """Translate `tool_choice`, `parallel_tool_calls` and their legacy forms, and add the answer's own tool.

    Anthropic accepts the names in the body (`ToolNames.applied`). Raises `InvalidRequest` for an unsupported choice.
    """
    legacy = is_legacy(body)
    native = Tools(declared.tools)
    choice = _legacy_choice(body.get("function_call")) if legacy else body.get("tool_choice")
    if not legacy:
        native.dropped += [name for name in ("functions", "function_call") if body.get(name) is not None]
    native.dropped += declared.dropped
    if native.tools:
        _choose(native, choice)
        if legacy or body.get("parallel_tool_calls") is False:
            _one_at_a_time(native)
    if structure is not None and structure.tool is not None:
        _add_answer_tool(native, structure.tool)
    return native


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
            raise InvalidRequest(f"`{where}`: this model supports only tools of type `function`.", param=where)
        name = function.get("name")
        if not isinstance(name, str) or not name:
            raise InvalidRequest(f"`{where}.function.name` must be a string.", param=where)
        native: dict[str, Any] = {"name": name}
        if isinstance(function.get("description"), str) and function["description"]:
            native["description"] = function["description"]
        self._schema(native, function)
        return marked(marked(native, function), tool)

    def _schema(self, native: dict[str, Any], function: Mapping[str, Any]) -> None:
        """Set the schema, strict if the model and the schema allow it; otherwise `strict` is dropped and listed."""
        parameters = function.get("parameters")
        schema = parameters if isinstance(parameters, dict) else _EMPTY
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


def _choose(native: Tools, choice: Any) -> None:
    """Set the native choice; `allowed_tools` leaves only these tools in the request."""
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        allowed = allowed if isinstance(allowed, dict) else choice
        listed = allowed.get("tools")
        names = [_name_of(tool) for tool in listed] if isinstance(listed, list) else []
        native.tools = [tool for tool in native.tools if tool.get("name") in names]
        if not native.tools:
            raise InvalidRequest("`tool_choice` allows none of `tools`; add one of them.", param="tool_choice")
        choice = allowed.get("mode", "auto")
    if isinstance(choice, dict) and choice.get("type") in _CHOICES:
        choice = choice["type"]
    if isinstance(choice, dict):
        name = _name_of(choice)
        if name not in [tool.get("name") for tool in native.tools]:
            raise InvalidRequest("`tool_choice` must name one of `tools`.", param="tool_choice")
        native.choice = {"type": "tool", "name": name}
    elif choice is not None:
        kind = _CHOICES.get(str(choice))
        if kind is None:
            raise InvalidRequest("`tool_choice` must be auto, none, required, or name a tool.", param="tool_choice")
        native.choice = {"type": kind}


def _name_of(value: Any) -> str | None:
    """Return the name in `{"function": {"name"}}`, `{"custom": {"name"}}` or `{"name"}`."""
    if not isinstance(value, dict):
        return None
    inner = value.get("function") or value.get("custom")
    name = inner.get("name") if isinstance(inner, dict) else value.get("name")
    return name if isinstance(name, str) else None


def _one_at_a_time(native: Tools) -> None:
    choice = native.choice or {"type": "auto"}
    if choice["type"] != "none":
        native.choice = {**choice, "disable_parallel_tool_use": True}


def _add_answer_tool(native: Tools, tool: dict[str, Any]) -> None:
    """Force a call of `tool`, or of any tool if the model may call the client's tools."""
    choice = native.choice or {"type": "auto"}
    free = native.tools and choice["type"] != "none"
    native.tools = [*native.tools, tool]
    native.choice = {**choice, "type": "any"} if free else {"type": "tool", "name": tool["name"]}
