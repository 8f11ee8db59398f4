"""The tools of a Responses request as functions of a chat, and the way back from a function's name to a tool.

    function              the function itself
    custom                a function with one string, `input`; the description has the grammar
    namespace             each of its tools, named `<namespace>__<name>`
    tool_search           a function, if the client executes it
    web_search            none: some providers have one of their own (`ToolTable.searches`)
    other hosted tools    none: dropped, and named in `ToolTable.dropped`

Tools with `defer_loading` are left out while the client executes `tool_search`, until an item of the input loads them;
if the server would execute it, all of them are loaded at once. Names for the chat have at most 64 characters: a longer
one ends with its digest. They depend on nothing else, so that they are the same in every turn.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from proxy.core.errors import InvalidRequest

Kind = Literal["function", "custom", "tool_search"]

LONGEST_NAME = 64  # characters of a function's name in a chat
SEARCH: Literal["tool_search"] = "tool_search"
INPUT = "input"  # the parameter of a custom tool's function
_DIGEST = 8  # characters
_SEPARATOR = "__"
WEB_SEARCH = "web_search"  # of several versions, such as `web_search_2025_08_26`
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")
_ANYTHING = {"type": "object", "properties": {}}
_SYNTAX = {"lark": "Lark grammar", "regex": "regular expression"}


class Tool(NamedTuple):
    """A tool as the client knows it."""

    kind: Kind
    name: str
    namespace: str | None = None


class ToolTable:
    """The tools of one request. Make it with `read_tools`; afterwards it does not change.

    `chat` are the functions that the model may call, by their names in the chat. `searches` are web searches, which a
    provider executes; `hosted` are the types of tools that only a provider's own Responses API has.
    """

    def __init__(self) -> None:
        self.chat: dict[str, dict[str, Any]] = {}
        self.searches: list[Mapping[str, Any]] = []
        self.hosted: list[str] = []
        self._tools: dict[str, Tool] = {}  # by the name in the chat, deferred ones too

    @property
    def dropped(self) -> list[str]:
        """The names, for `x-router-dropped`, of what has no counterpart in a chat."""
        return [f"tools.{kind}" for kind in self.hosted]

    def of(self, name: str) -> Tool:
        """Return the tool that a chat calls `name`; an unknown one is a function, in a namespace if it names one."""
        tool = self._tools.get(name)
        if tool is not None:
            return tool
        namespace, separator, bare = name.partition(_SEPARATOR)
        if separator and bare and any(known.namespace == namespace for known in self._tools.values()):
            return Tool("function", bare, namespace)
        return Tool("function", name)

    def chat_name(self, name: str, namespace: str | None = None) -> str:
        """Return the chat's name of a tool that the client may no longer declare.

        OpenAI gives a deferred function without a namespace its own name as the namespace.
        """
        full = chat_name(name, namespace)
        return chat_name(name) if namespace == name and full not in self._tools else full

    def add(self, tool: Tool, function: dict[str, Any], where: str, *, hidden: bool = False) -> None:
        """Add a tool; one that is known already is replaced. Raises `InvalidRequest` if the name is another tool's."""
        name = chat_name(tool.name, tool.namespace)
        known = self._tools.get(name)
        if known is not None and known != tool:
            message = f"`{where}`: the name `{name}` is that of another tool; rename one of them."
            raise InvalidRequest(message, param=where)
        self._tools[name] = tool
        if not hidden:
            self.chat[name] = {"type": "function", "function": {"name": name, **function}}


def chat_name(name: str, namespace: str | None = None) -> str:
    """Return the name of a tool in a chat."""
    full = name if namespace is None else f"{namespace}{_SEPARATOR}{name}"
    if len(full) <= LONGEST_NAME:
        return full
    digest = hashlib.sha256(full.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{full[: LONGEST_NAME - _DIGEST - 1]}_{digest}"


def read_tools(tools: Any, loaded: Iterable[tuple[str, Any]] = ()) -> ToolTable:
    """Return the table of `tools` and of those that items of the input have `loaded`: their place, and a list of tools.

    Raises `InvalidRequest` that names the member.
    """
    reader = _Reader(_objects(tools, "tools"))
    for place, tool in enumerate(reader.listed):
        reader.tool(tool, f"tools[{place}]")
    for where, more in loaded:
        for place, tool in enumerate(_objects(more, where)):
            reader.tool(tool, f"{where}[{place}]", loaded=True)
    return reader.table


class _Reader:
    def __init__(self, listed: list[dict[str, Any]]) -> None:
        self.listed = listed
        self.table = ToolTable()
        self._searches = any(_is_client_search(tool) for tool in listed)

    def tool(self, tool: Mapping[str, Any], where: str, *, loaded: bool = False) -> None:
        kind = tool.get("type")
        if kind in ("function", "custom"):
            self._named(tool, where, None, loaded)
        elif kind == "namespace":
            self._namespace(tool, where, loaded)
        elif kind == SEARCH:
            if _is_client_search(tool):
                self.table.add(Tool(SEARCH, SEARCH), _search(tool, where), where)
        elif isinstance(kind, str) and kind.startswith(WEB_SEARCH) and tool.get("external_web_access") is not False:
            self.table.searches.append(tool)
        elif isinstance(kind, str) and kind:
            self._hosted(kind)
        else:
            raise InvalidRequest(f"`{where}.type` must be a string, such as `function`.", param=f"{where}.type")

    def _named(self, tool: Mapping[str, Any], where: str, namespace: str | None, loaded: bool) -> Tool:
        """Add a function or a custom tool."""
        name = _name(tool, where)
        is_custom = tool["type"] == "custom"
        kind: Kind = "custom" if is_custom else "function"
        added = Tool(kind, name, namespace)
        function = _custom(tool) if is_custom else _function(tool, where)
        hidden = self._searches and not loaded and tool.get("defer_loading") is True
        self.table.add(added, function, where, hidden=hidden)
        return added

    def _namespace(self, tool: Mapping[str, Any], where: str, loaded: bool) -> None:
        """Add the tools of a namespace; the first one's description has the namespace's."""
        namespace = _name(tool, where)
        first = None
        for place, inner in enumerate(_objects(tool.get("tools"), f"{where}.tools")):
            at = f"{where}.tools[{place}]"
            if inner.get("type") not in ("function", "custom"):
                raise InvalidRequest(f"`{at}.type` must be `function` or `custom`.", param=f"{at}.type")
            added = self._named(inner, at, namespace, loaded)
            name = chat_name(added.name, namespace)
            if first is None and name in self.table.chat:
                first = self.table.chat[name]["function"]
                _describe(first, tool.get("description"), f"Tools named `{namespace}{_SEPARATOR}...`: ")

    def _hosted(self, kind: str) -> None:
        name = _NOT_IN_NAMES.sub("", kind)[:40]
        if name not in self.table.hosted:
            self.table.hosted.append(name)


def _function(tool: Mapping[str, Any], where: str) -> dict[str, Any]:
    function: dict[str, Any] = {}
    _describe(function, tool.get("description"))
    parameters = tool.get("parameters")
    if parameters is not None:
        if not isinstance(parameters, dict):
            message = f"`{where}.parameters` must be an object, a JSON Schema."
            raise InvalidRequest(message, param=f"{where}.parameters")
        function["parameters"] = parameters
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return function


def _custom(tool: Mapping[str, Any]) -> dict[str, Any]:
    function: dict[str, Any] = {}
    _describe(function, tool.get("description"))
    form = tool.get("format")
    if isinstance(form, dict) and form.get("type") == "grammar":
        syntax = _SYNTAX.get(str(form.get("syntax")), "grammar")
        _describe(function, form.get("definition"), f"`{INPUT}` must match this {syntax}:\n")
    text = {"type": "string", "description": "The whole input of the tool, as plain text."}
    members = {"type": "object", "properties": {INPUT: text}, "required": [INPUT], "additionalProperties": False}
    return {**function, "parameters": members}


def _search(tool: Mapping[str, Any], where: str) -> dict[str, Any]:
    search = _function(tool, where)
    search.setdefault("description", "Finds tools that are not listed here; the tools found can be called afterwards.")
    search.setdefault("parameters", _ANYTHING)
    return search


def _describe(function: dict[str, Any], text: Any, head: str = "") -> None:
    """Add a paragraph to the description of a function."""
    if isinstance(text, str) and text:
        before = f"{function['description']}\n\n" if "description" in function else ""
        function["description"] = f"{before}{head}{text}"


def _is_client_search(tool: Mapping[str, Any]) -> bool:
    return tool.get("type") == SEARCH and tool.get("execution") == "client"


def _name(tool: Mapping[str, Any], where: str) -> str:
    name = tool.get("name")
    if isinstance(name, str) and name:
        return name
    nested = isinstance(tool.get("function"), dict)
    hint = "; the members of `function` belong into the tool itself" if nested else ""
    raise InvalidRequest(f"`{where}.name` must be a string that is not empty{hint}.", param=f"{where}.name")


def _objects(value: Any, where: str) -> list[dict[str, Any]]:
    """Return a list of objects. Raises `InvalidRequest` for another value; null is an empty list."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest(f"`{where}` must be a list of objects.", param=where)
    for place, item in enumerate(value):
        if not isinstance(item, dict):
            raise InvalidRequest(f"`{where}[{place}]` must be an object.", param=f"{where}[{place}]")
    return value
